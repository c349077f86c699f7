// A model as plain arrays, for those who run it without this library: on hardware, in another language.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "apps/loaded_model.h"
#include <thimble/core/ndarray.h>

namespace thimble::apps {

/// In this order:
/// - "graph.json", uint8: the text of the graph, as `thimble inspect` shows it: nodes, layers and their attributes.
/// - "input.shape", int32: without the batch; of a model with one input, if its file says.
/// - "input.crop", "input.pad", "input.channels", int32: see data::Preprocessing; if the file says how images are
///   prepared, as those of `thimble train` do.
/// - "input.table" [256], with them: what each value of a pixel becomes, float32; or uint8, after the graph's first
///   layer, where that is Quantize. [channels, 256] where each channel is normalized by itself.
/// - For each layer, in the order of the graph, under "<layer>.": its tensors, and those of its attributes that are
///   scales (float32), zero points, bits and sizes of groups (int32), and "relu" (uint8).
/// - For each product of static or trained quantization (QuantizedLinear, ...) also
///   - "weight_shift", int32;
///   - "multiplier", float32, by which its sums are multiplied: exactly "multiplier_mantissa", int32, over 2 to the
///     power of "multiplier_shift", int32;
///   - unless its outputs are float32, the smallest and the largest of them: "output_min", "output_max", int32.
///
/// "weight" of a layer with integer weights is not packed, as it is in checkpoints, whatever its bits: [out, ...],
/// int8; or uint8 for weight-only layers and tables that have a "weight_zero_point". It stands for weight_scale *
/// weight, or for weight_scale * (weight - weight_zero_point). "weight_scale" is [out], or [out, groups] where each
/// group of consecutive elements of a channel's weights has its own: "weight_group_size" ("group_size" of weight-only
/// layers, 0 without groups) of them, and in the last group what is left.
///
/// So a product of static or trained quantization computes, for output channel o, with all images padded with
/// input_zero_point:
///
///   sum[g] = (g == 0 ? bias[o] : 0) + 2^weight_shift * sum over group g of (input - input_zero_point) * weight[o]
///   value = float32(sum[0]) * multiplier[0, o] + float32(sum[1]) * multiplier[1, o] + ...
///   output = clamp(round_half_even(value) + output_zero_point, output_min, output_max); or, if that is float32,
///            relu ? max(value, 0) : value
///
/// Sums are int32, value is float32, rounded after each multiplication and addition, in this order. Without groups
/// multiplier is [out], and there is one sum, of all inputs; with groups it is [groups, out].
///
/// Throws ValueError if two tensors would have one name.
NamedArrays exported_arrays(const LoadedModel& model, const std::string& graph_json);

/// int8 or uint8 [out, ...], not packed, of a layer with integer weights; else undefined.
NDArray unpacked_weight(const nn::Module& layer);

}  // namespace thimble::apps
