#include <algorithm>
#include <vector>

#include <thimble/core/kernels/gemm/small_gemm.h>
#include <thimble/core/kernels/image/col2im.h>
#include <thimble/core/kernels/image/conv2d.h>
#include <thimble/core/kernels/image/conv_images.h>
#include <thimble/core/kernels/image/depthwise.h>
#include <thimble/core/kernels/reduce/partial_sums.h>
#include <thimble/core/kernels/scratch.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

// Multiply-adds worth another thread.
constexpr int64_t kGrain = 100'000;
// Frames of several images, and columns, should stay in the second level cache; so should a large image's.
constexpr int64_t kBlockBytes = 128 * 1024, kFrameBytes = 512 * 1024;

int64_t grain(int64_t multiply_adds_each) {
  return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, multiply_adds_each));
}

// Multiply-adds of one row of an image's outputs.
int64_t row_work(const Conv2dGeometry& g) { return g.out_width * g.columns() * g.out_channels; }

template <typename T>
FrameBlock frame_block(const ConvFrames& frames) {
  constexpr int64_t kTile = 14, kSize = static_cast<int64_t>(sizeof(T));
  const int64_t rows = frames.geometry().out_height, bytes = frames.elements(rows) * kSize;
  if (bytes <= kFrameBytes || frames.in_place())
    return {std::max({kBlockBytes / bytes, std::min(kTile, kFrameBytes / bytes), int64_t{1}}), rows};
  const int64_t row_bytes = std::max<int64_t>(1, frames.row_step() * kSize);
  const int64_t overlap = frames.elements(1) * kSize - row_bytes;
  return {1, std::clamp<int64_t>((kFrameBytes - overlap) / row_bytes, 1, rows)};
}

}  // namespace

template <typename T>
void conv2d_input_gradient(const Conv2dGeometry& g, const T* dy, const T* weight, T* dx) {
  if (g.depthwise()) return depthwise_input_gradient(g, dy, weight, dx);
  const int64_t pixels = g.out_height * g.out_width, image = g.in_height * g.in_width * g.in_channels;
  const int64_t row_bytes = g.columns() * static_cast<int64_t>(sizeof(T));
  const int64_t block = std::clamp<int64_t>(kBlockBytes / std::max<int64_t>(1, row_bytes), 12, 384);
  // Windows overlap within an image, so a thread takes whole images.
  parallel_for(g.batch, grain(g.out_height * row_work(g)), [&](int64_t begin, int64_t end) {
    T* columns = thread_scratch_of<T>(ScratchUse::columns, block * g.columns());
    std::fill(dx + begin * image, dx + end * image, T{0});
    for (int64_t group = 0; group < g.groups; ++group)
      for (int64_t first = begin * pixels; first < end * pixels; first += block) {
        const int64_t count = std::min(block, end * pixels - first);
        small_gemm(SmallGemm<T>{.m = count,
                                .n = g.columns(),
                                .k = g.group_out(),
                                .a = dy + first * g.out_channels + group * g.group_out(),
                                .a_row = g.out_channels,
                                .a_col = 1,
                                .b = weight + group * g.group_out() * g.columns(),
                                .ldb = g.columns(),
                                .c = columns,
                                .ldc = g.columns()});
        col2im(g, columns, group, first, count, dx);
      }
  });
}

namespace {

// Sums up the weight gradient of images, [groups, columns(), group_out()], a block at a time.
template <typename T>
class WeightGradient {
 public:
  WeightGradient(const ConvFrames& frames, const T* x, const T* dy)
      : frames_(frames), g_(frames.geometry()), dy_(dy), block_(frame_block<T>(frames)), images_(frames, x, block_) {
    // The sum over pixels runs along the longest rows of windows that lie equally far apart.
    const bool whole_block = frames.rows_merge() && (block_.images == 1 || frames.images_merge());
    run_rows_ = whole_block ? block_.images * block_.rows : frames.rows_merge() ? block_.rows : 1;
    for (int64_t row = 0; row < block_.images * block_.rows; row += run_rows_)
      runs_.push_back(row / block_.rows * frames.image_step() + row % block_.rows * frames.row_step());
  }

  void sum(int64_t begin, int64_t end, T* sums) const {
    constexpr int64_t kMostPixels = 256 * kGemmChain;
    SumInParts<T> parts(sums, g_.groups * g_.columns() * g_.group_out(), kMostPixels);
    for (int64_t image = begin; image < end; image += block_.images) {
      const int64_t count = std::min(block_.images, end - image);
      for (int64_t row = 0; row < g_.out_height; row += block_.rows) {
        const int64_t last = std::min(row + block_.rows, g_.out_height);
        add_block(image, count, row, last, parts.next(count * (last - row) * g_.out_width));
      }
    }
    parts.finish();
  }

 private:
  void add_block(int64_t image, int64_t count, int64_t first, int64_t last,
                 const typename SumInParts<T>::Part& part) const {
    const T *windows = images_.load(image, count, first, last),
            *dy = dy_ + (image * g_.out_height + first) * g_.out_width * g_.out_channels;
    const int64_t segment = frames_.segment_elements(), rows = count * (last - first);
    const int64_t run_rows = std::min(run_rows_, rows);
    for (int64_t group = 0; group < g_.groups; ++group)
      for (size_t s = 0; s < frames_.segments().size(); ++s)
        small_gemm(
            SmallGemm<T>{.m = segment,
                         .n = g_.group_out(),
                         .k = run_rows * g_.out_width,
                         .a = windows + frames_.segments()[s] + group * g_.group_in(),
                         .a_row = 1,
                         .a_col = frames_.pixel_step(),
                         .b = dy + group * g_.group_out(),
                         .ldb = g_.out_channels,
                         .c = part.sums + (group * g_.columns() + static_cast<int64_t>(s) * segment) * g_.group_out(),
                         .ldc = g_.group_out(),
                         .segments = runs_.data(),
                         .segment_count = rows / run_rows,
                         .accumulate = !part.is_new});
  }

  const ConvFrames& frames_;
  const Conv2dGeometry& g_;
  const T* dy_;
  FrameBlock block_;
  Images<T> images_;
  int64_t run_rows_;
  std::vector<int64_t> runs_;
};

}  // namespace

template <typename T>
void conv2d_weight_gradient(const Conv2dGeometry& g, const T* x, const T* dy, T* dweight) {
  if (g.depthwise()) return depthwise_weight_gradient(g, x, dy, dweight);
  const ConvFrames frames(g);
  sum_in_shards(g.batch, grain(g.out_height * row_work(g)), g.groups * g.columns() * g.group_out(), dweight,
                [&](int64_t begin, int64_t end, T* sums) { WeightGradient<T>(frames, x, dy).sum(begin, end, sums); });
}

template void conv2d_input_gradient(const Conv2dGeometry&, const float*, const float*, float*);
template void conv2d_input_gradient(const Conv2dGeometry&, const double*, const double*, double*);
template void conv2d_weight_gradient(const Conv2dGeometry&, const float*, const float*, float*);
template void conv2d_weight_gradient(const Conv2dGeometry&, const double*, const double*, double*);

}  // namespace thimble::kernels
