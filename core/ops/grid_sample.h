// Sampling of images at given places.
#pragma once

#include <string>

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// Options of grid_sample(), PyTorch's.
struct THIMBLE_API GridSampleOptions {
  std::string mode = "bilinear";       ///< "nearest", "bilinear", "bicubic"
  std::string padding_mode = "zeros";  ///< what lies beyond the image: "zeros", "border", "reflection"
  bool align_corners = false;          ///< whether -1 and 1 are the middles of the outermost pixels, or their edges
};

/// x [n, c, h, w] at the places grid [n, h', w', 2] of x and y from -1 to 1 -> [n, c, h', w']. Gradients flow to both,
/// but to the grid not with "nearest". Throws ShapeError for sizes that do not fit, ValueError for unknown names.
THIMBLE_API Tensor grid_sample(const Tensor& x, const Tensor& grid, const GridSampleOptions& options = {});

}  // namespace thimble
