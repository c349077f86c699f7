#include <vector>

#include <thimble/core/kernels/int8/int8_conv2d.h>
#include <thimble/core/ops/conv_geometry.h>
#include <thimble/nn/inference/linear_step.h>
#include <thimble/quant/layers/product_kernel.h>

namespace thimble::quant {

namespace {

Shape with_features(const Shape& x, int64_t features) {
  Shape shape = x;
  shape.back() = features;
  return shape;
}

// Overriding both run()s by one template.
template <typename Derived>
class ProductKernelOf : public ProductKernel {
 public:
  void run(const uint8_t* x, uint8_t zero_point, const kernels::Int8Epilogue& epilogue, uint8_t* y,
           uint8_t* scratch) const override {
    static_cast<const Derived*>(this)->multiply(x, zero_point, epilogue, y, scratch);
  }
  void run(const uint8_t* x, uint8_t zero_point, const kernels::Int8Epilogue& epilogue, float* y,
           uint8_t* scratch) const override {
    static_cast<const Derived*>(this)->multiply(x, zero_point, epilogue, y, scratch);
  }
};

class LinearKernel final : public ProductKernelOf<LinearKernel> {
 public:
  LinearKernel(std::shared_ptr<const kernels::PackedInt8Weights> weights, const Shape& x)
      : weights_(std::move(weights)),
        output_(with_features(x, weights_->n())),
        rows_(output_.numel() / weights_->n()) {}

  void run_rows(const uint8_t* x, const kernels::Int8RowEpilogue& epilogue, float* y, uint8_t*) const override {
    kernels::int8_gemm(x, weights_->k(), rows_, *weights_, epilogue, y, weights_->n());
  }
  int64_t rows() const override { return rows_; }
  std::span<const int32_t> sums() const override { return weights_->channel_sums(); }
  Shape output_shape() const override { return output_; }
  int64_t weight_bytes() const override { return weights_->n() * weights_->k(); }

  template <typename Out>
  void multiply(const uint8_t* x, uint8_t, const kernels::Int8Epilogue& epilogue, Out* y, uint8_t*) const {
    kernels::int8_gemm(x, weights_->k(), rows_, *weights_, epilogue, y, weights_->n());
  }

 private:
  std::shared_ptr<const kernels::PackedInt8Weights> weights_;
  Shape output_;
  int64_t rows_;
};

// The weights of each group of inputs.
struct PackedGroups {
  std::vector<kernels::PackedInt8Weights> groups;
  std::vector<int32_t> sums;

  PackedGroups(const NDArray& weight, const IntegerWeights& layout) {
    for (int64_t g = 0, first = 0; g < layout.groups(); first = layout.group_end(g++)) {
      const NDArray group = weight.slice(1, first, layout.group_end(g)).contiguous();
      const auto& packed = groups.emplace_back(group.data<int8_t>(), weight.shape(0), group.shape(1));
      sums.insert(sums.end(), packed.channel_sums().begin(), packed.channel_sums().end());
    }
  }
};

class GroupLinearKernel final : public ProductKernelOf<GroupLinearKernel> {
 public:
  GroupLinearKernel(std::shared_ptr<const PackedGroups> weights, const IntegerWeights& layout, const Shape& x)
      : weights_(std::move(weights)),
        in_(layout.shape()[1]),
        out_(layout.shape()[0]),
        output_(with_features(x, out_)),
        rows_(output_.numel() / out_) {}

  void run_rows(const uint8_t* x, const kernels::Int8RowEpilogue& epilogue, float* y, uint8_t*) const override {
    kernels::int8_group_gemm(x, in_, rows_, weights_->groups, epilogue, y, out_);
  }
  int64_t rows() const override { return rows_; }
  std::span<const int32_t> sums() const override { return weights_->sums; }
  Shape output_shape() const override { return output_; }
  int64_t weight_bytes() const override { return out_ * in_; }

  template <typename Out>
  void multiply(const uint8_t* x, uint8_t, const kernels::Int8Epilogue& epilogue, Out* y, uint8_t*) const {
    kernels::int8_group_gemm(x, in_, rows_, weights_->groups, epilogue, y, out_);
  }

 private:
  std::shared_ptr<const PackedGroups> weights_;
  int64_t in_, out_;
  Shape output_;
  int64_t rows_;
};

class Conv2dKernel final : public ProductKernelOf<Conv2dKernel> {
 public:
  Conv2dKernel(std::shared_ptr<const kernels::Int8Conv2d> conv, const kernels::Conv2dGeometry& g)
      : conv_(std::move(conv)),
        batch_(g.batch),
        output_{g.batch, g.out_channels, g.out_height, g.out_width},
        weight_bytes_(g.out_channels * g.columns()) {}

  void run_rows(const uint8_t* x, const kernels::Int8RowEpilogue& epilogue, float* y, uint8_t* scratch) const override {
    conv_->run(x, batch_, epilogue, y, scratch);
  }
  int64_t rows() const override { return batch_; }
  std::span<const int32_t> sums() const override { return conv_->channel_sums(); }
  Shape output_shape() const override { return output_; }
  int64_t scratch_bytes() const override { return conv_->scratch_bytes(batch_); }
  int64_t weight_bytes() const override { return weight_bytes_; }

  template <typename Out>
  void multiply(const uint8_t* x, uint8_t zero_point, const kernels::Int8Epilogue& epilogue, Out* y,
                uint8_t* scratch) const {
    conv_->run(x, batch_, zero_point, epilogue, y, scratch);
  }

 private:
  std::shared_ptr<const kernels::Int8Conv2d> conv_;
  int64_t batch_;
  Shape output_;
  int64_t weight_bytes_;
};

// What begins the keys of packed weights, each kind's being of one type.
enum KeyKind : int64_t { kLinear, kLinearGroups, kConv2d };

// All that a convolution's weights depend on but the batch.
nn::SharedWeights::Key key_of(const kernels::Conv2dGeometry& g) {
  return {kConv2d,        g.in_height,       g.in_width,       g.out_height, g.out_width, g.stride_height,
          g.stride_width, g.dilation_height, g.dilation_width, g.pad_top,    g.pad_left,  g.groups};
}

}  // namespace

std::shared_ptr<const kernels::PackedInt8Weights> packed_rows(const IntegerWeights& weights) {
  return weights.packed<kernels::PackedInt8Weights>({kLinear}, [](const NDArray& w) {
    const NDArray rows = w.contiguous();
    return kernels::PackedInt8Weights(rows.data<int8_t>(), rows.shape(0), rows.shape(1));
  });
}

std::unique_ptr<ProductKernel> linear_kernel(const IntegerWeights& weights, const nn::ValueInfo& x) {
  const int64_t group_size = weights.format().group_size;
  // To put the weights into a flattened image's order would tear the groups apart.
  if (x.is_image() || (group_size != 0 && !x.flattened_image.empty())) return nullptr;
  if (group_size != 0)
    return std::make_unique<GroupLinearKernel>(
        weights.packed<PackedGroups>({kLinearGroups}, [&](const NDArray& w) { return PackedGroups(w, weights); }),
        weights, x.shape);
  nn::SharedWeights::Key key{kLinear};
  key.insert(key.end(), x.flattened_image.begin(), x.flattened_image.end());
  const auto pack = [&](const NDArray& w) {
    const NDArray weight = nn::weight_in_order(w, x);
    return kernels::PackedInt8Weights(weight.data<int8_t>(), weight.shape(0), weight.shape(1));
  };
  return std::make_unique<LinearKernel>(weights.packed<kernels::PackedInt8Weights>(key, pack), x.shape);
}

std::unique_ptr<ProductKernel> conv2d_kernel(const char* op, const IntegerWeights& weights, const nn::ValueInfo& x,
                                             const Conv2dOptions& options) {
  const kernels::Conv2dGeometry g = conv2d_geometry(op, x.shape, weights.shape(), options);
  const auto pack = [&](const NDArray& w) { return kernels::Int8Conv2d(g, w.data<int8_t>()); };
  return std::make_unique<Conv2dKernel>(weights.packed<kernels::Int8Conv2d>(key_of(g), pack), g);
}

void check_conv2d_weights(const char* type, const IntegerWeights& weights, const Conv2dOptions& options) {
  check_conv2d_options(type, options);
  check<ValueError>(weights.format().group_size == 0, type, ": weights in groups of ", weights.format().group_size,
                    "; only linear layers have them");
  const Shape& shape = weights.shape();
  check<ShapeError>(shape[0] % options.groups == 0, type, ": ", options.groups, " groups do not divide ", shape[0],
                    " output channels (weight ", shape, ")");
}

void conv2d_attributes(Attributes& attributes, const IntegerWeights& weights, const Conv2dOptions& options) {
  const Shape& w = weights.shape();
  attributes.set("in_channels", w[1] * options.groups);
  attributes.set("out_channels", w[0]);
  attributes.set("kernel_size", std::vector<int64_t>{w[2], w[3]});
  options.to_attributes(attributes);
}

}  // namespace thimble::quant
