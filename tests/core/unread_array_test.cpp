#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <tests/serialization/files.h>

#include <thimble/core/error.h>
#include <thimble/core/ndarray.h>
#include <thimble/core/platform/mapped_file.h>
#include <thimble/core/tensor.h>

namespace thimble {
namespace {

using testing::Each;
using testing::ElementsAre;

// 0, 1, 2, ... as floats behind this many other bytes: aligned for floats, or not.
class UnreadArray : public testing::TestWithParam<size_t> {
 protected:
  static constexpr int64_t kCount = 600'000;  // more than a large page

  UnreadArray() {
    std::string bytes(GetParam() + kCount * sizeof(float), 'x');
    for (int64_t i = 0; i < kCount; ++i) {
      const auto value = static_cast<float>(i);
      std::memcpy(bytes.data() + GetParam() + static_cast<size_t>(i) * sizeof(float), &value, sizeof value);
    }
    write_bytes(folder_ / "f", bytes);
    file_ = std::make_shared<const MappedFile>(folder_ / "f");
  }

  NDArray array(const Shape& shape = {kCount}) const {
    return NDArray::unread(file_, GetParam(), shape, DType::float32);
  }

  TempFolder folder_;
  std::shared_ptr<const MappedFile> file_;
};

std::vector<float> counted(int64_t n) { return NDArray::arange(n).to_vector<float>(); }

TEST_P(UnreadArray, IsReadWhenSomebodyAsksForElements) {
  const NDArray x = array();
  EXPECT_TRUE(x.is_unread());
  EXPECT_EQ(x.data<float>()[kCount - 1], kCount - 1);
  EXPECT_FALSE(x.is_unread());
  EXPECT_EQ(x.to_vector<float>(), counted(kCount));
}

TEST_P(UnreadArray, ViewsShareWhatIsReadAndAreUnreadBefore) {
  const NDArray x = array({3, kCount / 3}), turned = x.transpose(0, 1), part = turned.slice(0, 1, 3);
  EXPECT_TRUE(part.is_unread());
  EXPECT_TRUE(part.shares_memory_with(x));
  EXPECT_THAT(part.to_vector<float>(), ElementsAre(1, 200'001, 400'001, 2, 200'002, 400'002));
  EXPECT_EQ(turned.data<float>(), x.data<float>());
  EXPECT_FALSE(turned.is_unread());
}

TEST_P(UnreadArray, StaysUnreadWhereItIsReadOnce) {
  const NDArray x = array({3, kCount / 3});
  EXPECT_EQ(x.read_once().to_vector<float>(), counted(kCount));
  EXPECT_THAT(x.transpose(0, 1).slice(0, 1, 2).read_once().to_vector<float>(), ElementsAre(1, 200'001, 400'001));
  EXPECT_THAT(x.slice(0, 1, 2).slice(1, 9, 2, -3).read_once().to_vector<float>(),
              ElementsAre(200'009, 200'006, 200'003));
  EXPECT_EQ(x.slice(1, 5, 5).read_once().shape(), Shape({3, 0}));
  EXPECT_EQ(x.clone().to_vector<float>(), counted(kCount));
  EXPECT_EQ(x.to(DType::float64).to_vector<float>(), counted(kCount));
  EXPECT_TRUE(x.is_unread());
  EXPECT_EQ(x.to_vector<float>(), counted(kCount));
  x.data<float>();
  EXPECT_TRUE(x.read_once().shares_memory_with(x));
}

TEST_P(UnreadArray, IsWrittenWithoutAChangeOfTheFile) {
  NDArray x = array(), same = array();
  x.fill(-1);
  EXPECT_THAT(x.to_vector<float>(), Each(-1));
  EXPECT_EQ(same.to_vector<float>(), counted(kCount));
  same.data<float>()[0] = 5;
  EXPECT_EQ(array().to_vector<float>(), counted(kCount));
}

TEST_P(UnreadArray, LazyClonesOfItAreWrittenOneByOne) {
  const Tensor original(array()), copy(original.data().lazy_clone());
  EXPECT_TRUE(copy.data().is_unread());
  copy.mutable_data().fill(2);
  EXPECT_EQ(original.data().to_vector<float>(), counted(kCount));
  EXPECT_THAT(copy.data().to_vector<float>(), Each(2));
}

TEST_P(UnreadArray, MayBeReadFromSeveralThreadsAtOnce) {
  for (int round = 0; round < 20; ++round) {
    const NDArray x = array();
    std::vector<std::thread> threads;
    std::vector<float> sums(4);
    for (float& sum : sums)
      threads.emplace_back([&] { sum = x.data<float>()[kCount - 1] + x.read_once().data<float>()[1]; });
    for (std::thread& thread : threads) thread.join();
    EXPECT_THAT(sums, Each(kCount));
  }
}

TEST_P(UnreadArray, MayBeOfAFileThatWasReadWhole) {
  file_ = std::make_shared<const MappedFile>(folder_ / "f", /*mapped=*/false);
  const NDArray x = array();
  EXPECT_EQ(x.read_once().to_vector<float>(), counted(kCount));
  EXPECT_EQ(x.to_vector<float>(), counted(kCount));
  EXPECT_EQ(array().to_vector<float>(), counted(kCount));
}

TEST_P(UnreadArray, KeepsTheFileAndLiesWithinIt) {
  const NDArray x = array();
  const size_t size = file_->size();
  EXPECT_THROW(NDArray::unread(file_, size, {1}, DType::int8), ShapeError);
  EXPECT_THROW(NDArray::unread(file_, 1, {static_cast<int64_t>(size)}, DType::int8), ShapeError);
  EXPECT_THROW(NDArray::unread(file_, size + 1, {0}, DType::int8), ShapeError);
  EXPECT_EQ(NDArray::unread(file_, size, {0}, DType::float32).to_vector<float>().size(), 0u);
  file_ = nullptr;
  EXPECT_EQ(x.to_vector<float>(), counted(kCount));
}

INSTANTIATE_TEST_SUITE_P(Alignments, UnreadArray, testing::Values(0, 1, 6, 4096));

}  // namespace
}  // namespace thimble
