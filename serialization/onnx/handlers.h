// What imports each op of ONNX. Internal.
#pragma once

#include <string>

#include <thimble/serialization/onnx/importer.h>

namespace thimble::onnx {

/// Sets the node's outputs. Throws FormatError for what is not covered.
using Handler = void (*)(Importer& importer, const OnnxNode& node);

/// Null for an op that is not covered. Takes its qualified_op().
Handler handler_of(const std::string& op);

using Handlers = std::map<std::string, Handler>;

// A file for each kind of op.
void add_activations(Handlers& handlers);
void add_arithmetic(Handlers& handlers);
void add_branches(Handlers& handlers);
void add_contrib_activations(Handlers& handlers);
void add_constants(Handlers& handlers);
void add_indexing(Handlers& handlers);
void add_layers(Handlers& handlers);
void add_losses(Handlers& handlers);
void add_norms(Handlers& handlers);
void add_pools(Handlers& handlers);
void add_quantization(Handlers& handlers);
void add_quantized_ops(Handlers& handlers);
void add_recurrent(Handlers& handlers);
void add_resizing(Handlers& handlers);
void add_products(Handlers& handlers);
void add_reductions(Handlers& handlers);
void add_shapes(Handlers& handlers);
void add_slices(Handlers& handlers);

}  // namespace thimble::onnx
