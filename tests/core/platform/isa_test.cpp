#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>

#include <gtest/gtest.h>

#include <thimble/core/error.h>
#include <thimble/core/kernels/kernel_list.h>
#include <thimble/core/platform/isa.h>

namespace thimble {
namespace {

class Isas : public testing::Test {
 protected:
  ~Isas() override { set_isa(before_); }

 private:
  Isa before_ = active_isa();
};

TEST_F(Isas, AvailableOnesRiseFromScalarToTheDetected) {
  const auto isas = available_isas();
  ASSERT_FALSE(isas.empty());
  EXPECT_EQ(isas.front(), Isa::scalar);
  EXPECT_EQ(isas.back(), detected_isa());
  for (size_t i = 1; i < isas.size(); ++i) EXPECT_LT(isas[i - 1], isas[i]);
}

TEST_F(Isas, EachAvailableOneCanBeUsed) {
  for (Isa isa : available_isas()) {
    set_isa(isa);
    EXPECT_EQ(active_isa(), isa);
  }
}

TEST_F(Isas, OnesThatTheCpuLacksAreRefused) {
  const Isa before = active_isa();
  for (Isa isa : {Isa::avx2, Isa::avx_vnni, Isa::avx512, Isa::avx512_vnni, Isa::amx}) {
    if (has_all(detected_features(), features_of(isa))) continue;
    EXPECT_THROW(set_isa(isa), ValueError) << name(isa);
  }
  EXPECT_EQ(active_isa(), before);
}

#if defined(__x86_64__) && defined(__linux__)
// What Linux says of the CPU, which knows what it saves of its state, too.
TEST_F(Isas, FeaturesAreThoseThatLinuxNames) {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line) && !line.starts_with("flags")) continue;
  const auto has = [&, flags = line + ' '](const char* flag) { return flags.find(str(' ', flag, ' ')) != flags.npos; };
  const bool avx2 = has("avx2") && has("fma");
  const bool avx512 = avx2 && has("avx512f") && has("avx512bw") && has("avx512vl") && has("avx512dq");
  const auto detected = [](CpuFeatures feature) { return has_all(detected_features(), feature); };
  ASSERT_TRUE(has("sse2")) << line;
  EXPECT_EQ(detected(CpuFeatures::avx2), avx2);
  EXPECT_EQ(detected(CpuFeatures::avx_vnni), avx2 && has("avx_vnni"));
  EXPECT_EQ(detected(CpuFeatures::avx512), avx512);
  EXPECT_EQ(detected(CpuFeatures::avx512_vnni), avx512 && has("avx512_vnni"));
  EXPECT_LE(detected(CpuFeatures::amx_int8), has("amx_int8")) << "which Linux may not grant";
}
#endif

constexpr kernels::KernelOf<Isa> kAll[] = {{Isa::amx, Isa::amx},           {Isa::avx512_vnni, Isa::avx512_vnni},
                                           {Isa::avx_vnni, Isa::avx_vnni}, {Isa::avx512, Isa::avx512},
                                           {Isa::avx2, Isa::avx2},         {Isa::scalar, Isa::scalar}};
constexpr kernels::KernelOf<Isa> kFew[] = {
    {Isa::avx512, Isa::avx512}, {Isa::avx2, Isa::avx2}, {Isa::scalar, Isa::scalar}};
constexpr kernels::KernelOf<Isa> kOne[] = {{Isa::scalar, Isa::scalar}};
constexpr kernels::KernelOf<Isa> kOnlyForSome[] = {{Isa::avx512, Isa::avx512}, {Isa::avx2, Isa::avx2}};
constexpr kernels::KernelOf<Isa> kNeverPicked[] = {
    {Isa::avx2, Isa::avx2}, {Isa::avx512, Isa::avx512}, {Isa::scalar, Isa::scalar}};

static_assert(kernels::is_complete(kAll) && kernels::is_complete(kFew) && kernels::is_complete(kOne));
static_assert(!kernels::is_complete(kOnlyForSome) && !kernels::is_complete(kNeverPicked));

TEST_F(Isas, PickOfAListTheBestThatTheyHaveTheFeaturesFor) {
  for (Isa isa : available_isas()) {
    set_isa(isa);
    EXPECT_EQ(kernels::best_kernel<kAll>(), isa) << name(isa);
    const Isa expected = isa == Isa::scalar ? Isa::scalar : isa <= Isa::avx_vnni ? Isa::avx2 : Isa::avx512;
    EXPECT_EQ(kernels::best_kernel<kFew>(), expected) << name(isa);
    EXPECT_EQ(kernels::best_kernel<kOne>(), Isa::scalar) << name(isa);
  }
}

TEST_F(Isas, HaveTheNamesThatTheEnvironmentUses) {
  EXPECT_EQ(name(Isa::scalar), "scalar");
  EXPECT_EQ(name(Isa::avx2), "avx2");
  EXPECT_EQ(name(Isa::avx_vnni), "avx_vnni");
  EXPECT_EQ(name(Isa::avx512), "avx512");
  EXPECT_EQ(name(Isa::avx512_vnni), "avx512_vnni");
  EXPECT_EQ(name(Isa::amx), "amx");
}

/// The environment is read once in a program, so each value needs a fresh one: a death test re-runs this one.
class IsaEnvironmentDeathTest : public testing::TestWithParam<const char*> {
 protected:
  IsaEnvironmentDeathTest() {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    setenv("THIMBLE_ISA", GetParam(), 1);
  }
  ~IsaEnvironmentDeathTest() override {
    if (had_)
      setenv("THIMBLE_ISA", before_.c_str(), 1);
    else
      unsetenv("THIMBLE_ISA");
  }

 private:
  const bool had_ = std::getenv("THIMBLE_ISA") != nullptr;
  const std::string before_ = had_ ? std::getenv("THIMBLE_ISA") : "";
};

void print_active_isa() {
  try {
    std::cerr << "uses " << name(active_isa()) << '\n';
  } catch (const ValueError& error) {
    std::cerr << error.what() << '\n';
  }
  std::exit(0);
}

using NamedIsaDeathTest = IsaEnvironmentDeathTest;
TEST_P(NamedIsaDeathTest, IsUsedOrRefused) {
  const std::string wanted = GetParam();
  bool available = false;
  for (Isa isa : available_isas()) available = available || name(isa) == wanted;
  const std::string expected = available ? "uses " + wanted + "\n" : "'" + wanted + "' is not available on this CPU";
  EXPECT_EXIT(print_active_isa(), testing::ExitedWithCode(0), expected);
}
INSTANTIATE_TEST_SUITE_P(Names, NamedIsaDeathTest,
                         testing::Values("scalar", "avx2", "avx_vnni", "avx512", "avx512_vnni", "amx"));

using UnknownIsaDeathTest = IsaEnvironmentDeathTest;
TEST_P(UnknownIsaDeathTest, IsRefusedWithTheListOfNames) {
  EXPECT_EXIT(print_active_isa(), testing::ExitedWithCode(0),
              "THIMBLE_ISA='.*' is unknown; it is one of scalar, avx2, avx_vnni, avx512, avx512_vnni, amx");
}
INSTANTIATE_TEST_SUITE_P(Names, UnknownIsaDeathTest, testing::Values("sse2", "AVX2", "avx512 "));

using NoIsaDeathTest = IsaEnvironmentDeathTest;
TEST_P(NoIsaDeathTest, MeansTheDetectedOne) {
  EXPECT_EXIT(print_active_isa(), testing::ExitedWithCode(0), "uses " + std::string(name(detected_isa())) + "\n");
}
INSTANTIATE_TEST_SUITE_P(Names, NoIsaDeathTest, testing::Values(""));

}  // namespace
}  // namespace thimble
