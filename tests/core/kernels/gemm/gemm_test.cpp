#include <algorithm>
#include <array>
#include <thread>

#include <gtest/gtest.h>

#include "tests/core/kernels/everywhere.h"
#include "tests/core/views.h"
#include <thimble/core/kernels/gemm/gemm.h>
#include <thimble/core/kernels/reduce/shards.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>
#include <thimble/core/random.h>

namespace thimble::kernels {
namespace {

using View = MatrixView<float>;

// A matrix in memory of its own, dense along its rows or its columns, whose rows or columns lie `gap` apart.
struct Matrix {
  std::vector<float> values;
  View view;

  Matrix(int64_t rows, int64_t cols, bool transposed, int64_t gap, Generator& rng) {
    const int64_t length = (transposed ? rows : cols) + gap, count = transposed ? cols : rows;
    values = randn({std::max<int64_t>(1, length * count)}, rng).to_vector<float>();
    view = transposed ? View{values.data(), rows, cols, 1, length} : View{values.data(), rows, cols, length, 1};
  }
  double at(int64_t i, int64_t j) const { return view.data[i * view.row_stride + j * view.col_stride]; }
};

View rows_of(const View& m, int64_t first, int64_t count) {
  return {m.data + first * m.row_stride, count, m.cols, m.row_stride, m.col_stride};
}
View columns_of(const View& m, int64_t first, int64_t count) {
  return {m.data + first * m.col_stride, m.rows, count, m.row_stride, m.col_stride};
}

std::vector<float> product(const View& a, const View& b, SumOrder order = SumOrder::in_turn,
                           const Epilogue<float>& epilogue = {}) {
  std::vector<float> c(static_cast<size_t>(a.rows * b.cols), -7);
  gemm(a, b, c.data(), epilogue, order);
  return c;
}

struct Sizes {
  int64_t m, n, k;
};

TEST(Gemm, IsTheSumOfProductsForEveryLayoutAndSize) {
  Generator rng(1);
  std::vector<Sizes> sizes{{1, 1, 1},      {1, 70, 90},    {70, 1, 90}, {64, 300, 520},
                           {300, 64, 520}, {90, 90, 1100}, {3, 5, 0},   {3, 5, 40000}};
  for (int round = 0; round < 25; ++round) {
    auto size = [&](int most) { return static_cast<int64_t>(1 + rng.below(most)); };
    sizes.push_back({size(120), size(120), size(round % 5 == 0 ? 1200 : 100)});
  }
  for (const Sizes& size : sizes)
    for (int layout = 0; layout < 4; ++layout) {
      const int64_t m = size.m, n = size.n, k = size.k;
      const int64_t gap = layout == 0 ? 0 : static_cast<int64_t>(rng.below(3));
      const Matrix a(m, k, layout & 1, gap, rng), b(k, n, layout & 2, gap, rng);
      const auto bias = randn({n}, rng).to_vector<float>(), addend = randn({m * n}, rng).to_vector<float>();
      Epilogue<float> epilogue;
      if (rng.below(2)) epilogue.bias = bias.data();
      if (rng.below(2)) epilogue.addend = addend.data();
      if (rng.below(2)) epilogue.lower = -1, epilogue.upper = 6;
      std::vector<float> expected;
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {
          double sum = (epilogue.bias ? double{bias[static_cast<size_t>(j)]} : 0) +
                       (epilogue.addend ? double{addend[static_cast<size_t>(i * n + j)]} : 0);
          for (int64_t p = 0; p < k; ++p) sum += a.at(i, p) * b.at(p, j);
          expected.push_back(static_cast<float>(std::clamp(sum, double{epilogue.lower}, double{epilogue.upper})));
        }
      SCOPED_TRACE(str(m, "x", n, "x", k, ", layout ", layout));
      everywhere([&] {
        for (SumOrder order : {SumOrder::in_turn, SumOrder::in_shards})
          expect_close(NDArray::from_vector(product(a.view, b.view, order, epilogue)), NDArray::from_vector(expected),
                       2e-5 * std::max(1.0, static_cast<double>(k) / 100));
      });
    }
}

// Operands of which each row lies so far from the next that they are copied, of single rows and columns, and views of
// larger ones. In a thread of its own: memory of earlier products would hide writes beyond what was asked for.
TEST(Gemm, ViewsOfAnyDistanceAreRead) {
  Generator rng(4);
  for (const int64_t m : {1, 2, 64, 80, 84, 100})
    for (const int64_t k : {1, 10, 16, 48, 80, 208, 530})
      for (const int64_t stride : {1, 3, 512, 1024, 2560})
        for (int layout = 0; layout < 4; ++layout) {
          const int64_t n = m == 64 ? 1 : 40;
          const auto gap_of = [&](int64_t length) { return stride > length ? stride - length : stride; };
          const Matrix a(m, k, layout & 1, gap_of(layout & 1 ? m : k), rng);
          const Matrix b(k, n, layout & 2, gap_of(layout & 2 ? k : n), rng);
          SCOPED_TRACE(str(m, "x", n, "x", k, ", stride ", stride, ", layout ", layout));
          std::vector<float> c;
          std::thread([&] { c = product(a.view, b.view); }).join();
          for (int64_t i = 0; i < m; i += 7)
            for (int64_t j = 0; j < n; ++j) {
              double sum = 0;
              for (int64_t p = 0; p < k; ++p) sum += a.at(i, p) * b.at(p, j);
              ASSERT_NEAR(c[static_cast<size_t>(i * n + j)], sum, 2e-4) << i << ", " << j;
            }
        }
}

// However a product is divided, and whichever way it is computed for its size.
TEST(Gemm, AnElementsBitsDependOnNeitherThreadsNorOtherRowsAndColumns) {
  Generator rng(2);
  for (const Sizes& size :
       {Sizes{64, 512, 700}, {130, 40, 1030}, {17, 33, 513}, {200, 200, 64}, {600, 64, 300}, {16, 40, 40000}})
    for (int layout = 0; layout < 4; ++layout) {
      const int64_t m = size.m, n = size.n, k = size.k;
      const Matrix a(m, k, layout & 1, 0, rng), b(k, n, layout & 2, 0, rng);
      SCOPED_TRACE(str(m, "x", n, "x", k, ", layout ", layout));
      for (SumOrder order : {SumOrder::in_turn, SumOrder::in_shards}) {
        std::vector<std::vector<float>> of_threads;
        everywhere([&] {
          const std::vector<float> whole = product(a.view, b.view, order);
          if (num_threads() == 1) of_threads.clear();
          of_threads.push_back(whole);
          EXPECT_EQ(of_threads.front(), whole);
          for (const int64_t count : {int64_t{1}, int64_t{13}}) {
            const int64_t row = static_cast<int64_t>(rng.below(static_cast<uint64_t>(m - count + 1)));
            const std::vector<float> part = product(rows_of(a.view, row, count), b.view, order);
            EXPECT_TRUE(std::ranges::equal(part, std::span(whole).subspan(static_cast<size_t>(row * n), part.size())))
                << count << " rows from " << row;
          }
          const int64_t column = static_cast<int64_t>(rng.below(static_cast<uint64_t>(n)));
          const std::vector<float> one = product(a.view, columns_of(b.view, column, 1), order);
          for (int64_t i = 0; i < m; ++i)
            ASSERT_EQ(one[static_cast<size_t>(i)], whole[static_cast<size_t>(i * n + column)]) << i << ", " << column;
        });
      }
    }
}

// Whoever computes the shards elsewhere, and adds their sums up as the tree, gets the same bits.
TEST(Gemm, SumsInShardsAreATreeOfTheShardsSums) {
  Generator rng(3);
  for (const int64_t k : {1, 5, 8, 9, 60, 64, 100, 512, 520, 5000})
    for (int layout = 0; layout < 4; ++layout) {
      const int64_t m = 30, n = 50;
      const Matrix a(m, k, layout & 1, 0, rng), b(k, n, layout & 2, 0, rng);
      SCOPED_TRACE(str("k ", k, ", layout ", layout));
      everywhere([&] {
        const int64_t size = (k + kBatchShards - 1) / kBatchShards;
        std::vector<std::vector<float>> level;
        for (int64_t first = 0; first < k; first += size) {
          const int64_t count = std::min(size, k - first);
          level.push_back(product(columns_of(a.view, first, count), rows_of(b.view, first, count)));
        }
        while (level.size() > 1) {
          std::vector<std::vector<float>> next;
          for (size_t i = 0; i < level.size(); i += 2) {
            next.push_back(level[i]);
            if (i + 1 < level.size())
              for (size_t j = 0; j < next.back().size(); ++j) next.back()[j] += level[i + 1][j];
          }
          level = next;
        }
        EXPECT_EQ(product(a.view, b.view, SumOrder::in_shards), level[0]);
      });
    }
}

}  // namespace
}  // namespace thimble::kernels
