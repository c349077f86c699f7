// Kernels of rows of float32 (softmax, normalization): the same bits on every instruction set and number of threads,
// and what float64 says, for rows of every length.
#include <cmath>
#include <functional>
#include <limits>

#include <gtest/gtest.h>

#include <thimble/core/kernels/reduce/normalize.h>
#include <thimble/core/kernels/reduce/softmax.h>
#include <thimble/core/ndarray.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>
#include <thimble/core/random.h>

namespace thimble {
namespace {

class RowKernels : public testing::Test {
 protected:
  ~RowKernels() override {
    set_isa(isa_);
    set_num_threads(threads_);
  }

  // What `kernel` gives, which is the same everywhere.
  static std::vector<float> run(const std::function<std::vector<float>()>& kernel) {
    set_isa(Isa::scalar);
    set_num_threads(1);
    const std::vector<float> expected = kernel();
    for (Isa isa : available_isas())
      for (int threads : {1, 3}) {
        set_isa(isa);
        set_num_threads(threads);
        EXPECT_EQ(kernel(), expected) << name(isa) << ", threads " << threads;
      }
    return expected;
  }

 private:
  const Isa isa_ = active_isa();
  const int threads_ = num_threads();
};

std::vector<int64_t> lengths() {
  std::vector<int64_t> result;
  for (int64_t n = 1; n <= 70; ++n) result.push_back(n);
  for (int64_t n : {127, 128, 500, 1023, 1025, 2047, 2049, 5000, 100003}) result.push_back(n);
  return result;
}

std::vector<float> logits(int64_t count, Generator& generator) {
  NDArray x = randn({count}, generator);
  std::vector<float> result = x.to_vector<float>();
  for (float& v : result) v = v * 4 + 3;
  return result;
}

TEST_F(RowKernels, SoftmaxIsThatOfFloat64) {
  Generator generator(1);
  for (int64_t n : lengths()) {
    const int64_t rows = n > 5000 ? 2 : 3;
    const std::vector<float> x = logits(rows * n, generator);
    const std::vector<float> soft = run([&] {
      std::vector<float> out(x.size());
      kernels::softmax(x.data(), rows, n, out.data());
      return out;
    });
    const std::vector<float> log_soft = run([&] {
      std::vector<float> out(x.size());
      kernels::log_softmax(x.data(), rows, n, out.data());
      return out;
    });
    const std::vector<double> wide(x.begin(), x.end());
    std::vector<double> exact(x.size()), exact_log(x.size());
    kernels::softmax(wide.data(), rows, n, exact.data());
    kernels::log_softmax(wide.data(), rows, n, exact_log.data());
    for (size_t i = 0; i < x.size(); ++i) {
      // x - max is rounded, which weighs the more the farther below the largest x is.
      ASSERT_NEAR(soft[i], exact[i], (1e-6 + 1.2e-7 * std::abs(exact_log[i])) * exact[i]) << "length " << n;
      ASSERT_NEAR(log_soft[i], exact_log[i], 5e-7 * (1 + std::abs(x[i]) + std::abs(exact_log[i]))) << "length " << n;
    }
  }
}

TEST_F(RowKernels, CrossEntropyAndItsGradientAreThoseOfFloat64) {
  Generator generator(2);
  for (int64_t n : lengths()) {
    const int64_t rows = 3;
    const std::vector<float> x = logits(rows * n, generator);
    const std::vector<int64_t> target = {n - 1, kernels::kIgnored, n / 2};
    const auto gradient = [&]<typename T>(const std::vector<T>& in) {
      std::vector<kernels::SoftmaxStatistics<T>> statistics(rows);
      std::vector<T> out(rows + in.size());
      const T scales[] = {1, 2, 3};
      kernels::cross_entropy<T>(in.data(), target.data(), rows, n, T(0.1), out.data(), statistics.data());
      kernels::cross_entropy_backward<T>(in.data(), target.data(), statistics.data(), rows, n, T(0.1), scales, 1,
                                         T(0.5), out.data() + rows);
      return out;
    };
    const std::vector<float> got = run([&] { return gradient(x); });
    const std::vector<double> exact = gradient(std::vector<double>(x.begin(), x.end()));
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], exact[i], 1e-5) << "length " << n;
  }
}

TEST_F(RowKernels, InfinitiesAndNaNDoAsInFloat64) {
  constexpr float kInf = std::numeric_limits<float>::infinity(), kNaN = std::numeric_limits<float>::quiet_NaN();
  for (const std::vector<float>& x : std::vector<std::vector<float>>{
           {1, -kInf, 2}, {-kInf, -kInf}, {kInf, 0}, {kNaN, 1}, {1, kNaN}, {-kInf, 3}, {-1e30f, 0, -200}}) {
    const auto n = static_cast<int64_t>(x.size());
    const std::vector<double> wide(x.begin(), x.end());
    for (Isa isa : available_isas()) {
      set_isa(isa);
      std::vector<float> out(x.size());
      std::vector<double> exact(x.size());
      kernels::softmax(x.data(), 1, n, out.data());
      kernels::softmax(wide.data(), 1, n, exact.data());
      for (size_t i = 0; i < x.size(); ++i)
        EXPECT_TRUE(std::isnan(exact[i]) ? std::isnan(out[i]) : std::abs(out[i] - exact[i]) < 1e-6) << out[i];
    }
  }
}

TEST_F(RowKernels, NormalizationIsThatOfFloat64AndTheAffinePartAddsNothing) {
  Generator generator(3);
  for (int64_t n : lengths()) {
    const int64_t rows = n > 5000 ? 2 : 3;
    const std::vector<float> x = logits(rows * n, generator), dy = logits(rows * n, generator);
    const std::vector<float> weight = logits(n, generator), bias = logits(n, generator);
    const auto compute = [&]<typename T>(const std::vector<T>& in, const std::vector<T>& gradient) {
      std::vector<T> y(in.size()), inverse(rows), dx(in.size());
      kernels::normalize_rows<T>(in.data(), rows, n, 1e-5, y.data(), inverse.data());
      kernels::normalize_rows_backward<T>(y.data(), gradient.data(), inverse.data(), rows, n, dx.data());
      for (const auto* more : {&inverse, &dx}) y.insert(y.end(), more->begin(), more->end());
      return y;
    };
    const std::vector<float> got = run([&] { return compute(x, dy); });
    const std::vector<double> exact =
        compute(std::vector<double>(x.begin(), x.end()), std::vector<double>(dy.begin(), dy.end()));
    // Of a single element all that is left is rounding.
    for (size_t i = 0; i < got.size() && n > 1; ++i)
      ASSERT_NEAR(got[i], exact[i], 1e-4 * (1 + std::abs(exact[i]))) << n;
    const std::vector<float> affine = run([&] {
      std::vector<float> y(x.size());
      kernels::normalize_rows<float>(x.data(), rows, n, 1e-5, y.data(), nullptr, {weight.data(), bias.data()});
      return y;
    });
    for (size_t i = 0; i < x.size(); ++i) {
      const auto c = static_cast<size_t>(static_cast<int64_t>(i) % n);
      const volatile float product = got[i] * weight[c];
      ASSERT_EQ(affine[i], product + bias[c]) << n;
    }
  }
}

}  // namespace
}  // namespace thimble
