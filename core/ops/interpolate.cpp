#include <algorithm>
#include <cmath>

#include <thimble/core/ops/cast.h>
#include <thimble/core/ops/composed_op.h>
#include <thimble/core/ops/indexing.h>
#include <thimble/core/ops/interpolate.h>
#include <thimble/core/ops/math.h>
#include <thimble/core/ops/resampling.h>

namespace thimble {

namespace {

constexpr int64_t kLargest = int64_t{1} << 24;  // of an axis

Attributes attributes_of(const InterpolateOptions& o) {
  return {{"mode", o.mode},
          {"axes", o.axes},
          {"scales", o.scales},
          {"sizes", o.sizes},
          {"coordinates", o.coordinates},
          {"rounding", o.rounding},
          {"cubic_a", o.cubic_a},
          {"exclude_outside", o.exclude_outside},
          {"antialias", o.antialias},
          {"roi", o.roi},
          {"extrapolation_value", o.extrapolation_value},
          {"aspect", o.aspect}};
}

std::vector<int> interpolated_axes(const InterpolateOptions& o, int ndim) {
  std::vector<int> axes;
  for (const int64_t axis : o.axes) axes.push_back(normalize_axis(axis, ndim, "interpolate"));
  for (int d = 0; o.axes.empty() && d < ndim; ++d) axes.push_back(d);
  std::vector<int> sorted = axes;
  std::ranges::sort(sorted);
  check<ShapeError>(std::ranges::adjacent_find(sorted) == sorted.end(), "interpolate: an axis is given twice");
  return axes;
}

int64_t scaled_size(int64_t in, double scale) {
  check<ValueError>(std::isfinite(scale) && scale > 0, "interpolate: scale ", scale, " must be above 0");
  const auto product = static_cast<float>(static_cast<double>(in) * scale);
  return product < static_cast<float>(kLargest) ? static_cast<int64_t>(std::floor(product)) : kLargest + 1;
}

// One scale for all axes, with which they fit into the sizes or cover them.
void keep_aspect(const InterpolateOptions& o, std::vector<AxisToResample>& axes) {
  check<ValueError>(o.aspect == "not_larger" || o.aspect == "not_smaller", "interpolate: unknown aspect '", o.aspect,
                    "'");
  check<ValueError>(o.scales.empty(), "interpolate: an aspect is kept where sizes are given");
  const auto less = [](const AxisToResample& a, const AxisToResample& b) { return a.sizes.scale < b.sizes.scale; };
  const double scale = o.aspect == "not_larger" ? std::ranges::min_element(axes, less)->sizes.scale
                                                : std::ranges::max_element(axes, less)->sizes.scale;
  for (auto& [_, axis] : axes) {
    axis.scale = scale;
    axis.out = std::max<int64_t>(1, static_cast<int64_t>(std::floor(scale * static_cast<double>(axis.in) + 0.5)));
    check<ShapeError>(axis.out <= kLargest, "interpolate: an axis would be of size ", axis.out);
  }
}

class Interpolate final : public ComposedOp {
 public:
  explicit Interpolate(InterpolateOptions options) : options_(std::move(options)) {}
  std::string_view name() const override { return "interpolate"; }
  Attributes attributes() const override { return attributes_of(options_); }

 private:
  Tensor formula(std::span<const Tensor> inputs) const override {
    const Tensor& x = inputs[0];
    const bool rounds = x.dtype() == DType::uint8 && averages_inputs(options_);  // to their own grid
    Tensor y = rounds ? cast(x, DType::float32) : x;
    for (const auto& [axis, sizes] : axes_to_resample(x.shape(), options_)) y = along(y, axis, sizes);
    return rounds ? cast(round(y), x.dtype()) : y;
  }

  Tensor along(const Tensor& x, int axis, const ResampledAxis& sizes) const {
    if (options_.mode != "nearest") {
      auto matrix = std::make_shared<const Resampling>(resampling(sizes, options_));
      return matrix->is_identity() ? x : resample(x, axis, std::move(matrix));
    }
    const NDArray index = NDArray::from_vector(nearest_inputs(sizes, options_));
    return index_select(x, axis, index);
  }

  InterpolateOptions options_;
};

const OpRegistration interpolate_registration{
    "interpolate", [](const Attributes& a) { return std::make_unique<Interpolate>(interpolate_options(a)); }};

}  // namespace

InterpolateOptions interpolate_options(const Attributes& a) {
  using Numbers = std::vector<double>;
  using Integers = std::vector<int64_t>;
  return {.mode = a.get<std::string>("mode"),
          .axes = a.get<Integers>("axes", {}),
          .scales = a.get<Numbers>("scales", {}),
          .sizes = a.get<Integers>("sizes", {}),
          .coordinates = a.get<std::string>("coordinates", "half_pixel"),
          .rounding = a.get<std::string>("rounding", "round_prefer_floor"),
          .cubic_a = a.get<double>("cubic_a", -0.75),
          .exclude_outside = a.get<bool>("exclude_outside", false),
          .antialias = a.get<bool>("antialias", false),
          .roi = a.get<Numbers>("roi", {}),
          .extrapolation_value = a.get<double>("extrapolation_value", 0.0),
          .aspect = a.get<std::string>("aspect", "stretch")};
}

std::vector<AxisToResample> axes_to_resample(const Shape& x, const InterpolateOptions& options) {
  const std::vector<int> axes = interpolated_axes(options, x.ndim());
  const auto &scales = options.scales, &roi = options.roi;
  const std::vector<int64_t>& sizes = options.sizes;
  check<ShapeError>(scales.empty() != sizes.empty(), "interpolate: expects either scales or sizes");
  const size_t given = scales.size() + sizes.size();
  check<ShapeError>(given == axes.size(), "interpolate: got ", given, " scales or sizes for ", axes.size(), " axes");
  check<ShapeError>(roi.empty() || roi.size() == 2 * axes.size(), "interpolate: got ", roi.size(),
                    " numbers of roi, expected ", 2 * axes.size());
  check<ValueError>(options.coordinates != "tf_crop_and_resize" || !roi.empty(), "interpolate: there is no roi");
  std::vector<AxisToResample> all;
  for (size_t i = 0; i < axes.size(); ++i) {
    const int64_t in = x[axes[i]];
    ResampledAxis axis{in, 0, scales.empty() ? 0 : scales[i]};
    axis.out = scales.empty() ? sizes[i] : scaled_size(in, axis.scale);
    check<ShapeError>(in > 0 && axis.out > 0 && axis.out <= kLargest, "interpolate: axis ", axes[i], " of size ", in,
                      " would be ", axis.out, ", expected 1 to ", kLargest);
    if (scales.empty()) axis.scale = static_cast<double>(axis.out) / static_cast<double>(in);
    if (!roi.empty()) {
      axis.roi_start = roi[i];
      axis.roi_end = roi[i + axes.size()];
    }
    all.push_back({axes[i], axis});
  }
  if (options.aspect != "stretch") keep_aspect(options, all);
  return all;
}

Tensor interpolate(const Tensor& x, const InterpolateOptions& options) {
  return apply(std::make_unique<Interpolate>(options), {x});
}

}  // namespace thimble
