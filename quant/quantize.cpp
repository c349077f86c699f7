#include <thimble/core/tensor.h>
#include <thimble/quant/passes/as_convolutions.h>
#include <thimble/quant/passes/corrections.h>
#include <thimble/quant/quantize.h>

namespace thimble::quant {

nn::Graph quantize_model(const nn::Graph& graph, const std::function<void(nn::Graph&)>& calibrate,
                         const QConfigMapping& mapping, ConversionReport* report) {
  nn::Graph prepared = prepare(as_convolutions(graph), mapping);
  {
    const NoGrad guard;
    calibrate(prepared);
  }
  return convert(prepared, report);
}

nn::Graph quantize_model(const nn::Graph& graph, std::span<const Tensor> batches, const QConfigMapping& mapping,
                         ConversionReport* report) {
  return convert(calibrate_with_corrections(as_convolutions(graph), mapping, batches).prepared, report);
}

}  // namespace thimble::quant
