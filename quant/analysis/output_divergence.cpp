#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <utility>

#include <thimble/quant/analysis/output_divergence.h>

namespace thimble::quant {

namespace {

struct Answers {
  std::vector<Tensor> batches;
  std::vector<NDArray> logits;  // of the reference
};

double log_of_sum_of_exponentials(std::span<const float> row) {
  const double most = std::ranges::max(row);
  double sum = 0;
  for (const float v : row) sum += std::exp(double{v} - most);
  return most + std::log(sum);
}

// KL(p || q) of the distributions that logits a and b stand for.
double divergence(std::span<const float> a, std::span<const float> b) {
  const double log_a = log_of_sum_of_exponentials(a), log_b = log_of_sum_of_exponentials(b);
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double log_p = double{a[i]} - log_a, log_q = double{b[i]} - log_b;
    sum += std::exp(log_p) * (log_p - log_q);
  }
  return sum;
}

double mean_divergence(const Answers& reference, nn::Graph& graph) {
  const NoGrad guard;
  double sum = 0;
  int64_t rows = 0;
  for (size_t i = 0; i < reference.batches.size(); ++i) {
    const NDArray &a = reference.logits[i], b = graph(reference.batches[i]).data().contiguous();
    check<ShapeError>(a.shape() == b.shape(), "output_divergence: the graph gives ", b.shape(), ", the reference ",
                      a.shape());
    const auto classes = static_cast<size_t>(a.shape().back());
    for (int64_t row = 0; row < a.numel() / a.shape().back(); ++row) {
      const auto at = static_cast<size_t>(row) * classes;
      sum += divergence({a.data<float>() + at, classes}, {b.data<float>() + at, classes});
      ++rows;
    }
  }
  return sum / static_cast<double>(rows);
}

}  // namespace

std::function<double(nn::Graph&)> output_divergence(const nn::Graph& reference, std::vector<Tensor> batches) {
  check<ValueError>(!batches.empty(), "output_divergence: there is no batch to compare on");
  const NoGrad guard;
  nn::Graph graph = reference.clone();
  graph.eval();
  auto answers = std::make_shared<Answers>();
  for (const Tensor& batch : batches) {
    const NDArray logits = graph(batch).data().contiguous();
    check<ShapeError>(logits.ndim() >= 1 && logits.numel() > 0,
                      "output_divergence: expects logits [..., classes], got ", logits.shape());
    check<DTypeError>(logits.dtype() == DType::float32, "output_divergence: expects float32 logits, got ",
                      logits.dtype());
    answers->logits.push_back(logits);
  }
  answers->batches = std::move(batches);
  return [answers](nn::Graph& other) { return mean_divergence(*answers, other); };
}

}  // namespace thimble::quant
