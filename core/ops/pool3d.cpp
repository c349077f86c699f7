#include <thimble/core/ops/composed_op.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/indexing.h>
#include <thimble/core/ops/pool.h>
#include <thimble/core/ops/pool3d.h>
#include <thimble/core/ops/pool_geometry.h>
#include <thimble/core/ops/shape.h>
#include <thimble/core/ops/volumes.h>
#include <thimble/core/ops/window_sums.h>

namespace thimble {

namespace {

// What pools of volumes have in common.
struct Pool3d {
  Triple kernel, stride;
  Padding3d padding;
  Triple dilation = 1;
  bool ceil_mode = false;
  AutoPad auto_pad = AutoPad::none;  // instead of the padding

  Pool2d of_planes() const {
    return {kernel.plane(),
            stride.plane(),
            {padding.before.height, padding.before.width, padding.after.height, padding.after.width},
            dilation.plane(),
            ceil_mode,
            auto_pad};
  }
  // Of images of one column.
  Pool2d of_depth() const {
    return {{kernel.depth, 1},   {stride.depth, 1}, {padding.before.depth, 0, padding.after.depth, 0},
            {dilation.depth, 1}, ceil_mode,         auto_pad};
  }

  // Throws as pools do.
  void check(std::string_view op, const Shape& x) const {
    check_volume(op, x);
    pool_geometry(op, {1, 1, x[3], x[4]}, of_planes());
    pool_geometry(op, {1, 1, x[2], 1}, of_depth());
  }

  void to_attributes(Attributes& a) const {
    a.set("kernel_size", kernel.to_vector());
    a.set("stride", stride.to_vector());
    a.set("padding", padding.to_vector());
    a.set("dilation", dilation.to_vector());
    a.set("ceil_mode", ceil_mode);
    if (auto_pad != AutoPad::none) a.set("auto_pad", std::string(name(auto_pad)));
  }
  static Pool3d from(const Attributes& a) {
    return {.kernel = Triple::from(a, "kernel_size"),
            .stride = Triple::from(a, "stride"),
            .padding = Padding3d::from(a, "padding"),
            .dilation = Triple::from(a, "dilation"),
            .ceil_mode = a.get<bool>("ceil_mode"),
            .auto_pad = auto_pad_from_name(a.get<std::string>("auto_pad", "none"))};
  }
};

// The depth of planes [d, n, h, w, c] as the height of an image of one column, [1, n * h * w * c, d, 1].
Tensor as_columns(const Tensor& planes) { return permute(reshape(planes, {1, planes.shape(0), 1, -1}), {0, 3, 1, 2}); }

Tensor planes_from_columns(const Tensor& columns, const Tensor& like) {
  Shape shape = like.shape();
  shape[0] = columns.shape(2);
  return reshape(permute(columns, {0, 2, 3, 1}), shape);
}

// Of a volume the planes as images, then the depth as the height of others.
template <typename OfPlanes, typename OfDepth>
Tensor pooled_volume(const Tensor& x, OfPlanes&& of_planes, OfDepth&& of_depth) {
  const Tensor planes = planes_of(of_planes(images_of(planes_of(x))), x.shape(0));
  return volume_of(planes_from_columns(of_depth(as_columns(planes)), planes));
}

// An op on images with the attributes of a pool and these; as it is, where each window is one element.
Tensor pooled_images(const char* op, const Pool2d& pool, Attributes more, const Tensor& images) {
  if (pool.kernel == Pair(1) && pool.stride == Pair(1) && pool.padding == Padding(0)) return images;
  pool.to_attributes(more);
  return apply(make_op(op, more), {images});
}

class PoolOfVolumes : public ComposedOp {
 public:
  explicit PoolOfVolumes(const Pool3d& pool) : pool_(pool) {}
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }
  Attributes attributes() const override {
    Attributes a = more_attributes();
    pool_.to_attributes(a);
    return a;
  }

 protected:
  virtual Attributes more_attributes() const { return {}; }

  Tensor pooled_by(const char* op, const Tensor& x, const Attributes& more = {}) const {
    pool_.check(name(), x.shape());
    return pooled_volume(
        x, [&](const Tensor& images) { return pooled_images(op, pool_.of_planes(), more, images); },
        [&](const Tensor& columns) { return pooled_images(op, pool_.of_depth(), more, columns); });
  }

  const Pool3d pool_;
};

class MaxPool3d final : public PoolOfVolumes {
 public:
  using PoolOfVolumes::PoolOfVolumes;
  std::string_view name() const override { return "max_pool3d"; }

 private:
  Tensor formula(std::span<const Tensor> inputs) const override { return pooled_by("max_pool2d", inputs[0]); }
};

// Counts of elements are products of those along the axes, so that a mean is one of means.
class AvgPool3d final : public PoolOfVolumes {
 public:
  AvgPool3d(const Pool3d& pool, bool count_include_pad) : PoolOfVolumes(pool), count_include_pad_(count_include_pad) {}
  std::string_view name() const override { return "avg_pool3d"; }

 private:
  Attributes more_attributes() const override { return {{"count_include_pad", count_include_pad_}}; }
  Tensor formula(std::span<const Tensor> inputs) const override {
    check<DTypeError>(carries_gradients(inputs[0].dtype()), name(), ": expects float32, float64 or bfloat16, got ",
                      inputs[0].dtype());
    return pooled_by("avg_pool2d", inputs[0], more_attributes());
  }

  bool count_include_pad_;
};

class LpPool3d final : public PoolOfVolumes {
 public:
  LpPool3d(double p, const Pool3d& pool) : PoolOfVolumes(pool), p_(p) {
    check<ValueError>(p > 0 && p < 1e6, "lp_pool3d: p ", p, " must be above 0");
  }
  std::string_view name() const override { return "lp_pool3d"; }
  AutocastRule autocast_rule() const override { return AutocastRule::float32; }

 private:
  Attributes more_attributes() const override { return {{"p", p_}}; }
  Tensor formula(std::span<const Tensor> inputs) const override {
    const Tensor& x = inputs[0];
    pool_.check(name(), x.shape());
    const Tensor sums = pooled_volume(
        p_ == 1   ? abs(x)
        : p_ == 2 ? x * x
                  : pow(abs(x), p_),
        [&](const Tensor& images) { return window_sums(name(), images, pool_.of_planes()); },
        [&](const Tensor& columns) { return window_sums(name(), columns, pool_.of_depth()); });
    return p_ == 1 ? sums : p_ == 2 ? sqrt(sums) : pow(sums, 1 / p_);
  }

  double p_;
};

class MaxPool3dIndices final : public PoolOfVolumes {
 public:
  // Of the whole tensor, as in ONNX, or of each channel's volume.
  MaxPool3dIndices(const Pool3d& pool, bool of_tensor) : PoolOfVolumes(pool), of_tensor_(of_tensor) {}
  std::string_view name() const override { return "max_pool3d_indices"; }
  std::vector<Tensor> gradient(const Tensor&, std::span<const Tensor>, const Tensor&) override { return {{}}; }

 private:
  Attributes more_attributes() const override { return {{"of_tensor", of_tensor_}}; }

  // Which plane a maximum lies in, and where in that.
  Tensor formula(std::span<const Tensor> inputs) const override {
    const Tensor& x = inputs[0];
    pool_.check(name(), x.shape());
    const Attributes planes = attributes_of(pool_.of_planes()), depth = attributes_of(pool_.of_depth());
    const Tensor images = images_of(planes_of(x));
    const auto pooled = [&](const char* op) { return planes_of(apply(make_op(op, planes), {images}), x.shape(0)); };
    const Tensor maxima = pooled("max_pool2d"), places = pooled("max_pool2d_indices");
    const Tensor plane = apply(make_op("max_pool2d_indices", depth), {as_columns(maxima)});
    const Tensor index = plane * number(x.shape(3) * x.shape(4)) + gather(as_columns(places), 2, plane);
    const Tensor volume = volume_of(planes_from_columns(index, maxima));
    return of_tensor_ ? volume + first_of_volumes(x.shape()) : volume;
  }

  static Attributes attributes_of(const Pool2d& pool) {
    Attributes a;
    pool.to_attributes(a);
    return a;
  }
  static Tensor number(int64_t value) { return NDArray::full({}, static_cast<double>(value), DType::int64); }

  static Tensor first_of_volumes(const Shape& x) {
    NDArray first({x[0], x[1], 1, 1, 1}, DType::int64);
    for (int64_t i = 0; i < first.numel(); ++i) first.data<int64_t>()[i] = i * x[2] * x[3] * x[4];
    return first;
  }

  bool of_tensor_;
};

class AdaptiveAvgPool3d final : public ComposedOp {
 public:
  explicit AdaptiveAvgPool3d(Triple size) : size_(size) {}
  std::string_view name() const override { return "adaptive_avg_pool3d"; }
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }
  Attributes attributes() const override { return {{"output_size", size_.to_vector()}}; }

 private:
  Tensor formula(std::span<const Tensor> inputs) const override {
    const Tensor& x = inputs[0];
    check_volume(name(), x.shape());
    check<ValueError>(size_.least() > 0, name(), ": output size ", size_, " must be at least 1");
    check<DTypeError>(carries_gradients(x.dtype()), name(), ": expects float32, float64 or bfloat16, got ", x.dtype());
    return pooled_volume(
        x, [&](const Tensor& images) { return adaptive_avg_pool2d(images, size_.plane()); },
        [&](const Tensor& columns) {
          return adaptive_avg_pool2d(columns, {size_.depth, 1});
        });
  }

  Triple size_;
};

const OpRegistration pool3d_registrations[] = {
    {"max_pool3d", [](const Attributes& a) { return std::make_unique<MaxPool3d>(Pool3d::from(a)); }},
    {"max_pool3d_indices",
     [](const Attributes& a) {
       return std::make_unique<MaxPool3dIndices>(Pool3d::from(a), a.get<bool>("of_tensor", false));
     }},
    {"avg_pool3d",
     [](const Attributes& a) {
       return std::make_unique<AvgPool3d>(Pool3d::from(a), a.get<bool>("count_include_pad"));
     }},
    {"lp_pool3d", [](const Attributes& a) { return std::make_unique<LpPool3d>(a.get<double>("p"), Pool3d::from(a)); }},
    {"adaptive_avg_pool3d",
     [](const Attributes& a) { return std::make_unique<AdaptiveAvgPool3d>(Triple::from(a, "output_size")); }},
};

void check_volume_padding(std::string_view op, Triple kernel, Triple padding, Triple dilation) {
  check_at_most_half(op, kernel.depth, padding.depth, dilation.depth);
  check_at_most_half(op, kernel.height, padding.height, dilation.height);
  check_at_most_half(op, kernel.width, padding.width, dilation.width);
}

Pool3d max_pool_of(std::string_view op, Triple kernel, const MaxPool3dOptions& o) {
  check_volume_padding(op, kernel, o.padding, o.dilation);
  return {kernel, o.stride.value_or(kernel), o.padding, o.dilation, o.ceil_mode};
}

}  // namespace

Tensor max_pool3d(const Tensor& x, Triple kernel, const MaxPool3dOptions& options) {
  return apply(std::make_unique<MaxPool3d>(max_pool_of("max_pool3d", kernel, options)), {x});
}

Tensor max_pool3d_indices(const Tensor& x, Triple kernel, const MaxPool3dOptions& options) {
  return apply(std::make_unique<MaxPool3dIndices>(max_pool_of("max_pool3d_indices", kernel, options), false), {x});
}

Tensor avg_pool3d(const Tensor& x, Triple kernel, const AvgPool3dOptions& o) {
  check_volume_padding("avg_pool3d", kernel, o.padding, 1);
  return apply(std::make_unique<AvgPool3d>(Pool3d{kernel, o.stride.value_or(kernel), o.padding, 1, o.ceil_mode},
                                           o.count_include_pad),
               {x});
}

Tensor lp_pool3d(const Tensor& x, double p, Triple kernel, const LpPool3dOptions& o) {
  return apply(std::make_unique<LpPool3d>(p, Pool3d{kernel, o.stride.value_or(kernel), 0, 1, o.ceil_mode}), {x});
}

Tensor adaptive_avg_pool3d(const Tensor& x, Triple output_size) {
  return apply(std::make_unique<AdaptiveAvgPool3d>(output_size), {x});
}

}  // namespace thimble
