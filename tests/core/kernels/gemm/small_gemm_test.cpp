#include <vector>

#include <gtest/gtest.h>

#include "tests/core/views.h"
#include <thimble/core/kernels/gemm/packed_gemm.h>
#include <thimble/core/kernels/gemm/small_gemm.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>

namespace thimble::kernels {
namespace {

std::vector<float> random_floats(int64_t n, Generator& rng) { return randn(Shape{n}, rng).to_vector<float>(); }

// Random sizes, with several segments and products, whose rows and columns are further apart than they need to be.
TEST(SmallGemm, IsTheSumOnEveryMachine) {
  const Isa before = active_isa();
  Generator rng(1);
  auto up_to = [&](int64_t n) { return static_cast<int64_t>(rng.below(static_cast<uint64_t>(n))) + 1; };
  for (int round = 0; round < 60; ++round) {
    const int64_t m = up_to(33), n = up_to(70), k = up_to(20), segments = up_to(3), products = up_to(3);
    const int64_t a_col = up_to(3), a_row = k * a_col + up_to(5), a_step = m * a_row, segment = products * a_step + 3;
    const int64_t ldb = n + up_to(4) - 1, ldc = n + up_to(4) - 1, c_step = m * ldc;
    const bool accumulate = round % 2 == 0;
    const auto a = random_floats(segments * segment, rng), b = random_floats(segments * k * ldb, rng);
    const auto bias = random_floats(n, rng), c_before = random_floats(products * c_step, rng),
               addend = random_floats(products * c_step, rng);
    Epilogue<float> epilogue = bias_epilogue(round % 5 != 0 ? bias.data() : nullptr, round % 4 == 0);
    if (round % 3 == 0) epilogue.addend = addend.data();
    if (round % 7 == 0) epilogue.upper = 0.5f;
    std::vector<int64_t> offsets;
    for (int64_t s = 0; s < segments; ++s) offsets.push_back(s * segment);
    auto expected = c_before;
    for (int64_t p = 0; p < products; ++p)
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {
          float& c = expected[static_cast<size_t>(p * c_step + i * ldc + j)];
          double sum = (accumulate ? double{c} : 0) + (epilogue.bias ? double{epilogue.bias[j]} : 0) +
                       (epilogue.addend ? double{epilogue.addend[p * c_step + i * ldc + j]} : 0);
          for (int64_t s = 0; s < segments; ++s)
            for (int64_t e = 0; e < k; ++e)
              sum += double{a[static_cast<size_t>(s * segment + p * a_step + i * a_row + e * a_col)]} *
                     double{b[static_cast<size_t>((s * k + e) * ldb + j)]};
          c = static_cast<float>(std::clamp(sum, double{epilogue.lower}, double{epilogue.upper}));
        }
    for (Isa isa : available_isas()) {
      set_isa(isa);
      auto c = c_before;
      small_gemm(SmallGemm<float>{.m = m,
                                  .n = n,
                                  .k = k,
                                  .a = a.data(),
                                  .a_row = a_row,
                                  .a_col = a_col,
                                  .b = b.data(),
                                  .ldb = ldb,
                                  .c = c.data(),
                                  .ldc = ldc,
                                  .segments = offsets.data(),
                                  .segment_count = segments,
                                  .products = products,
                                  .a_step = a_step,
                                  .c_step = c_step,
                                  .accumulate = accumulate,
                                  .epilogue = epilogue});
      expect_close(NDArray::from_vector(c), NDArray::from_vector(expected), 2e-5);
    }
  }
  set_isa(before);
}

TEST(PackedGemm, IsTheSumOnEveryMachineAndWithAnyNumberOfThreads) {
  const Isa before = active_isa();
  const int threads = num_threads();
  Generator rng(2);
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{1, 1, 1},
                                {1, 70, 300},
                                {5, 10, 33},
                                {64, 16, 200},
                                {70, 17, 9},
                                {300, 100, 130},
                                {3, 500, 400}}) {
    const auto a = random_floats(m * k, rng), weight = random_floats(n * k, rng), bias = random_floats(n, rng);
    const PackedMatrix b(weight.data(), k, n, 1, k);
    std::vector<float> expected;
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double sum = bias[static_cast<size_t>(j)];
        for (int64_t e = 0; e < k; ++e)
          sum += double{a[static_cast<size_t>(i * k + e)]} * double{weight[static_cast<size_t>(j * k + e)]};
        expected.push_back(static_cast<float>(std::max(sum, 0.0)));
      }
    for (Isa isa : available_isas())
      for (int count : {1, 2, 3}) {
        set_isa(isa);
        set_num_threads(count);
        std::vector<float> c(static_cast<size_t>(m * n));
        packed_gemm(a.data(), k, m, b, c.data(), n, bias_epilogue(bias.data(), true));
        expect_close(NDArray::from_vector(c), NDArray::from_vector(expected), 1e-4);
      }
  }
  set_num_threads(threads);
  set_isa(before);
}

}  // namespace
}  // namespace thimble::kernels
