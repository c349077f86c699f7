// Post-training static quantization of a graph: prepare, calibrate, convert.
//
//   nn::Graph prepared = quant::prepare(quant::as_convolutions(graph), quant::QConfigMapping::static_int8());
//   for (auto& [images, labels] : calibration) prepared(images);
//   nn::Graph int8 = quant::convert(prepared);
//
// or, with a std::vector<Tensor> of batches, nn::Graph int8 = quant::quantize_model(graph, batches).
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/quant/observers/observer.h>
#include <thimble/quant/qconfig.h>

namespace thimble::quant {

/// What became of one layer or op.
struct THIMBLE_API LayerReport {
  std::string name;
  std::string type;  ///< before conversion
  int weight_bits = 32;
  int activation_bits = 32;
  bool kept_float = true;
  /// Why it was kept float; else empty, or why its table is no longer that of a layer that it shared it with.
  std::string reason;
};
using ConversionReport = std::vector<LayerReport>;

/// A copy of the graph, in evaluation mode, with an observer behind each value that an integer layer will read, or
/// several if layers that read it ask for different activations; the observers of an earlier prepare() are gone. Throws
/// ValueError if there is nothing to quantize (the mapping quantizes no layer, or the graph is quantized already), for
/// a graph of prepare_qat(), if the mapping names a node that does not exist or asks for what integer layers cannot do,
/// or if two layers read one value and neither's integers can be made of the other's.
THIMBLE_API nn::Graph prepare(const nn::Graph& graph, const QConfigMapping& mapping);
/// The same with observers of other kinds than QConfig::observer names.
using ObserverFactory = std::function<std::shared_ptr<Observer>(const QConfig&)>;
THIMBLE_API nn::Graph prepare(const nn::Graph& graph, const QConfigMapping& mapping,
                              const ObserverFactory& make_observer);

/// The integer graph, in evaluation mode, of a prepared one that has seen calibration data: integer values flow from
/// integer layer to integer layer, with Quantize and Dequantize at the edges; what has no integer form stays float.
/// Tables of embeddings become integers that are read as floats (QuantizedEmbedding).
/// Throws ValueError for a graph that was not prepared, or if an observer has seen nothing.
THIMBLE_API nn::Graph convert(const nn::Graph& prepared, ConversionReport* report = nullptr);

/// All of it: as_convolutions(), which fuses, prepare(), calls `calibrate` with the prepared graph (to run it on data),
/// converts. Throws what these throw.
THIMBLE_API nn::Graph quantize_model(const nn::Graph& graph, const std::function<void(nn::Graph&)>& calibrate,
                                     const QConfigMapping& mapping = QConfigMapping::static_int8(),
                                     ConversionReport* report = nullptr);
/// The same on these batches of samples, with the corrections of calibrate_with_corrections() for depthwise layers.
THIMBLE_API nn::Graph quantize_model(const nn::Graph& graph, std::span<const Tensor> batches,
                                     const QConfigMapping& mapping = QConfigMapping::static_int8(),
                                     ConversionReport* report = nullptr);

}  // namespace thimble::quant
