// A model from its file, with what the file says of it.
#pragma once

#include <optional>
#include <string>

#include "apps/notes.h"
#include <thimble/nn/graph/graph.h>

namespace thimble::apps {

struct LoadedModel {
  std::string path;
  nn::Graph graph;
  Attributes attributes;       ///< all notes of the file, whoever wrote them
  std::optional<Notes> notes;  ///< those that accuracy needs, if the file has them
  std::string no_notes;        ///< why it has none

  /// Throws FormatError, which says why, if there are none.
  const Notes& need_notes() const;
};

/// Any checkpoint that save_model() wrote. Throws IOError, FormatError.
LoadedModel load(const std::string& path);

/// "baseline" for a float model, else how it was quantized, as far as the file says: "static", or "quantized".
std::string method_of(const LoadedModel& model);

/// Throws ValueError if the model is quantized.
void check_is_float(const LoadedModel& model);

/// Parameters of the float model, as the file says; or else, as many as the graph has, those in integer layers
/// included.
int64_t parameters_of(const LoadedModel& model);

/// What the file has in its notes after it was quantized by this method: all that was there, brought up to date.
Attributes quantized_notes(const LoadedModel& model, const std::string& method, bool equalized);

/// "int8" for integer layers with weights of 8 bits, "int4" for weights of 4 bits at most; "float32" without any.
std::string dtype_of(const nn::Graph& graph);

/// How a quantized model differs from one of 8 bits: ", 2-bit weights", ", 4 to 8-bit weights, 7-bit activations".
/// Empty if it does not.
std::string fewer_bits(const nn::Graph& graph);

}  // namespace thimble::apps
