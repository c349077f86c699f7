#include <thimble/core/tensor.h>
#include <thimble/quant/passes/fuse.h>
#include <thimble/quant/quantize.h>

namespace thimble::quant {

nn::Graph quantize_model(const nn::Graph& graph, const std::function<void(nn::Graph&)>& calibrate,
                         const QConfigMapping& mapping, ConversionReport* report) {
  nn::Graph prepared = prepare(fuse_conv_bn_relu(graph), mapping);
  {
    const NoGrad guard;
    calibrate(prepared);
  }
  return convert(prepared, report);
}

}  // namespace thimble::quant
