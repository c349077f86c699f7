// What the program remembers in a checkpoint besides the model.
#pragma once

#include <memory>
#include <string>

#include <thimble/nn/data/mnist.h>
#include <thimble/serialization/checkpoint.h>

namespace thimble::apps {

struct Notes {
  std::string model;                ///< "mlp"
  std::string dataset;              ///< what it was trained on
  std::string method = "baseline";  ///< or how it was quantized: "static"
  int64_t parameters = 0;           ///< of the float model
  data::Preprocessing preprocessing;
  Shape input_shape;       ///< without the batch
  bool equalized = false;  ///< whether cross-layer equalization came before quantization

  Attributes to_attributes() const;
  /// Throws FormatError.
  static Notes from_attributes(const Attributes& attributes);
};

struct LoadedModel {
  nn::Graph graph;
  Notes notes;
};

/// A dataset whose images are prepared as the model takes them. Throws ShapeError, before any image is prepared, if
/// they then are not of the model's input shape; and what open_dataset throws.
std::unique_ptr<data::MNIST> open_images(const Notes& notes, const std::string& dataset, const std::string& folder,
                                         data::Split split);

/// A checkpoint that this program wrote. Throws IOError, FormatError.
LoadedModel load(const std::string& path);

/// "int8" if any layer computes with integers; "int4" if the weights alone are, of 4 bits at most; else "float32".
std::string dtype_of(const nn::Graph& graph);

/// How a quantized model differs from one of 8 bits: ", 2-bit weights", ", 4 to 8-bit weights, 7-bit activations".
/// Empty if it does not.
std::string fewer_bits(const nn::Graph& graph);

}  // namespace thimble::apps
