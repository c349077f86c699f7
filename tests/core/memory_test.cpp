#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <thimble/core/memory.h>
#include <thimble/core/platform/machine_memory.h>

namespace thimble {
namespace {

/// Whether freed memory is kept at all: with AddressSanitizer it is not, so that a use after free is seen.
bool caching() {
  empty_cache();
  allocate(1000);
  const bool kept = cached_bytes() > 0;
  empty_cache();
  return kept;
}

TEST(Memory, IsAlignedAndWritableForAnySize) {
  for (size_t bytes : {0, 1, 63, 64, 65, 255, 256, 257, 1000, 4097, 100000, 2 << 20, (2 << 20) + 1}) {
    const auto p = allocate(bytes);
    ASSERT_NE(p, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p.get()) % 64, 0u) << bytes;
    std::memset(p.get(), 0x5a, bytes);
  }
}

TEST(Memory, BlocksInUseDoNotOverlap) {
  std::vector<std::shared_ptr<void>> blocks;
  std::vector<size_t> sizes;
  for (size_t i = 0; i < 200; ++i) {
    sizes.push_back(1 + i * 37 % 1500);
    blocks.push_back(allocate(sizes.back()));
    std::memset(blocks.back().get(), static_cast<int>(i), sizes.back());
    if (i % 3 == 0) blocks[i / 2] = nullptr;
  }
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (!blocks[i]) continue;
    const auto* bytes = static_cast<const unsigned char*>(blocks[i].get());
    for (size_t b = 0; b < sizes[i]; ++b) ASSERT_EQ(bytes[b], static_cast<unsigned char>(i));
  }
}

TEST(Memory, IsReusedForTheSameSize) {
  if (!caching()) GTEST_SKIP() << "freed memory is not kept in this build";
  void* first = allocate(5000).get();
  const size_t kept = cached_bytes();
  EXPECT_GE(kept, 5000u);
  const auto again = allocate(5000);
  EXPECT_EQ(again.get(), first);
  EXPECT_EQ(cached_bytes(), 0u);
}

TEST(Memory, EmptyCacheGivesItBack) {
  allocate(5000);
  allocate(50000);
  empty_cache();
  EXPECT_EQ(cached_bytes(), 0u);
}

TEST(Memory, SizeClassesWasteAtMostAQuarter) {
  if (!caching()) GTEST_SKIP() << "freed memory is not kept in this build";
  for (size_t bytes : {257, 300, 1000, 1025, 5000, 65537, 1000001}) {
    empty_cache();
    allocate(bytes);
    EXPECT_GE(cached_bytes(), bytes);
    EXPECT_LE(cached_bytes(), bytes + bytes / 4 + 1);
  }
  empty_cache();
}

// Another limit while it lives.
class CacheLimit {
 public:
  explicit CacheLimit(size_t bytes) { set_cache_limit(bytes); }
  ~CacheLimit() { set_cache_limit(before_); }

 private:
  size_t before_ = cache_limit();
};

TEST(Memory, KeepsNoMoreThanTheLimit) {
  const CacheLimit limit(1 << 20);
  for (size_t bytes = 1000; bytes < (2 << 20); bytes += bytes / 3) {
    std::vector<std::shared_ptr<void>> blocks;
    for (int i = 0; i < 5; ++i) blocks.push_back(allocate(bytes));
    blocks.clear();
    EXPECT_LE(cached_bytes(), cache_limit()) << bytes;
  }
}

TEST(Memory, WhatLayUnusedLongestIsGivenBackFirst) {
  if (!caching()) GTEST_SKIP() << "freed memory is not kept in this build";
  const CacheLimit limit(100 * 1024);
  allocate(64 * 1024);
  allocate(16 * 1024);
  for (int step = 0; step < 10; ++step) {
    allocate(32 * 1024);
    allocate(16 * 1024);
  }
  EXPECT_EQ(cached_bytes(), 48u * 1024);
}

TEST(Memory, ALowerLimitGivesBackAtOnce) {
  const CacheLimit limit(1 << 30);
  allocate(50000);
  allocate(5000);
  set_cache_limit(10000);
  EXPECT_LE(cached_bytes(), 10000u);
  set_cache_limit(0);
  EXPECT_EQ(cached_bytes(), 0u);
  allocate(5000);
  EXPECT_EQ(cached_bytes(), 0u);
}

TEST(Memory, TheLimitAtTheStartIsWithinTheMachinesMemory) {
  EXPECT_GT(cache_limit(), size_t{1} << 20);
  EXPECT_LE(cache_limit(), machine_memory());
}

TEST(Memory, ThrowsBadAllocForImpossibleSizes) {
  EXPECT_THROW(allocate(std::numeric_limits<size_t>::max()), std::bad_alloc);
  EXPECT_THROW(allocate(std::numeric_limits<size_t>::max() / 2 + 1), std::bad_alloc);
}

TEST(Memory, ServesSeveralThreads) {
  std::vector<std::thread> threads;
  std::vector<int> errors(4, 0);
  for (size_t t = 0; t < errors.size(); ++t) {
    threads.emplace_back([t, &errors] {
      for (size_t i = 0; i < 2000; ++i) {
        const size_t bytes = 64 + i % 7 * 640;
        const auto p = allocate(bytes);
        std::memset(p.get(), static_cast<int>(t), bytes);
        const auto other = allocate(bytes);
        std::memset(other.get(), 0x77, bytes);
        const auto* content = static_cast<const unsigned char*>(p.get());
        for (size_t b = 0; b < bytes; b += 63) errors[t] += content[b] != t;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(errors, std::vector<int>(4, 0));
}

}  // namespace
}  // namespace thimble
