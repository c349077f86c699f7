#include <atomic>
#include <numeric>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <thimble/core/error.h>
#include <thimble/core/parallel.h>

namespace thimble {
namespace {

class Parallel : public testing::Test {
 protected:
  ~Parallel() override { set_num_threads(before_); }
  int before_ = num_threads();
};

TEST_F(Parallel, CoversEveryIndexOnce) {
  for (int threads : {1, 2, 3, 7}) {
    set_num_threads(threads);
    for (int64_t n : {0, 1, 2, 5, 64, 1001}) {
      for (int64_t grain : {1, 3, 64, 2000}) {
        std::vector<int> hits(static_cast<size_t>(n), 0);
        parallel_for(n, grain, [&](int64_t begin, int64_t end) {
          EXPECT_TRUE(end - begin >= grain || (begin == 0 && end == n));
          for (int64_t i = begin; i < end; ++i) ++hits[static_cast<size_t>(i)];
        });
        EXPECT_EQ(std::count(hits.begin(), hits.end(), 1), n) << threads << " threads, grain " << grain;
      }
    }
  }
}

TEST_F(Parallel, NestedLoopsRunAllTheirWork) {
  set_num_threads(4);
  std::atomic<int> count = 0;
  parallel_for(8, 1, [&](int64_t b, int64_t e) {
    for (int64_t i = b; i < e; ++i)
      parallel_for(10, 1, [&](int64_t b2, int64_t e2) { count += static_cast<int>(e2 - b2); });
  });
  EXPECT_EQ(count, 80);
}

TEST_F(Parallel, OnThisThreadLoopsAreOnePiece) {
  set_num_threads(3);
  const auto pieces = [] {
    std::atomic<int> count{0};
    parallel_for(9, 1, [&](int64_t begin, int64_t end) { count += begin == 0 && end == 9 ? 100 : 1; });
    return count.load();
  };
  EXPECT_EQ(pieces(), 3);
  {
    const OnThisThread outer;
    EXPECT_EQ(pieces(), 100);
    { const OnThisThread inner; }
    EXPECT_EQ(pieces(), 100);
    int elsewhere = 0;
    std::thread([&] { elsewhere = pieces(); }).join();
    EXPECT_EQ(elsewhere, 3);
  }
  EXPECT_EQ(pieces(), 3);
}

TEST_F(Parallel, LoopsRunAloneIsTold) {
  set_num_threads(1);
  EXPECT_TRUE(loops_run_alone());
  set_num_threads(3);
  EXPECT_FALSE(loops_run_alone());
  {
    const OnThisThread alone;
    EXPECT_TRUE(loops_run_alone());
  }
  std::atomic<int> inside{0};
  parallel_for(3, 1, [&](int64_t, int64_t) { inside += loops_run_alone() ? 1 : 0; });
  EXPECT_EQ(inside, 3);
  // A loop of one piece is no loop: what it calls may use all threads.
  parallel_for(1, 1, [&](int64_t, int64_t) { EXPECT_FALSE(loops_run_alone()); });
  EXPECT_FALSE(loops_run_alone());
}

TEST_F(Parallel, RethrowsAndGoesOn) {
  set_num_threads(3);
  for (int64_t bad : {0, 1, 2}) {
    auto body = [&](int64_t begin, int64_t) {
      if (begin == bad) throw ValueError("piece");
    };
    EXPECT_THROW(parallel_for(3, 1, body), ValueError);
  }
  std::atomic<int64_t> sum = 0;
  parallel_for(100, 1, [&](int64_t b, int64_t e) { sum += e - b; });
  EXPECT_EQ(sum, 100);
}

TEST_F(Parallel, SeveralCallersAtOnce) {
  set_num_threads(2);
  std::atomic<int64_t> sum = 0;
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) parallel_for(16, 1, [&](int64_t b, int64_t e) { sum += e - b; });
    });
  }
  for (std::thread& t : callers) t.join();
  EXPECT_EQ(sum, 4 * 1000 * 16);
}

TEST_F(Parallel, WakesSleepingWorkers) {
  set_num_threads(2);
  for (int i = 0; i < 3; ++i) {
    std::atomic<int64_t> sum = 0;
    parallel_for(2, 1, [&](int64_t b, int64_t e) { sum += e - b; });
    EXPECT_EQ(sum, 2);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

TEST_F(Parallel, RejectsBadThreadCounts) {
  EXPECT_THROW(set_num_threads(0), ValueError);
  EXPECT_THROW(set_num_threads(1 << 20), ValueError);
}

TEST_F(Parallel, TheNumberOfThreadsStaysDuringALoop) {
  for (int n : {1, 2}) {
    set_num_threads(n);
    EXPECT_THROW(parallel_for(2, 1, [](int64_t, int64_t) { set_num_threads(3); }), ValueError);
    EXPECT_THROW(parallel_for(1, 1, [](int64_t, int64_t) { set_num_threads(3); }), ValueError);
    EXPECT_EQ(num_threads(), n);
  }
}

}  // namespace
}  // namespace thimble
