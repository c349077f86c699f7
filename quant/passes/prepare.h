// prepare() for training. Internal to quant.
#pragma once

#include <thimble/nn/graph/graph.h>
#include <thimble/quant/qconfig.h>
#include <thimble/quant/quantize.h>

namespace thimble::quant {

/// As prepare(), but differences, maxima and minima of two values stay float: their roundings would be trained with,
/// and what is small beside its inputs (|a - b| of two towers) learns little from rounded ones.
nn::Graph prepare_for_training(const nn::Graph& graph, const QConfigMapping& mapping, const ObserverFactory& make);

}  // namespace thimble::quant
