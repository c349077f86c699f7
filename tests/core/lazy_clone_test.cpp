#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thimble/core/tensor.h>

namespace thimble {
namespace {

using testing::Each;

bool share(const Tensor& a, const Tensor& b) { return a.data().shares_memory_with(b.data()); }

struct LazyClone : testing::Test {
  Tensor original = NDArray::ones({4, 3});
};

TEST_F(LazyClone, SharesMemoryUntilTheCopyIsWritten) {
  const Tensor copy = original.data().lazy_clone();
  EXPECT_TRUE(share(original, copy));
  copy.mutable_data().fill(2);
  EXPECT_FALSE(share(original, copy));
  EXPECT_THAT(original.data().to_vector<float>(), Each(1));
  EXPECT_THAT(copy.data().to_vector<float>(), Each(2));
}

TEST_F(LazyClone, SharesMemoryUntilTheOriginalIsWritten) {
  const Tensor copy = original.data().lazy_clone(), second = copy.data().lazy_clone();
  EXPECT_TRUE(share(original, second));
  original.mutable_data().fill(2);
  EXPECT_TRUE(share(copy, second));
  EXPECT_THAT(copy.data().to_vector<float>(), Each(1));
  second.mutable_data().data<float>()[0] = 3;
  EXPECT_THAT(copy.data().to_vector<float>(), Each(1));
}

TEST_F(LazyClone, TheLastHolderKeepsTheMemory) {
  const void* memory = original.data().raw();
  {
    const Tensor copy = original.data().lazy_clone();
    copy.mutable_data();
  }
  EXPECT_FALSE(original.data().is_copy_on_write());
  EXPECT_EQ(original.mutable_data().raw(), memory);
}

TEST_F(LazyClone, WhoCouldWriteUnnoticedSharesNothing) {
  NDArray handle = original.mutable_data();
  const Tensor copy = original.data().lazy_clone();
  handle.data<float>()[0] = 5;
  EXPECT_EQ(original.data().data<float>()[0], 5);
  EXPECT_THAT(copy.data().to_vector<float>(), Each(1));
}

TEST_F(LazyClone, AHandleOfSharedMemoryCannotBeWritten) {
  const Tensor copy = original.data().lazy_clone();
  NDArray handle = original.data();
  EXPECT_THROW(handle.fill(2), ValueError);
  EXPECT_THROW(handle.copy_from(NDArray::zeros({3})), ValueError);
  EXPECT_THROW(handle.mark_changed(), ValueError);
  EXPECT_THAT(copy.data().to_vector<float>(), Each(1));
}

// What shares the memory after the copy is gone are views, and what is told of it is no other copy's.
TEST_F(LazyClone, IsForgottenWhenItIsGone) {
  { const Tensor gone = original.data().lazy_clone(); }
  original.mutable_data().slice(0, 0, 1).fill(1);
  NDArray handle = original.mutable_data();
  const Tensor copy = original.data().lazy_clone();
  handle.data<float>()[0] = 5;
  EXPECT_THAT(copy.data().to_vector<float>(), Each(1));
}

TEST_F(LazyClone, OfAViewIsContiguous) {
  const Tensor transposed = NDArray::arange(6).reshape({2, 3}).transpose(0, 1);
  EXPECT_TRUE(transposed.data().lazy_clone().is_contiguous());
  EXPECT_TRUE(NDArray::placeholder({2, 3}).lazy_clone().is_contiguous());
}

TEST_F(LazyClone, OfBorrowedMemoryIsShared) {
  const auto owner = std::make_shared<std::vector<float>>(6, 1.0f);
  const Tensor mapped = NDArray::borrow(owner->data(), {6}, DType::float32, owner);
  const Tensor copy = mapped.data().lazy_clone();
  EXPECT_TRUE(share(mapped, copy));
  copy.mutable_data().fill(2);
  EXPECT_THAT(*owner, Each(1));
}

// Versions tell executors and recorded graphs of changes.
TEST_F(LazyClone, OnlyWhatIsWrittenHasAnotherVersion) {
  const Tensor copy = original.data().lazy_clone();
  const uint64_t before = original.version(), of_copy = copy.version();
  copy.mutable_data();
  EXPECT_EQ(original.version(), before);
  EXPECT_NE(copy.version(), of_copy);
}

TEST_F(LazyClone, IsReadOnOneThreadWhileTheOtherIsWritten) {
  for (int round = 0; round < 100; ++round) {
    const Tensor copy = original.data().lazy_clone();
    std::thread writer([&] { copy.mutable_data().fill(round); });
    EXPECT_THAT(original.data().to_vector<float>(), Each(1));
    writer.join();
    original.mutable_data();
  }
}

}  // namespace
}  // namespace thimble
