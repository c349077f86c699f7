// A convolution's images as frames, made a block at a time. See conv_frames.h.
#pragma once

#include <thimble/core/kernels/image/conv_frames.h>
#include <thimble/core/kernels/scratch.h>

namespace thimble::kernels {

/// How much is made into frames at a time: several images, or rows of one.
struct FrameBlock {
  int64_t images, rows;
};

/// Images that need no frame where they are, others copied.
template <typename T>
class Images {
 public:
  Images(const ConvFrames& frames, const T* x, const FrameBlock& most)
      : frames_(frames),
        x_(x),
        memory_(frames.in_place()
                    ? nullptr
                    : thread_scratch_of<T>(ScratchUse::columns, most.images * frames.elements(most.rows))) {}

  /// The first window of rows [first, last) of the outputs of `count` images, image_step() apart.
  const T* load(int64_t image, int64_t count, int64_t first, int64_t last) const {
    const Conv2dGeometry& g = frames_.geometry();
    const int64_t elements = g.in_height * g.in_width * g.in_channels;
    const T* from = x_ + image * elements;
    if (frames_.in_place()) return from + first * frames_.row_step();
    for (int64_t i = 0; i < count; ++i)
      frames_.fill(from + i * elements, T{0}, first, last, memory_ + i * frames_.image_step());
    return memory_;
  }

 private:
  const ConvFrames& frames_;
  const T* x_;
  T* memory_;
};

}  // namespace thimble::kernels
