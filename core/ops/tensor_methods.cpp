// Tensor's methods that are ops.
#include <thimble/core/ops/cast.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/matmul.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>
#include <thimble/core/tensor.h>

namespace thimble {

Tensor Tensor::sum(const Shape& axes, bool keepdim) const { return thimble::sum(*this, axes, keepdim); }
Tensor Tensor::mean(const Shape& axes, bool keepdim) const { return thimble::mean(*this, axes, keepdim); }
Tensor Tensor::max(const Shape& axes, bool keepdim) const { return thimble::max(*this, axes, keepdim); }
Tensor Tensor::min(const Shape& axes, bool keepdim) const { return thimble::min(*this, axes, keepdim); }
Tensor Tensor::argmax(int64_t axis, bool keepdim) const { return thimble::argmax(*this, axis, keepdim); }
Tensor Tensor::softmax(int64_t axis) const { return thimble::softmax(*this, axis); }
Tensor Tensor::reshape(const Shape& shape) const { return thimble::reshape(*this, shape); }
Tensor Tensor::flatten(int64_t start_dim, int64_t end_dim) const { return thimble::flatten(*this, start_dim, end_dim); }
Tensor Tensor::transpose(int64_t axis0, int64_t axis1) const { return thimble::transpose(*this, axis0, axis1); }
Tensor Tensor::permute(const Shape& axes) const { return thimble::permute(*this, axes); }
Tensor Tensor::squeeze(int64_t axis) const { return thimble::squeeze(*this, axis); }
Tensor Tensor::unsqueeze(int64_t axis) const { return thimble::unsqueeze(*this, axis); }
Tensor Tensor::expand(const Shape& shape) const { return broadcast_to(*this, shape); }
Tensor Tensor::to(DType dtype) const { return cast(*this, dtype); }
Tensor Tensor::matmul(const Tensor& other) const { return thimble::matmul(*this, other); }
Tensor Tensor::abs() const { return thimble::abs(*this); }
Tensor Tensor::exp() const { return thimble::exp(*this); }
Tensor Tensor::log() const { return thimble::log(*this); }
Tensor Tensor::sqrt() const { return thimble::sqrt(*this); }
Tensor Tensor::relu() const { return thimble::relu(*this); }
Tensor Tensor::sigmoid() const { return thimble::sigmoid(*this); }
Tensor Tensor::tanh() const { return thimble::tanh(*this); }

}  // namespace thimble
