// What the program remembers in a checkpoint besides the model: what it was trained on, and how its input is prepared.
#pragma once

#include <optional>
#include <string>

#include "apps/datasets.h"
#include <thimble/core/attributes.h>
#include <thimble/quant/passes/equalization.h>

namespace thimble::apps {

/// As `thimble train` writes them. Other programs may write them, too, so that accuracy can be measured: `dataset` and
/// all of `preprocessing` then suffice,
///
///   Attributes notes{{"dataset", "mnist"}};
///   notes.set_all("preprocessing.", preprocessing.to_attributes());
///   save_model(graph, "net.safetensors", notes);
struct Notes {
  std::string model;                      ///< "mlp"; may be empty
  std::string dataset;                    ///< what it was trained on; may be empty
  std::string train_data = {};            ///< NamedDataset::checksum of that, so that others can be told from it
  std::string test_data = {};             ///< and of the test set
  std::string precision = {};             ///< of products in training, "float32" or "bf16"; may be empty
  std::string augment = {};               ///< what became of training pictures at random, "crop:4,flip"; may be empty
  std::string method = "baseline";        ///< or how it was quantized: "static"; empty if the file does not say
  int64_t parameters = 0;                 ///< of the float model; 0 if the file does not say
  Preparation preparation = {};           ///< of images or texts
  std::optional<Shape> input_shape = {};  ///< without the batch; none if the file does not say

  Attributes to_attributes() const;

  /// Whether these say anything about a dataset or about how inputs are prepared.
  static bool are_in(const Attributes& attributes);
  /// Throws FormatError for what is out of range or of a wrong type, and unless there is a vocabulary or all of
  /// `preprocessing`: with a default in place of what is missing, accuracies would be wrong without a word.
  static Notes from_attributes(const Attributes& attributes);
};

/// What depthwise_equalization() did, which a file's notes say so that its values can be compared with the float
/// model's. Throws FormatError for what is of a wrong type.
Attributes notes_of(const quant::EqualizationReport& equalized_pairs);
quant::EqualizationReport equalized_pairs_in(const Attributes& notes);

}  // namespace thimble::apps
