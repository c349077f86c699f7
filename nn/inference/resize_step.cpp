// interpolate() of images, and pad() with pixels of theirs: pixel by pixel.
#include <algorithm>
#include <array>
#include <numeric>
#include <optional>
#include <utility>

#include <thimble/core/kernels/image/resize.h>
#include <thimble/core/op.h>
#include <thimble/core/ops/resampling.h>
#include <thimble/nn/inference/inference.h>

namespace thimble::nn {

namespace {

ValueInfo resized(const ValueInfo& x, int64_t height, int64_t width) {
  return {.shape = {x.shape[0], x.shape[1], height, width}, .dtype = x.dtype};
}

class ResizeStep : public InferenceStep {
 public:
  ResizeStep(const ValueInfo& x, kernels::ResizeAxis rows, kernels::ResizeAxis columns)
      : InferenceStep(resized(x, rows.out(), columns.out())),
        resize_(std::move(rows), std::move(columns), x.shape[1]) {}

  void run(std::span<const void* const> inputs, void* y, uint8_t*) const override {
    const int64_t images = output().shape[0];
    if (output().dtype == DType::uint8)
      resize_.run(static_cast<const uint8_t*>(inputs[0]), images, static_cast<uint8_t*>(y));
    else
      resize_.run(static_cast<const float*>(inputs[0]), images, static_cast<float*>(y));
  }

 private:
  kernels::ImageResize resize_;
};

// Of the nearest inputs.
class PickStep : public InferenceStep {
 public:
  PickStep(const ValueInfo& x, std::vector<int64_t> rows, std::vector<int64_t> columns)
      : InferenceStep(resized(x, std::ssize(rows), std::ssize(columns))),
        height_(x.shape[2]),
        width_(x.shape[3]),
        pixel_bytes_(x.shape[1] * static_cast<int64_t>(itemsize(x.dtype))),
        rows_(std::move(rows)),
        columns_(std::move(columns)) {}

  void run(std::span<const void* const> inputs, void* y, uint8_t*) const override {
    kernels::pick_pixels(inputs[0], output().shape[0], height_, width_, pixel_bytes_, rows_, columns_, y);
  }

 private:
  int64_t height_, width_, pixel_bytes_;
  std::vector<int64_t> rows_, columns_;
};

Resampling identity(int64_t size) {
  Resampling matrix;
  matrix.in = size;
  for (int64_t i = 0; i < size; ++i) {
    matrix.add(i, 1);
    matrix.end_row();
  }
  return matrix;
}

std::vector<int64_t> indices_up_to(int64_t size) {
  std::vector<int64_t> indices(static_cast<size_t>(size));
  std::iota(indices.begin(), indices.end(), 0);
  return indices;
}

bool keeps_all(const Resampling& matrix) { return matrix.is_identity(); }
bool keeps_all(const std::vector<int64_t>& indices) { return indices == indices_up_to(std::ssize(indices)); }

// What is done to an image's rows and then to its columns.
template <typename Side>
struct Sides {
  Side rows, columns;
};

// None if the op does more, or the other way round. `make` makes what is done along an axis.
template <typename Side, typename Make>
std::optional<Sides<Side>> sides_of(const Shape& x, const InterpolateOptions& options, Sides<Side> sides, Make&& make) {
  int last = 0;
  for (const auto& [axis, sizes] : axes_to_resample(x, options)) {
    Side side = make(sizes, options);
    if (sizes.in == sizes.out && keeps_all(side)) continue;
    if (axis < 2 || axis < last) return std::nullopt;
    last = axis;
    (axis == 2 ? sides.rows : sides.columns) = std::move(side);
  }
  return sides;
}

kernels::ResizeAxis resize_axis(const Resampling& matrix) {
  kernels::ResizeAxis axis{matrix.in, matrix.starts, matrix.index, {}};
  for (const double w : matrix.weight) axis.weight.push_back(static_cast<float>(w));
  return axis;
}

// Beyond the edges there may be a number in place of inputs.
bool has_inputs_everywhere(const Resampling& matrix) {
  return matrix.offset.empty() && std::ranges::adjacent_find(matrix.starts) == matrix.starts.end();
}

std::unique_ptr<InferenceStep> resize_step(const Attributes& attributes, std::span<const ValueInfo> inputs) {
  const ValueInfo& x = inputs[0];
  if (inputs.size() != 1 || !x.is_image() || !x.lies_as_usual() || x.is_constant || x.shape.numel() == 0)
    return nullptr;
  const InterpolateOptions options = interpolate_options(attributes);
  const int64_t height = x.shape[2], width = x.shape[3];
  if (options.mode == "nearest") {
    auto sides =
        sides_of<std::vector<int64_t>>(x.shape, options, {indices_up_to(height), indices_up_to(width)}, nearest_inputs);
    return sides ? std::make_unique<PickStep>(x, std::move(sides->rows), std::move(sides->columns)) : nullptr;
  }
  const bool averages_integers = x.dtype == DType::uint8 && averages_inputs(options);
  if (x.dtype != DType::float32 && !averages_integers) return nullptr;
  const auto sides = sides_of<Resampling>(x.shape, options, {identity(height), identity(width)}, resampling);
  if (!sides || !has_inputs_everywhere(sides->rows) || !has_inputs_everywhere(sides->columns)) return nullptr;
  return std::make_unique<ResizeStep>(x, resize_axis(sides->rows), resize_axis(sides->columns));
}

// What is put before and behind the elements of an axis.
struct Amounts {
  int64_t before = 0, after = 0;
};

// Of each axis of an image; none if the op's lists are not those of one.
std::optional<std::array<Amounts, 4>> amounts_of(const Attributes& attributes) {
  const bool is_onnx = attributes.contains("pads");
  const auto list = attributes.get<std::vector<int64_t>>(is_onnx ? "pads" : "padding");
  std::vector<int64_t> axes = is_onnx ? attributes.get<std::vector<int64_t>>("axes", {}) : std::vector<int64_t>();
  const size_t pairs = list.size() / 2;
  if (axes.empty()) axes = is_onnx ? std::vector<int64_t>{0, 1, 2, 3} : std::vector<int64_t>{3, 2, 1, 0};
  if (list.size() % 2 != 0 || axes.size() > 4 || pairs > axes.size() || (is_onnx && pairs != axes.size()))
    return std::nullopt;
  std::array<std::optional<Amounts>, 4> found;
  for (size_t i = 0; i < pairs; ++i) {
    const int64_t axis = axes[i] < 0 ? axes[i] + 4 : axes[i];
    if (axis < 0 || axis > 3 || found[static_cast<size_t>(axis)]) return std::nullopt;
    found[static_cast<size_t>(axis)] =
        is_onnx ? Amounts{list[i], list[i + pairs]} : Amounts{list[2 * i], list[2 * i + 1]};
  }
  std::array<Amounts, 4> all;
  std::ranges::transform(found, all.begin(), [](const auto& amounts) { return amounts.value_or(Amounts()); });
  return all;
}

// Which elements of an axis the output's are, as the op says of numbered ones; none if they are too many, or it wants
// to repeat what is no element.
std::vector<int64_t> padded_indices(const std::string& mode, int64_t size, const Amounts& amounts) {
  constexpr int64_t kMost = int64_t{1} << 20;
  const auto is_large = [](int64_t n) { return n < -kMost || n > kMost; };
  if (is_large(size) || is_large(amounts.before) || is_large(amounts.after)) return {};
  const NDArray numbers = NDArray::from_vector(indices_up_to(size));
  const Attributes attributes{{"mode", mode}, {"padding", std::vector<int64_t>{amounts.before, amounts.after}}};
  try {
    return make_op("pad", attributes)->compute(std::span(&numbers, 1)).to_vector<int64_t>();
  } catch (const Error&) {
    return {};
  }
}

std::unique_ptr<InferenceStep> pad_step(const Attributes& attributes, std::span<const ValueInfo> inputs) {
  const ValueInfo& x = inputs[0];
  const auto mode = attributes.get<std::string>("mode", "constant");
  if (inputs.size() != 1 || !x.is_image() || !x.lies_as_usual() || x.is_constant || x.shape.numel() == 0 ||
      mode == "constant")
    return nullptr;
  const auto amounts = amounts_of(attributes);
  if (!amounts) return nullptr;
  const auto& [samples, channels, along_rows, along_columns] = *amounts;
  if (samples.before != 0 || samples.after != 0 || channels.before != 0 || channels.after != 0) return nullptr;
  std::vector<int64_t> rows = padded_indices(mode, x.shape[2], along_rows),
                       columns = padded_indices(mode, x.shape[3], along_columns);
  if (rows.empty() || columns.empty()) return nullptr;
  return std::make_unique<PickStep>(x, std::move(rows), std::move(columns));
}

const StepRegistration resize_registration("interpolate", resize_step);
const StepRegistration pad_registration("pad", pad_step);

}  // namespace

}  // namespace thimble::nn
