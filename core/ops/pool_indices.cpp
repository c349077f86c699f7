// Where the maxima of pools come from, and back.
#include <utility>

#include <thimble/core/kernels/image/pool.h>
#include <thimble/core/ops/channels_last.h>
#include <thimble/core/ops/pool.h>
#include <thimble/core/ops/pool_geometry.h>
#include <thimble/core/ops/shape_attribute.h>

namespace thimble {

namespace {

using kernels::Conv2dGeometry;

// How the elements of an image are numbered: PyTorch counts within a plane, ONNX within the whole tensor, by columns
// if it is told so.
struct Numbering {
  bool of_tensor = false, by_columns = false;

  void to_attributes(Attributes& a) const {
    a.set("of_tensor", of_tensor);
    a.set("by_columns", by_columns);
  }
  static Numbering from(const Attributes& a) {
    return {a.get<bool>("of_tensor", false), a.get<bool>("by_columns", false)};
  }
};

class MaxPool2dIndices final : public Op {
 public:
  MaxPool2dIndices(const Pool2d& pool, Numbering numbering) : pool_(pool), numbering_(numbering) {}
  std::string_view name() const override { return "max_pool2d_indices"; }
  Attributes attributes() const override {
    Attributes a;
    pool_.to_attributes(a);
    numbering_.to_attributes(a);
    return a;
  }

  NDArray compute(std::span<const NDArray> inputs) override {
    const Conv2dGeometry g = pool_geometry(name(), inputs[0].shape(), pool_);
    const DType dtype = inputs[0].dtype() == DType::uint8 ? DType::float32 : inputs[0].dtype();
    const NDArray x = to_channels_last(inputs[0].to(dtype));
    NDArray y = channels_last_array(pooled_shape(g), dtype), winners(y.shape(), DType::int32);
    dispatch_float(dtype, name(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      if (g.taps() > 256) return kernels::max_pool2d(g, x.data<T>(), y.data<T>(), winners.data<int32_t>());
      NDArray narrow(y.shape(), DType::uint8);
      kernels::max_pool2d(g, x.data<T>(), y.data<T>(), narrow.data<uint8_t>());
      winners.copy_from(narrow);
    });
    return indices_of(g, winners);
  }

  std::vector<Tensor> gradient(const Tensor&, std::span<const Tensor>, const Tensor&) override { return {{}}; }

 private:
  // From the numbers of the kernel's taps, channels-last.
  NDArray indices_of(const Conv2dGeometry& g, const NDArray& winners) const {
    NDArray indices(pooled_shape(g), DType::int64);
    int64_t* out = indices.data<int64_t>();
    const int32_t* taps = winners.data<int32_t>();
    const int64_t plane = g.in_height * g.in_width;
    for (int64_t n = 0; n < g.batch; ++n)
      for (int64_t c = 0; c < g.out_channels; ++c) {
        const int64_t base = numbering_.of_tensor ? (n * g.in_channels + c) * plane : 0;
        for (int64_t i = 0; i < g.out_height; ++i)
          for (int64_t j = 0; j < g.out_width; ++j) {
            const int64_t tap = taps[((n * g.out_height + i) * g.out_width + j) * g.out_channels + c];
            const int64_t row = i * g.stride_height - g.pad_top + tap / g.kernel_width * g.dilation_height,
                          column = j * g.stride_width - g.pad_left + tap % g.kernel_width * g.dilation_width;
            *out++ = base + (numbering_.by_columns ? column * g.in_height + row : row * g.in_width + column);
          }
      }
    return indices;
  }

  Pool2d pool_;
  Numbering numbering_;
};

// The elements of planes at the indices: the gradient of unpooling.
class MaxUnpool2dBackward final : public Op {
 public:
  explicit MaxUnpool2dBackward(Pair size, bool of_tensor) : size_(size), of_tensor_(of_tensor) {}
  std::string_view name() const override { return "max_unpool2d_backward"; }
  InputCount num_inputs() const override { return {2, 2}; }
  NDArray compute(std::span<const NDArray> inputs) override;
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override;

 private:
  Pair size_;
  bool of_tensor_;
};

class MaxUnpool2d final : public Op {
 public:
  MaxUnpool2d(Pair size, bool of_tensor) : size_(size), of_tensor_(of_tensor) {}
  std::string_view name() const override { return "max_unpool2d"; }
  InputCount num_inputs() const override { return {2, 2}; }
  Attributes attributes() const override { return {{"output_size", size_.to_vector()}, {"of_tensor", of_tensor_}}; }

  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray &x = inputs[0], index = checked(name(), x.shape(), inputs[1], size_, of_tensor_);
    const NDArray values = x.contiguous();
    NDArray y = NDArray::zeros({x.shape(0), x.shape(1), size_.height, size_.width}, x.dtype());
    dispatch_float(x.dtype(), name(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const int64_t* at = index.data<int64_t>();
      for (int64_t i = 0; i < index.numel(); ++i) y.data<T>()[at[i]] = values.data<T>()[i];
    });
    return y;
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    return {apply(std::make_unique<MaxUnpool2dBackward>(size_, of_tensor_), {out_grad, inputs[1]}), {}};
  }

  // Indices into the whole output, int64 and contiguous.
  static NDArray checked(std::string_view op, const Shape& x, const NDArray& indices, Pair size, bool of_tensor) {
    check<ShapeError>(x.ndim() == 4 && indices.shape() == x, op,
                      ": expects input [n, c, h, w] and as many indices, got ", x, " and ", indices.shape());
    int64_t plane, total;
    check<ValueError>(size.height > 0 && size.width > 0 && !__builtin_mul_overflow(size.height, size.width, &plane) &&
                          !__builtin_mul_overflow(plane, x[0] * x[1] * 8, &total) && total < int64_t{1} << 40,
                      op, ": output size ", size.height, "x", size.width, " must be from 1x1 on, and not too large");
    NDArray index = indices.to(DType::int64).clone();
    int64_t* at = index.data<int64_t>();
    const int64_t per_plane = x[2] * x[3];
    for (int64_t i = 0; i < index.numel(); ++i) {
      const int64_t most = of_tensor ? plane * x[0] * x[1] : plane;
      check<ValueError>(at[i] >= 0 && at[i] < most, op, ": index ", at[i], " (entry ", i, ") is not below ", most);
      if (!of_tensor) at[i] += i / per_plane * plane;
    }
    return index;
  }

 private:
  Pair size_;
  bool of_tensor_;
};

// Where an index is there twice, only the later element was kept, and has a gradient.
NDArray MaxUnpool2dBackward::compute(std::span<const NDArray> inputs) {
  const NDArray grad = inputs[0].contiguous();
  const NDArray index = MaxUnpool2d::checked(name(), inputs[1].shape(), inputs[1], size_, of_tensor_);
  NDArray out(inputs[1].shape(), grad.dtype()), last({grad.numel()}, DType::int64);
  const int64_t* at = index.data<int64_t>();
  for (int64_t i = 0; i < index.numel(); ++i) last.data<int64_t>()[at[i]] = i;
  dispatch_float(grad.dtype(), name(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    for (int64_t i = 0; i < index.numel(); ++i)
      out.data<T>()[i] = last.data<int64_t>()[at[i]] == i ? std::as_const(grad).data<T>()[at[i]] : T{0};
  });
  return out;
}

std::vector<Tensor> MaxUnpool2dBackward::gradient(const Tensor& out_grad, std::span<const Tensor> inputs,
                                                  const Tensor&) {
  return {apply(std::make_unique<MaxUnpool2d>(size_, of_tensor_), {out_grad, inputs[1]}), {}};
}

const OpRegistration pool_indices_registrations[] = {
    {"max_pool2d_indices",
     [](const Attributes& a) { return std::make_unique<MaxPool2dIndices>(Pool2d::from(a), Numbering::from(a)); }},
    {"max_unpool2d",
     [](const Attributes& a) {
       return std::make_unique<MaxUnpool2d>(Pair::from(a, "output_size"), a.get<bool>("of_tensor", false));
     }},
};

}  // namespace

Tensor max_pool2d_indices(const Tensor& x, Pair kernel, const MaxPool2dOptions& o) {
  const Pool2d pool{kernel, o.stride.value_or(kernel), Padding(o.padding.height, o.padding.width), o.dilation,
                    o.ceil_mode};
  return apply(std::make_unique<MaxPool2dIndices>(pool, Numbering{}), {x});
}

Tensor max_unpool2d(const Tensor& x, const Tensor& indices, Pair output_size) {
  return apply(std::make_unique<MaxUnpool2d>(output_size, false), {x, indices});
}

}  // namespace thimble
