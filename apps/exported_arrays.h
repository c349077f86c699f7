// A model as plain arrays, for those who run it without this library: on hardware, in another language.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "apps/notes.h"
#include <thimble/core/ndarray.h>

namespace thimble::apps {

/// In this order:
/// - "graph.json", uint8: the text of the graph, as `thimble inspect` shows it: nodes, layers and their attributes.
/// - "input.shape", "input.crop", "input.pad", "input.channels", int32: see data::Preprocessing.
/// - "input.table" [256]: what each value of a pixel becomes, float32; or uint8, after the Quantize layer, where a
/// graph
///   begins with one.
/// - For each layer, in the order of the graph, under "<layer>.": its tensors (weights of integer layers always as
///   int8), and those of its attributes that are scales (float32), zero points and bits (int32).
/// - For each integer product also "relu", uint8; what its sums are multiplied by, [out]: "multiplier", float32, which
///   is "multiplier_mantissa", int32, divided by 2 to the power of "multiplier_shift", int32, exactly; and unless its
///   outputs are float32, the smallest and largest of them, "output_min" and "output_max", int32.
///
/// So an integer product's output is, with sum = bias + sum of (input - input_zero_point) * weight, in float32:
/// clamp(round_half_even(sum * multiplier) + output_zero_point, output_min, output_max), or sum * multiplier.
std::vector<std::pair<std::string, NDArray>> exported_arrays(const LoadedModel& model, const std::string& graph_json);

}  // namespace thimble::apps
