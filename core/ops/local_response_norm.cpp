#include <algorithm>

#include <thimble/core/ops/composed_op.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/local_response_norm.h>
#include <thimble/core/ops/shape.h>

namespace thimble {

namespace {

class LocalResponseNorm final : public ComposedOp {
 public:
  LocalResponseNorm(int64_t size, const LocalResponseNormOptions& options) : size_(size), options_(options) {
    check<ValueError>(size >= 1, "local_response_norm: size ", size, " must be at least 1");
  }
  std::string_view name() const override { return "local_response_norm"; }
  Attributes attributes() const override {
    return {{"size", size_}, {"alpha", options_.alpha}, {"beta", options_.beta}, {"k", options_.k}};
  }

 private:
  Tensor formula(std::span<const Tensor> inputs) const override {
    const Tensor& x = inputs[0];
    check<ShapeError>(x.ndim() >= 2, name(), ": input must be [n, channels, ...], got ", x.shape());
    const Tensor mean = window_sum(x * x) * (options_.alpha / static_cast<double>(size_));
    return x / pow(mean + options_.k, options_.beta);
  }

  // Over channels c - size / 2 to c + (size - 1) / 2.
  Tensor window_sum(const Tensor& squares) const {
    const int64_t channels = squares.shape(1);
    const int64_t before = std::min(size_ / 2, channels), after = std::min((size_ - 1) / 2, channels);
    std::vector<int64_t> padding(static_cast<size_t>(2 * (squares.ndim() - 2)));
    padding.insert(padding.end(), {before, after});
    const Tensor padded = pad(squares, padding);
    Tensor total = slice(padded, 1, 0, channels);
    for (int64_t i = 1; i <= before + after; ++i) total = total + slice(padded, 1, i, i + channels);
    return total;
  }

  int64_t size_;
  LocalResponseNormOptions options_;
};

const OpRegistration local_response_norm_registration{
    "local_response_norm", [](const Attributes& a) {
      return std::make_unique<LocalResponseNorm>(
          a.get<int64_t>("size"),
          LocalResponseNormOptions{a.get<double>("alpha"), a.get<double>("beta"), a.get<double>("k")});
    }};

}  // namespace

Tensor local_response_norm(const Tensor& x, int64_t size, const LocalResponseNormOptions& options) {
  return apply(std::make_unique<LocalResponseNorm>(size, options), {x});
}

}  // namespace thimble
