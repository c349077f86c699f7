#include <thimble/core/kernels/int8/int8_depthwise_madd_avx2.h>

namespace thimble::kernels {

const Int8DepthwiseTable int8_depthwise_avx2 =
    DepthwiseLoops<Panels<DepthwiseVector<Madd256>, DepthwiseWords<Words256>>>::kTable;

}  // namespace thimble::kernels
