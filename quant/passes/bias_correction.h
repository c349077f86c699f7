// Bias correction: rounded weights shift the means of a layer's outputs; its bias takes the shift back.
//
//   nn::Graph fused = quant::as_convolutions(graph);
//   nn::Graph prepared = quant::prepare(fused, mapping);
//   for (const Tensor& batch : batches) prepared(batch);
//   nn::Graph int4 = quant::convert(quant::bias_correction(prepared, fused, batches));
#pragma once

#include <functional>
#include <span>

#include <thimble/core/api.h>
#include <thimble/nn/graph/graph.h>

namespace thimble::quant {

/// Nagel et al., "Data-free quantization through weight equalization and bias correction", 2019, section 4.2, with data
/// (empirical bias correction). For one integer product after another, what it gives on the batches (before a fused
/// relu, reading what the integer layers before it give) is compared with what the float network gives there; the mean
/// difference over samples and pixels of each output channel is added to the bias. A layer without bias gets one.
/// Layers that stay float stay as they are.
///
/// `prepared` has seen calibration data. `fused` is the float graph that was prepared: adaround() may have changed the
/// weights since. `batches` are all in memory, as are one layer's inputs; 512 images do. `progress`, if given, is
/// called with the number of layers done and of all.
///
/// Returns a prepared graph for convert(); input graphs stay as they are. Throws ValueError if there is no data or it
/// is not finite, if `fused` lacks a layer of `prepared`, for layers of quantization-aware training, and if an observer
/// has seen nothing.
THIMBLE_API nn::Graph bias_correction(const nn::Graph& prepared, const nn::Graph& fused,
                                      std::span<const Tensor> batches,
                                      const std::function<void(int64_t done, int64_t total)>& progress = {});

}  // namespace thimble::quant
