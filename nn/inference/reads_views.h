// Layers whose inputs may be views.
#pragma once

#include <thimble/core/api.h>

namespace thimble::nn {

/// A layer that is one of these, too, gets inputs as they lie, views among them (ValueInfo::strides). Others get views
/// copied to the usual order.
class THIMBLE_API ReadsViews {
 public:
  virtual ~ReadsViews() = default;
};

}  // namespace thimble::nn
