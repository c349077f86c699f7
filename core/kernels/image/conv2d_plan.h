// How conv2d() goes about a convolution. The order in which an output's products are added follows from the layer alone
// (term_blocks()). How pixels become tiles, blocks and pieces for threads depends on the batch, too, and on nothing but
// speed.
#pragma once

#include <cstdint>
#include <vector>

#include <thimble/core/kernels/image/conv_images.h>

namespace thimble::kernels {

/// A part of an output's sum: `taps` taps from `tap` on of all channels, or one tap's channels [channel, channel +
/// channels) of a group.
struct TermBlock {
  int64_t tap, taps, channel, channels;
};

/// In the order in which they are added up: whole rows of the kernel if those are small enough, whole taps, or parts of
/// a tap.
std::vector<TermBlock> term_blocks(const Conv2dGeometry& g, int64_t element_size);

/// How many images or rows are made into frames at a time.
FrameBlock frame_block(const ConvFrames& frames, int64_t element_size);

/// Whether a product's rows are one and the same pixel of several images, not pixels side by side.
bool tiles_over_images(const ConvFrames& frames);

/// How the outputs are divided among threads: units into so many parts, panels into so many.
struct Division {
  int64_t units, panels;
};

/// Of so many rows of outputs, or images, and so many panels of all groups.
Division divide(const Conv2dGeometry& g, int64_t units, int64_t panels);

}  // namespace thimble::kernels
