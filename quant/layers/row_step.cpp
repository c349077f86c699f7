#include <thimble/quant/layers/row_step.h>

namespace thimble::quant {

namespace {

int64_t row_length(const Shape& x, int first, int last) {
  int64_t length = 1;
  for (int d = first; d < last; ++d) length *= x[d];
  return length;
}

bool has_dense_rows(const nn::ValueInfo& x, int first, int last) {
  const NDArray array = nn::array_over(static_cast<const void*>(nullptr), x);
  int64_t stride = 1;
  for (int d = last - 1; d >= first; stride *= x.shape[d--])
    if (x.shape[d] != 1 && array.strides()[d] != stride) return false;
  return array.is_dense();
}

nn::ValueInfo output_of(const nn::ValueInfo& x, bool in_place) {
  if (!in_place) return x.as_usual();
  return {.shape = x.shape, .dtype = x.dtype, .strides = x.strides};
}

}  // namespace

RowStep::RowStep(const nn::ValueInfo& x, int first, int last)
    : InferenceStep(output_of(x, has_dense_rows(x, first, last))),
      input_(x),
      first_(first),
      length_(row_length(x.shape, first, last)),
      in_place_(has_dense_rows(x, first, last)) {
  for (int d = 0; d < x.shape.ndim(); ++d)
    if (d < first || d >= last) order_.push_back(d);
  for (int d = first; d < last; ++d) order_.push_back(d);
}

void RowStep::run(std::span<const void* const> inputs, void* out, uint8_t* scratch) const {
  const int64_t rows = length_ == 0 ? 0 : input_.shape.numel() / length_;
  if (in_place_)
    return run_rows(static_cast<const uint8_t*>(inputs[0]) + input_.offset, rows, length_, static_cast<uint8_t*>(out));
  const NDArray x = nn::array_over(inputs[0], input_).permute(order_);
  NDArray::borrow(scratch, x.shape(), DType::uint8, nullptr).copy_from(x);
  uint8_t* results = scratch + output().nbytes();
  run_rows(scratch, rows, length_, results);
  nn::array_over(out, output()).permute(order_).copy_from(NDArray::borrow(results, x.shape(), DType::uint8, nullptr));
}

}  // namespace thimble::quant
