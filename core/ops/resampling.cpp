#include <algorithm>
#include <cmath>

#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/resampling.h>
#include <thimble/core/parallel.h>

namespace thimble {

namespace {

// Where output i lies in the input.
double coordinate_of(int64_t i, const ResampledAxis& a, const std::string& mode) {
  const auto x = static_cast<double>(i), last = static_cast<double>(a.in - 1);
  if (mode == "half_pixel") return (x + 0.5) / a.scale - 0.5;
  if (mode == "pytorch_half_pixel") return a.out > 1 ? (x + 0.5) / a.scale - 0.5 : 0;
  if (mode == "align_corners") return a.out > 1 ? x * last / static_cast<double>(a.out - 1) : 0;
  if (mode == "asymmetric") return x / a.scale;
  if (mode == "tf_half_pixel_for_nn") return (x + 0.5) / a.scale;
  if (mode == "half_pixel_symmetric") {
    const auto in = static_cast<double>(a.in);
    const double share = static_cast<double>(a.out) / (a.scale * in);
    return in / 2 * (1 - share) + (x + 0.5) / a.scale - 0.5;
  }
  check<ValueError>(mode == "tf_crop_and_resize", "interpolate: unknown coordinates '", mode, "'");
  const double length = (a.roi_end - a.roi_start) * last;
  return a.roi_start * last + (a.out > 1 ? x * length / static_cast<double>(a.out - 1) : length / 2);
}

bool is_outside(double x, const ResampledAxis& a, const InterpolateOptions& o) {
  return o.coordinates == "tf_crop_and_resize" && !(x >= 0 && x <= static_cast<double>(a.in - 1));
}

// The weight of an input that lies this far from the output, in units of the input or, where it shrinks with antialias,
// of the output.
double weight_at(double distance, const InterpolateOptions& o) {
  const double d = std::abs(distance), a = o.cubic_a;
  if (o.mode == "linear") return std::max(0.0, 1 - d);
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

int64_t nearest(double x, const std::string& rounding, double scale) {
  if (rounding == "round_prefer_floor") return static_cast<int64_t>(std::ceil(x - 0.5));
  if (rounding == "round_prefer_ceil") return static_cast<int64_t>(std::floor(x + 0.5));
  if (rounding == "floor") return static_cast<int64_t>(std::floor(x));
  if (rounding == "ceil") return static_cast<int64_t>(std::ceil(x));
  check<ValueError>(rounding == "simple", "interpolate: unknown rounding '", rounding, "'");
  return static_cast<int64_t>(scale < 1 ? std::ceil(x) : std::floor(x));
}

// One row of the matrix: the inputs around x.
void add_row(Resampling& matrix, double x, const ResampledAxis& axis, const InterpolateOptions& o) {
  const double stretch = o.antialias && axis.scale < 1 ? axis.scale : 1, reach = (o.mode == "linear" ? 1 : 2) / stretch;
  const auto first = static_cast<int64_t>(std::floor(x - reach)) + 1,
             last = static_cast<int64_t>(std::floor(x + reach));
  const size_t begin = matrix.index.size();
  double sum = 0;
  for (int64_t i = first; i <= last; ++i) {
    const double w = weight_at((static_cast<double>(i) - x) * stretch, o);
    if (w == 0 || (o.exclude_outside && (i < 0 || i >= axis.in))) continue;
    matrix.add(std::clamp<int64_t>(i, 0, axis.in - 1), w);
    sum += w;
  }
  const bool must_be_one = o.exclude_outside || stretch != 1;
  for (size_t i = begin; must_be_one && i < matrix.weight.size(); ++i) matrix.weight[i] /= sum;
}

template <typename T>
void resample_rows(const Resampling& m, int64_t outer, int64_t inner, const T* x, T* y) {
  parallel_for(outer * m.out(), 1 + 4096 / std::max<int64_t>(1, inner), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const auto i = static_cast<size_t>(row % m.out());
      const T* from = x + row / m.out() * m.in * inner;
      T* to = y + row * inner;
      std::fill(to, to + inner, m.offset.empty() ? T{0} : static_cast<T>(m.offset[i]));
      for (auto e = static_cast<size_t>(m.starts[i]); e < static_cast<size_t>(m.starts[i + 1]); ++e) {
        const T* source = from + m.index[e] * inner;
        const T w = static_cast<T>(m.weight[e]);
        for (int64_t j = 0; j < inner; ++j) to[j] += w * source[j];
      }
    }
  });
}

class Resample final : public Op {
 public:
  Resample(int axis, std::shared_ptr<const Resampling> matrix) : axis_(axis), matrix_(std::move(matrix)) {}
  std::string_view name() const override { return "resample"; }
  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray x = inputs[0].contiguous();
    Shape shape = x.shape();
    check<ShapeError>(shape[axis_] == matrix_->in, "interpolate: got ", shape[axis_], " elements, expected ",
                      matrix_->in);
    shape[axis_] = matrix_->out();
    int64_t outer = 1, inner = 1;
    for (int d = 0; d < axis_; ++d) outer *= shape[d];
    for (int d = axis_ + 1; d < shape.ndim(); ++d) inner *= shape[d];
    NDArray y(shape, x.dtype());
    dispatch_float(x.dtype(), "interpolate", [&](auto tag) {
      using T = typename decltype(tag)::type;
      resample_rows(*matrix_, outer, inner, x.data<T>(), y.data<T>());
    });
    return y;
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor>, const Tensor&) override {
    return {resample(out_grad, axis_, std::make_shared<const Resampling>(matrix_->transposed()))};
  }

 private:
  int axis_;
  std::shared_ptr<const Resampling> matrix_;
};

}  // namespace

bool Resampling::is_identity() const {
  if (out() != in || static_cast<int64_t>(index.size()) != in || !offset.empty()) return false;
  for (size_t i = 0; i < index.size(); ++i)
    if (starts[i] != static_cast<int64_t>(i) || index[i] != static_cast<int64_t>(i) || weight[i] != 1) return false;
  return true;
}

Resampling Resampling::transposed() const {
  std::vector<std::vector<std::pair<int64_t, double>>> rows(static_cast<size_t>(in));
  for (int64_t i = 0; i < out(); ++i)
    for (auto e = static_cast<size_t>(starts[static_cast<size_t>(i)]);
         e < static_cast<size_t>(starts[static_cast<size_t>(i) + 1]); ++e)
      rows[static_cast<size_t>(index[e])].emplace_back(i, weight[e]);
  Resampling t;
  t.in = out();
  for (const auto& row : rows) {
    for (const auto& [i, w] : row) t.add(i, w);
    t.end_row();
  }
  return t;
}

bool averages_inputs(const InterpolateOptions& o) {
  return o.mode == "linear" && o.coordinates != "tf_crop_and_resize" && !o.exclude_outside;
}

Resampling resampling(const ResampledAxis& axis, const InterpolateOptions& o) {
  check<ValueError>(o.mode == "linear" || o.mode == "cubic", "interpolate: unknown mode '", o.mode, "'");
  Resampling matrix;
  matrix.in = axis.in;
  std::vector<double> offset(static_cast<size_t>(axis.out));
  bool is_cropped = false;
  for (int64_t i = 0; i < axis.out; ++i) {
    const double x = coordinate_of(i, axis, o.coordinates);
    if (is_outside(x, axis, o)) {
      offset[static_cast<size_t>(i)] = o.extrapolation_value;
      is_cropped = true;
    } else {
      add_row(matrix, x, axis, o);
    }
    matrix.end_row();
  }
  if (is_cropped) matrix.offset = std::move(offset);
  return matrix;
}

std::vector<int64_t> nearest_inputs(const ResampledAxis& axis, const InterpolateOptions& o) {
  std::vector<int64_t> inputs;
  for (int64_t i = 0; i < axis.out; ++i) {
    const double x = coordinate_of(i, axis, o.coordinates);
    check<ValueError>(!is_outside(x, axis, o), "interpolate: 'nearest' does not extrapolate");
    inputs.push_back(std::clamp<int64_t>(nearest(x, o.rounding, axis.scale), 0, axis.in - 1));
  }
  return inputs;
}

Tensor resample(const Tensor& x, int axis, std::shared_ptr<const Resampling> matrix) {
  return apply(std::make_unique<Resample>(axis, std::move(matrix)), {x});
}

}  // namespace thimble
