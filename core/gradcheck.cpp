#include <cmath>

#include <thimble/core/gradcheck.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/random.h>

namespace thimble {

namespace {

using Function = std::function<Tensor(const std::vector<Tensor>&)>;

std::vector<Tensor> leaves(const std::vector<NDArray>& arrays) {
  std::vector<Tensor> tensors;
  for (const NDArray& a : arrays) {
    check<DTypeError>(a.dtype() == DType::float64, "gradcheck: inputs must be float64, got ", a.dtype());
    tensors.emplace_back(a, true);
  }
  return tensors;
}

// The flat index of an element as offset into a strided array.
int64_t offset_of(const NDArray& array, int64_t flat) {
  int64_t offset = 0;
  for (int d = array.ndim() - 1; d >= 0; --d) {
    offset += flat % array.shape(d) * array.strides()[d];
    flat /= array.shape(d);
  }
  return offset;
}

double weighted_sum(const NDArray& values, const NDArray& weights) {
  const auto v = values.to_vector<double>(), w = weights.to_vector<double>();
  double total = 0;
  for (size_t i = 0; i < v.size(); ++i) total += v[i] * w[i];
  return total;
}

}  // namespace

void gradcheck(const Function& f, const std::vector<NDArray>& inputs, const GradcheckOptions& options) {
  // Inputs may be views that share memory or repeat elements; differences need independent elements.
  std::vector<NDArray> points;
  for (const NDArray& a : inputs) {
    bool broadcast = false;
    for (int d = 0; d < a.ndim(); ++d) broadcast = broadcast || (a.strides()[d] == 0 && a.shape(d) > 1);
    points.push_back(broadcast ? a.clone() : a);
  }
  const std::vector<Tensor> x = leaves(points);
  const Tensor output = f(x);
  Generator generator(7);
  const NDArray weights = randn(output.shape(), generator, DType::float64);
  std::vector<Tensor> gradients(x.size());
  if (output.requires_grad()) gradients = grad(output, x, weights);

  for (size_t i = 0; i < x.size(); ++i) {
    const auto analytic = gradients[i].defined() ? gradients[i].data().to_vector<double>()
                                                 : std::vector<double>(static_cast<size_t>(x[i].numel()), 0.0);
    for (int64_t e = 0; e < x[i].numel(); ++e) {
      double& element = points[i].data<double>()[offset_of(points[i], e)];
      const double before = element;
      auto value_at = [&](double value) {
        element = value;
        const NoGrad guard;
        return weighted_sum(f(x).data(), weights);
      };
      const double numerical = (value_at(before + options.step) - value_at(before - options.step)) / (2 * options.step);
      element = before;
      const double got = analytic[static_cast<size_t>(e)];
      const bool close = std::abs(got - numerical) <= options.absolute + options.relative * std::abs(numerical);
      check<ValueError>(close, "gradcheck: input ", i, " element ", e, ": gradient ", got, ", central difference ",
                        numerical);
    }
  }
}

void gradgradcheck(const Function& f, const std::vector<NDArray>& inputs, const GradcheckOptions& options) {
  Generator generator(11);
  const Shape shape = f(leaves(inputs)).shape();
  const NDArray out_grad = randn(shape, generator, DType::float64);
  for (size_t i = 0; i < inputs.size(); ++i) {
    gradcheck(
        [&](const std::vector<Tensor>& x) {
          // grad() may run inside NoGrad when differences are taken; the inner graph is needed all the same.
          const bool before = set_grad_enabled(true);
          const Tensor g = grad(f(x), x, out_grad, {.create_graph = true})[i];
          set_grad_enabled(before);
          return g;
        },
        inputs, options);
  }
}

}  // namespace thimble
