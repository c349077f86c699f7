#include <cmath>
#include <limits>
#include <random>

#include <gtest/gtest.h>

#include "tests/quant/reference.h"
#include <thimble/quant/observers/cross_entropy_observer.h>

namespace thimble::quant {
namespace {

// Mean over rows of -sum softmax(x) log softmax(y).
double cross_entropy(const NDArray& x, const NDArray& y) {
  const auto log_softmax = [](const NDArray& logits) {
    std::vector<double> v = logits.to_vector<double>();
    const auto classes = static_cast<size_t>(logits.shape(1));
    for (size_t r = 0; r < v.size(); r += classes) {
      double sum = 0;
      for (size_t c = r; c < r + classes; ++c) sum += std::exp(v[c]);
      for (size_t c = r; c < r + classes; ++c) v[c] -= std::log(sum);
    }
    return v;
  };
  const auto p = log_softmax(x), q = log_softmax(y);
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) sum -= std::exp(p[i]) * q[i];
  return sum / static_cast<double>(x.shape(0));
}

double loss(const NDArray& x, const QParams& p) { return cross_entropy(x, dequantize(quantize(x, p), p)); }

// Logits of a classifier: one class stands out, some values far below all that matter.
NDArray logits(std::mt19937& rng, int64_t rows, int64_t classes) {
  NDArray x = random_normal({rows, classes}, rng);
  float* v = x.data<float>();
  for (int64_t r = 0; r < rows; ++r) {
    v[r * classes + static_cast<int64_t>(rng() % static_cast<uint64_t>(classes))] += 8;
    v[r * classes + static_cast<int64_t>(rng() % static_cast<uint64_t>(classes))] -= 40;
  }
  return x;
}

TEST(CrossEntropyObserver, IsNeverWorseThanTheWholeRange) {
  std::mt19937 rng(1);
  for (const QuantizationSpec& spec : per_tensor_specs()) {
    SCOPED_TRACE(str(spec.to_attributes()));
    const NDArray x = logits(rng, 100, 10);
    CrossEntropyObserver observer(spec);
    observer(Tensor(x));
    EXPECT_LE(loss(x, observer.qparams()), loss(x, choose_qparams(x, spec)) + 1e-6);
  }
}

TEST(CrossEntropyObserver, IsBetterThanAnyOfAGrid) {
  std::mt19937 rng(2);
  for (const int bits : {3, 4, 8}) {
    const QuantizationSpec spec{.bits = bits};
    const NDArray x = logits(rng, 100, 10);
    CrossEntropyObserver observer(spec);
    observer(Tensor(x));
    const double best = loss(x, observer.qparams());
    const Range range = min_max(x, QuantizationSpec{});
    for (int i = 1; i <= 20; ++i)
      for (int j = 1; j <= 20; ++j) {
        const QParams p =
            choose_qparams(range.min[0] * static_cast<float>(i) / 20, range.max[0] * static_cast<float>(j) / 20, spec);
        EXPECT_LE(best, loss(x, p) * 1.05) << i << ' ' << j;
      }
  }
}

TEST(CrossEntropyObserver, ClipsWhatHardlyHasAProbability) {
  std::mt19937 rng(3);
  CrossEntropyObserver observer({.bits = 4});
  const NDArray x = logits(rng, 200, 10);
  observer(Tensor(x));
  EXPECT_LT(observer.qparams().scale[0], 0.7f * choose_qparams(x, {.bits = 4}).scale[0]);
}

TEST(CrossEntropyObserver, DivisionIntoBatchesDoesNotMatter) {
  std::mt19937 rng(4);
  const NDArray x = logits(rng, 5000, 7);
  CrossEntropyObserver at_once({.bits = 4}), by_parts({.bits = 4});
  at_once(Tensor(x));
  for (int64_t r = 0; r < 5000;) {
    const auto n = static_cast<int64_t>(rng() % 700);
    by_parts(Tensor(x.slice(0, r, std::min<int64_t>(5000, r + n))));
    r += n;
  }
  for (size_t i = 0; i < at_once.state().size(); ++i)
    EXPECT_EQ(at_once.state()[i].second.data().to_vector<double>(),
              by_parts.state()[i].second.data().to_vector<double>());
}

TEST(CrossEntropyObserver, KeepsRowsFromAllThatItSaw) {
  for (const int64_t n : {1, 1023, 1024, 1025, 2048, 2049, 10000}) {
    CrossEntropyObserver observer;
    observer(Tensor(NDArray::arange(n, DType::float32).reshape({n, 1}).broadcast_to({n, 3})));
    int64_t stride = 1;
    while ((n + stride - 1) / stride > CrossEntropyObserver::kSampleRows) stride *= 2;
    const NDArray rows = observer.state()[3].second.data();
    ASSERT_EQ(rows.shape(), Shape({CrossEntropyObserver::kSampleRows, 3}));
    for (int64_t i = 0; i * stride < n; ++i)
      ASSERT_EQ(rows.slice(0, i, i + 1).to_vector<float>(), std::vector<float>(3, static_cast<float>(i * stride))) << n;
  }
}

TEST(CrossEntropyObserver, ManyClassesTakeBoundedMemory) {
  CrossEntropyObserver observer;
  observer(Tensor(NDArray::ones({3, 20000})));
  EXPECT_EQ(observer.state()[3].second.shape(), Shape({16, 20000}));
  Attributes a = QuantizationSpec().to_attributes();
  a.set("classes", int64_t{1} << 50);
  EXPECT_NO_THROW(nn::make_layer("CrossEntropyObserver", a));
}

TEST(CrossEntropyObserver, TakesRowsOfOneLengthOnly) {
  CrossEntropyObserver observer;
  EXPECT_THROW(observer(Tensor(NDArray::ones({5}))), ShapeError);
  EXPECT_THROW(observer(Tensor(NDArray::ones({2, 3, 4}))), ShapeError);
  observer(Tensor(NDArray::ones({2, 3})));
  EXPECT_THROW(observer(Tensor(NDArray::ones({2, 4}))), ShapeError);
}

TEST(CrossEntropyObserver, RefusesAStateThatIsNone) {
  const auto load = [](double min, double max, int64_t seen) {
    CrossEntropyObserver observer({}, 3);
    observer.load_state({{"min", NDArray::full({}, min)},
                         {"max", NDArray::full({}, max)},
                         {"seen", NDArray::full({}, static_cast<double>(seen), DType::int64)},
                         {"rows", NDArray::ones({CrossEntropyObserver::kSampleRows, 3})}});
    if (seen > 0) observer.qparams();
  };
  EXPECT_NO_THROW(load(0, 1, 5));
  EXPECT_NO_THROW(load(0, 1, int64_t{1} << 60));
  EXPECT_THROW(load(0, 1, -1), ValueError);
  EXPECT_THROW(load(2, 1, 5), ValueError);
  EXPECT_THROW(load(std::numeric_limits<double>::quiet_NaN(), 1, 5), ValueError);
}

}  // namespace
}  // namespace thimble::quant
