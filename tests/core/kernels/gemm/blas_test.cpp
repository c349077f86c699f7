#include <algorithm>
#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thimble/core/kernels/gemm/blas_gemm.h>
#include <thimble/core/platform/isa.h>

namespace thimble::kernels {
namespace {

TEST(Blas, UsesWhatTheProcessorHas) {
  if (std::getenv("OPENBLAS_CORETYPE")) GTEST_SKIP() << "the user has chosen";
  const std::vector<Isa> isas = available_isas();
  const auto has = [&](Isa isa) { return std::ranges::find(isas, isa) != isas.end(); };
  if (!has(Isa::avx2)) GTEST_SKIP() << "OpenBLAS chooses by itself";
  const std::string expected = has(Isa::avx512) ? "SkylakeX" : "Haswell";
  EXPECT_THAT(blas_description(), testing::HasSubstr(expected));
  EXPECT_EQ(std::getenv("OPENBLAS_CORETYPE"), nullptr) << "what OpenBLAS was told stayed in the environment";
}

}  // namespace
}  // namespace thimble::kernels
