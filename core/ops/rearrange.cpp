#include <algorithm>
#include <cmath>
#include <optional>

#include <thimble/core/ops/rearrange.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>
#include <thimble/core/ops/shape_attribute.h>

namespace thimble {

namespace {

int64_t product(int64_t a, int64_t b, const char* op) {
  int64_t result = 0;
  check<ShapeError>(!__builtin_mul_overflow(a, b, &result), op, ": the result is too large");
  return result;
}

// [before, size, after] around an axis: the elements in front of it, and behind it.
Shape around(const Shape& shape, int axis) {
  Shape sizes{1, shape[axis], 1};
  for (int d = 0; d < shape.ndim(); ++d)
    if (d != axis) sizes[d < axis ? 0 : 2] *= shape[d];
  return sizes;
}

class Tile final : public Op {
 public:
  explicit Tile(const Shape& repeats) : repeats_(repeats) {}
  std::string_view name() const override { return "tile"; }
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }
  Attributes attributes() const override { return {{"repeats", repeats_.to_vector()}}; }
  NDArray compute(std::span<const NDArray> inputs) override {
    check<ShapeError>(repeats_.ndim() == inputs[0].ndim(), "tile: ", repeats_.ndim(), " repeats for shape ",
                      inputs[0].shape());
    NDArray out = inputs[0];
    for (int d = 0; d < repeats_.ndim(); ++d) {
      check<ValueError>(repeats_[d] >= 0, "tile: ", repeats_[d], " repeats");
      if (repeats_[d] != 1) out = repeated(out, d, repeats_[d]);
    }
    return out;
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    Tensor grad = out_grad;
    Shape shape = out_grad.shape();
    for (int d = 0; d < repeats_.ndim(); ++d) {
      if (repeats_[d] == 1) continue;
      shape[d] = inputs[0].shape(d);
      const Shape own = around(shape, d);
      grad = reshape(sum(reshape(grad, {own[0], repeats_[d], own[1] * own[2]}), {1}), shape);
    }
    return {grad};
  }

 private:
  static NDArray repeated(const NDArray& x, int axis, int64_t times) {
    const Shape own = around(x.shape(), axis);
    Shape shape = x.shape();
    shape[axis] = product(shape[axis], times, "tile");
    NDArray out(shape, x.dtype());
    NDArray copies = out.reshape({own[0], times, own[1] * own[2]});
    copies.copy_from(x.reshape({own[0], 1, own[1] * own[2]}).broadcast_to(copies.shape()));
    return out;
  }

  Shape repeats_;
};

/// Moves blocks of pixels between channels and space, one way or the other.
class PixelShuffle final : public Op {
 public:
  PixelShuffle(bool up, int64_t factor, bool depth_first) : up_(up), depth_first_(depth_first), factor_(factor) {}
  std::string_view name() const override { return up_ ? "pixel_shuffle" : "pixel_unshuffle"; }
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }
  Attributes attributes() const override {
    return {{up_ ? "upscale_factor" : "downscale_factor", factor_}, {"depth_first", depth_first_}};
  }
  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray& x = inputs[0];
    const int64_t r = factor_;
    check<ValueError>(r > 0 && r < (int64_t{1} << 24), name(), ": the factor is ", r);
    check<ShapeError>(x.ndim() == 4, name(), ": expects [n,c,h,w], got ", x.shape());
    const int64_t n = x.shape(0), c = x.shape(1), h = x.shape(2), w = x.shape(3);
    if (up_) {
      check<ShapeError>(c % (r * r) == 0, name(), ": ", c, " channels are no multiple of ", r * r);
      const Shape parts = depth_first_ ? Shape{n, r, r, c / (r * r), h, w} : Shape{n, c / (r * r), r, r, h, w};
      const Shape order = depth_first_ ? Shape{0, 3, 4, 1, 5, 2} : Shape{0, 1, 4, 2, 5, 3};
      return x.reshape(parts).permute(order).reshape(
          {n, c / (r * r), product(h, r, "pixel_shuffle"), product(w, r, "pixel_shuffle")});
    }
    check<ShapeError>(h % r == 0 && w % r == 0, name(), ": ", x.shape(), " is no multiple of ", r);
    const Shape order = depth_first_ ? Shape{0, 3, 5, 1, 2, 4} : Shape{0, 1, 3, 5, 2, 4};
    return x.reshape({n, c, h / r, r, w / r, r})
        .permute(order)
        .reshape({n, product(c, r * r, "pixel_unshuffle"), h / r, w / r});
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor>, const Tensor&) override {
    return {up_ ? pixel_unshuffle(out_grad, factor_, depth_first_) : pixel_shuffle(out_grad, factor_, depth_first_)};
  }

  static std::unique_ptr<Op> make(bool up, const Attributes& a) {
    return std::make_unique<PixelShuffle>(up, a.get<int64_t>(up ? "upscale_factor" : "downscale_factor"),
                                          a.get("depth_first", false));
  }

 private:
  bool up_, depth_first_;
  int64_t factor_;
};

class Triangle final : public Op {
 public:
  Triangle(bool upper, int64_t diagonal) : upper_(upper), diagonal_(diagonal) {}
  std::string_view name() const override { return upper_ ? "triu" : "tril"; }
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }
  Attributes attributes() const override { return {{"diagonal", diagonal_}}; }
  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray& x = inputs[0];
    check<ShapeError>(x.ndim() >= 2, name(), ": expects matrices, got ", x.shape());
    const int64_t rows = x.shape(-2), columns = x.shape(-1), k = std::clamp(diagonal_, -rows - 1, columns + 1);
    NDArray out = NDArray::zeros(x.shape(), x.dtype());
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t first = upper_ ? std::clamp<int64_t>(i + k, 0, columns) : 0;
      const int64_t end = upper_ ? columns : std::clamp<int64_t>(i + k + 1, 0, columns);
      const auto part = [&](const NDArray& of) { return of.slice(-2, i, i + 1).slice(-1, first, end); };
      if (first < end) part(out).copy_from(part(x));
    }
    return out;
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor>, const Tensor&) override {
    return {upper_ ? triu(out_grad, diagonal_) : tril(out_grad, diagonal_)};
  }

 private:
  bool upper_;
  int64_t diagonal_;
};

// The diagonal of two dimensions as the last one.
NDArray diagonal_view(const NDArray& x, int64_t axis0, int64_t axis1) {
  const int a = normalize_axis(axis0, x.ndim(), "diagonal"), b = normalize_axis(axis1, x.ndim(), "diagonal");
  check<ShapeError>(a != b && x.shape(a) == x.shape(b), "diagonal: dimensions ", axis0, " and ", axis1, " of ",
                    x.shape(), " are not two of one size");
  Shape shape, strides;
  for (int d = 0; d < x.ndim(); ++d) {
    if (d == a || d == b) continue;
    shape.push_back(x.shape(d));
    strides.push_back(x.strides()[d]);
  }
  shape.push_back(x.shape(a));
  strides.push_back(x.strides()[a] + x.strides()[b]);
  return x.view(shape, strides, 0);
}

/// The transpose of diagonal: the elements on the diagonal of zeros of `shape`.
class DiagonalBackward final : public Op {
 public:
  DiagonalBackward(int64_t axis0, int64_t axis1, const Shape& shape) : axis0_(axis0), axis1_(axis1), shape_(shape) {}
  std::string_view name() const override { return "diagonal_backward"; }
  Attributes attributes() const override {
    return {{"axis0", axis0_}, {"axis1", axis1_}, {"shape", shape_.to_vector()}};
  }
  NDArray compute(std::span<const NDArray> inputs) override {
    const DType dtype = inputs[0].dtype();
    const Shape expected = diagonal_view(NDArray::placeholder(shape_, dtype), axis0_, axis1_).shape();
    check<ShapeError>(expected == inputs[0].shape(), "diagonal_backward: gradient ", inputs[0].shape(), " is not ",
                      expected);
    NDArray out = NDArray::zeros(shape_, dtype), part = diagonal_view(out, axis0_, axis1_);
    part.copy_from(inputs[0]);
    return out;
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor>, const Tensor&) override {
    return {diagonal(out_grad, axis0_, axis1_)};
  }

 private:
  int64_t axis0_, axis1_;
  Shape shape_;
};

class Diagonal final : public Op {
 public:
  Diagonal(int64_t axis0, int64_t axis1) : axis0_(axis0), axis1_(axis1) {}
  std::string_view name() const override { return "diagonal"; }
  Attributes attributes() const override { return {{"axis0", axis0_}, {"axis1", axis1_}}; }
  NDArray compute(std::span<const NDArray> inputs) override { return diagonal_view(inputs[0], axis0_, axis1_); }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    return {apply(std::make_unique<DiagonalBackward>(axis0_, axis1_, inputs[0].shape()), {out_grad})};
  }

 private:
  int64_t axis0_, axis1_;
};

/// One of the chunks.
class Chunk final : public Op {
 public:
  Chunk(int64_t axis, int64_t chunks, int64_t number) : axis_(axis), chunks_(chunks), number_(number) {
    check<ValueError>(number >= 0 && number < chunks, "chunk: there is no part ", number, " of ", chunks);
  }
  std::string_view name() const override { return "chunk"; }
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }
  Attributes attributes() const override { return {{"axis", axis_}, {"chunks", chunks_}, {"number", number_}}; }
  NDArray compute(std::span<const NDArray> inputs) override {
    const int axis = normalize_axis(axis_, inputs[0].ndim(), "chunk");
    const auto [begin, end] = range(inputs[0].shape(axis));
    return inputs[0].slice(axis, begin, end);
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    const int axis = normalize_axis(axis_, inputs[0].ndim(), "chunk");
    const auto [begin, end] = range(inputs[0].shape(axis));
    std::vector<int64_t> padding(static_cast<size_t>(2 * (inputs[0].ndim() - axis)), 0);
    padding[padding.size() - 2] = begin;
    padding[padding.size() - 1] = inputs[0].shape(axis) - end;
    return {pad(out_grad, padding)};
  }

 private:
  std::pair<int64_t, int64_t> range(int64_t size) const {
    const int64_t each = size / chunks_ + (size % chunks_ != 0);
    return {std::min(size, number_ * each), std::min(size, (number_ + 1) * each)};
  }

  int64_t axis_, chunks_, number_;
};

class ReverseSequence final : public Op {
 public:
  ReverseSequence(int64_t batch_axis, int64_t time_axis) : batch_axis_(batch_axis), time_axis_(time_axis) {}
  std::string_view name() const override { return "reverse_sequence"; }
  InputCount num_inputs() const override { return {2, 2}; }
  Attributes attributes() const override { return {{"batch_axis", batch_axis_}, {"time_axis", time_axis_}}; }
  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray& x = inputs[0];
    const int batch = normalize_axis(batch_axis_, x.ndim(), "reverse_sequence"),
              time = normalize_axis(time_axis_, x.ndim(), "reverse_sequence");
    check<ShapeError>(batch != time && inputs[1].shape() == Shape{x.shape(batch)}, "reverse_sequence: lengths ",
                      inputs[1].shape(), " do not fit axis ", batch, " of ", x.shape());
    const auto lengths = inputs[1].to_vector<int64_t>();
    NDArray out = x.clone();
    for (int64_t i = 0; i < x.shape(batch); ++i) {
      const int64_t n = lengths[static_cast<size_t>(i)];
      check<ValueError>(n >= 0 && n <= x.shape(time), "reverse_sequence: length ", n, " of sample ", i,
                        " does not fit ", x.shape());
      if (n == 0) continue;
      out.slice(batch, i, i + 1)
          .slice(time, 0, n)
          .copy_from(x.slice(batch, i, i + 1).slice(time, n - 1, -x.shape(time) - 1, -1));
    }
    return out;
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    return {reverse_sequence(out_grad, inputs[1], batch_axis_, time_axis_), {}};
  }

 private:
  int64_t batch_axis_, time_axis_;
};

/// Without a dtype it is x's.
class EyeLike final : public Op {
 public:
  EyeLike(int64_t diagonal, std::optional<DType> dtype) : diagonal_(diagonal), dtype_(dtype) {}
  std::string_view name() const override { return "eye_like"; }
  Attributes attributes() const override {
    Attributes a{{"diagonal", diagonal_}};
    if (dtype_) a.set("dtype", std::string(thimble::name(*dtype_)));
    return a;
  }
  NDArray compute(std::span<const NDArray> inputs) override {
    const Shape& shape = inputs[0].shape();
    check<ShapeError>(shape.ndim() == 2, "eye_like: expects a matrix, got ", shape);
    NDArray out = NDArray::zeros(shape, dtype_.value_or(inputs[0].dtype()));
    const int64_t k = std::clamp(diagonal_, -shape[0], shape[1]), row = std::max<int64_t>(0, -k);
    const int64_t column = std::max<int64_t>(0, k), n = std::min(shape[0] - row, shape[1] - column);
    if (n > 0) out.view({n}, {shape[1] + 1}, row * shape[1] + column).fill(1);
    return out;
  }
  std::vector<Tensor> gradient(const Tensor&, std::span<const Tensor> in, const Tensor&) override {
    return {Tensor(NDArray::zeros(in[0].shape(), in[0].dtype()))};
  }

  static std::unique_ptr<Op> make(const Attributes& a) {
    std::optional<DType> dtype;
    try {
      if (a.contains("dtype")) dtype = dtype_from_name(a.get<std::string>("dtype"));
    } catch (const ValueError& e) {
      throw FormatError(str("eye_like: ", e.what()));
    }
    return std::make_unique<EyeLike>(a.get<int64_t>("diagonal", 0), dtype);
  }

 private:
  int64_t diagonal_;
  std::optional<DType> dtype_;
};

class Arange final : public Op {
 public:
  std::string_view name() const override { return "arange"; }
  InputCount num_inputs() const override { return {3, 3}; }
  bool has_data_dependent_shape() const override { return true; }
  NDArray compute(std::span<const NDArray> inputs) override {
    const DType dtype = inputs[0].dtype();
    for (const NDArray& x : inputs)
      check<DTypeError>(x.dtype() == dtype && dtype != DType::bool_, "arange: expects numbers of one dtype, got ",
                        x.dtype(), " and ", dtype);
    return is_floating_point(dtype) ? of_floats(inputs).to(dtype) : of_integers(inputs).to(dtype);
  }
  std::vector<Tensor> gradient(const Tensor&, std::span<const Tensor> in, const Tensor&) override {
    std::vector<Tensor> zeros;
    for (const Tensor& x : in) zeros.emplace_back(NDArray::zeros(x.shape(), x.dtype()));
    return zeros;
  }

 private:
  static constexpr int64_t kMost = int64_t{1} << 40;

  static NDArray of_floats(std::span<const NDArray> inputs) {
    const auto start = inputs[0].item<double>(), limit = inputs[1].item<double>(), step = inputs[2].item<double>();
    const double count = std::ceil((limit - start) / step);
    check<ValueError>(step != 0 && count <= static_cast<double>(kMost), "arange: from ", start, " to ", limit, " by ",
                      step, " has no end");
    NDArray out({count > 0 ? static_cast<int64_t>(count) : 0}, DType::float64);
    for (int64_t i = 0; i < out.numel(); ++i) out.data<double>()[i] = start + static_cast<double>(i) * step;
    return out;
  }

  static NDArray of_integers(std::span<const NDArray> inputs) {
    const auto start = inputs[0].item<int64_t>(), limit = inputs[1].item<int64_t>(), step = inputs[2].item<int64_t>();
    check<ValueError>(step != 0, "arange: the step is 0");
    // Unsigned, since a difference of int64 may not be one.
    const auto a = static_cast<uint64_t>(start), b = static_cast<uint64_t>(limit), s = static_cast<uint64_t>(step);
    const uint64_t distance = step > 0 ? b - a : a - b, size = step > 0 ? s : 0 - s;
    const bool is_empty = step > 0 ? start >= limit : start <= limit;
    const uint64_t count = is_empty ? 0 : (distance - 1) / size + 1;
    check<ValueError>(count <= uint64_t{kMost}, "arange: from ", start, " to ", limit, " by ", step, " is too long");
    NDArray out({static_cast<int64_t>(count)}, DType::int64);
    for (int64_t i = 0; i < out.numel(); ++i)
      out.data<int64_t>()[i] = static_cast<int64_t>(a + static_cast<uint64_t>(i) * s);
    return out;
  }
};

const OpRegistration rearrange_registrations[] = {
    {"tile", [](const Attributes& a) { return std::make_unique<Tile>(shape_attribute(a, "repeats")); }},
    {"pixel_shuffle", [](const Attributes& a) { return PixelShuffle::make(true, a); }},
    {"pixel_unshuffle", [](const Attributes& a) { return PixelShuffle::make(false, a); }},
    {"triu", [](const Attributes& a) { return std::make_unique<Triangle>(true, a.get<int64_t>("diagonal", 0)); }},
    {"tril", [](const Attributes& a) { return std::make_unique<Triangle>(false, a.get<int64_t>("diagonal", 0)); }},
    {"diagonal",
     [](const Attributes& a) { return std::make_unique<Diagonal>(a.get<int64_t>("axis0"), a.get<int64_t>("axis1")); }},
    {"diagonal_backward",
     [](const Attributes& a) {
       return std::make_unique<DiagonalBackward>(a.get<int64_t>("axis0"), a.get<int64_t>("axis1"),
                                                 shape_attribute(a, "shape"));
     }},
    {"chunk",
     [](const Attributes& a) {
       const auto chunks = a.get<int64_t>("chunks"), number = a.get<int64_t>("number");
       check<FormatError>(number >= 0 && number < chunks, "chunk: there is no part ", number, " of ", chunks);
       return std::make_unique<Chunk>(a.get<int64_t>("axis"), chunks, number);
     }},
    {"reverse_sequence",
     [](const Attributes& a) {
       return std::make_unique<ReverseSequence>(a.get<int64_t>("batch_axis"), a.get<int64_t>("time_axis"));
     }},
    {"eye_like", EyeLike::make},
    {"arange", [](const Attributes&) { return std::make_unique<Arange>(); }},
};

}  // namespace

Tensor tile(const Tensor& x, const Shape& repeats) { return apply(std::make_unique<Tile>(repeats), {x}); }

Tensor pixel_shuffle(const Tensor& x, int64_t upscale_factor, bool depth_first) {
  return apply(std::make_unique<PixelShuffle>(true, upscale_factor, depth_first), {x});
}

Tensor pixel_unshuffle(const Tensor& x, int64_t downscale_factor, bool depth_first) {
  return apply(std::make_unique<PixelShuffle>(false, downscale_factor, depth_first), {x});
}

Tensor triu(const Tensor& x, int64_t diagonal) { return apply(std::make_unique<Triangle>(true, diagonal), {x}); }

Tensor tril(const Tensor& x, int64_t diagonal) { return apply(std::make_unique<Triangle>(false, diagonal), {x}); }

Tensor diagonal(const Tensor& x, int64_t axis0, int64_t axis1) {
  return apply(std::make_unique<Diagonal>(axis0, axis1), {x});
}

std::vector<Tensor> chunk(const Tensor& x, int64_t chunks, int64_t axis) {
  check<ValueError>(chunks > 0, "chunk: expects at least 1 part, got ", chunks);
  std::vector<Tensor> parts;
  for (int64_t i = 0; i < chunks; ++i) parts.push_back(apply(std::make_unique<Chunk>(axis, chunks, i), {x}));
  return parts;
}

Tensor reverse_sequence(const Tensor& x, const Tensor& lengths, int64_t batch_axis, int64_t time_axis) {
  return apply(std::make_unique<ReverseSequence>(batch_axis, time_axis), {x, lengths});
}

Tensor eye_like(const Tensor& x, int64_t diagonal, DType dtype) {
  return apply(std::make_unique<EyeLike>(diagonal, dtype), {x});
}

Tensor zeros_like(const Tensor& x) { return NDArray::zeros(x.shape(), x.dtype()); }

Tensor ones_like(const Tensor& x) { return NDArray::ones(x.shape(), x.dtype()); }

Tensor full_like(const Tensor& x, double value) { return NDArray::full(x.shape(), value, x.dtype()); }

Tensor arange(const Tensor& start, const Tensor& limit, const Tensor& step) {
  return apply(std::make_unique<Arange>(), {start, limit, step});
}

}  // namespace thimble
