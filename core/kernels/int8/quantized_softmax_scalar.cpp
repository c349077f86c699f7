#include <thimble/core/kernels/int8/quantized_softmax_loops.h>

namespace thimble::kernels {

const QuantizedSoftmaxRows quantized_softmax_scalar{
    largest_of,
    [](const uint8_t* x, int64_t n, uint8_t largest, const QuantizedSoftmaxTable& table, int32_t* terms) {
      return look_terms_up(x, n, largest, table, terms);
    },
    results_of};

}  // namespace thimble::kernels
