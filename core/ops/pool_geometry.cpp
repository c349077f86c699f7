#include <algorithm>
#include <iterator>
#include <tuple>

#include <thimble/core/ops/pool_geometry.h>

namespace thimble {

namespace {

constexpr std::string_view kAutoPads[] = {"none", "upper", "lower"};

// Windows along one axis.
struct PoolWindows {
  int64_t before, after, count;
};

PoolWindows windows_along(std::string_view op, int64_t size, int64_t kernel, int64_t stride, int64_t before,
                          int64_t after, int64_t dilation, const Pool2d& pool) {
  constexpr int64_t kMost = int64_t{1} << 30;
  check<ValueError>(kernel > 0 && kernel < kMost, op, ": kernel size ", kernel, " must be at least 1");
  check<ValueError>(stride > 0 && stride < kMost, op, ": stride ", stride, " must be at least 1");
  check<ValueError>(dilation > 0 && dilation < kMost, op, ": dilation ", dilation, " must be at least 1");
  const int64_t reach = dilation * (kernel - 1) + 1;
  if (pool.auto_pad != AutoPad::none) {
    check<ShapeError>(size > 0, op, ": the image is empty");
    std::tie(before, after) = same_padding(size, reach, stride, pool.auto_pad);
    return {before, after, (size - 1) / stride + 1};
  }
  check<ValueError>(before >= 0 && after >= 0 && before < reach && after < reach, op, ": padding ", before, " and ",
                    after, " must be 0 to less than the kernel's ", reach);
  check<ShapeError>(size > 0 && reach <= size + before + after, op, ": a kernel of ", reach,
                    " is larger than the padded input, ", size + before + after);
  const int64_t rest = size + before + after - reach;
  const int64_t windows = (rest + (pool.ceil_mode ? stride - 1 : 0)) / stride + 1;
  // None starts in the padding after the image.
  return {before, after, (windows - 1) * stride >= size + before ? windows - 1 : windows};
}

PoolWindows rows_of(std::string_view op, const Shape& x, const Pool2d& p) {
  return windows_along(op, x[2], p.kernel.height, p.stride.height, p.padding.top, p.padding.bottom, p.dilation.height,
                       p);
}

PoolWindows columns_of(std::string_view op, const Shape& x, const Pool2d& p) {
  return windows_along(op, x[3], p.kernel.width, p.stride.width, p.padding.left, p.padding.right, p.dilation.width, p);
}

}  // namespace

std::string_view name(AutoPad auto_pad) { return kAutoPads[static_cast<size_t>(auto_pad)]; }

AutoPad auto_pad_from_name(std::string_view name) {
  const auto at = std::ranges::find(kAutoPads, name);
  check<FormatError>(at != std::end(kAutoPads), "auto_pad is '", name, "', expected none, upper or lower");
  return static_cast<AutoPad>(at - std::begin(kAutoPads));
}

std::pair<int64_t, int64_t> same_padding(int64_t size, int64_t reach, int64_t stride, AutoPad auto_pad) {
  const int64_t windows = (size + stride - 1) / stride;
  const int64_t total = std::max<int64_t>(0, (windows - 1) * stride + reach - size), small = total / 2;
  return auto_pad == AutoPad::lower ? std::pair{total - small, small} : std::pair{small, total - small};
}

void Pool2d::to_attributes(Attributes& a) const {
  const bool is_symmetric = padding.top == padding.bottom && padding.left == padding.right;
  a.set("kernel_size", kernel.to_vector());
  a.set("stride", stride.to_vector());
  // Two numbers as far as they say it: older programs know no others.
  a.set("padding", is_symmetric ? std::vector{padding.top, padding.left}
                                : std::vector{padding.top, padding.left, padding.bottom, padding.right});
  a.set("dilation", dilation.to_vector());
  a.set("ceil_mode", ceil_mode);
  if (auto_pad != AutoPad::none) a.set("auto_pad", std::string(name(auto_pad)));
}

Pool2d Pool2d::from(const Attributes& a) {
  const auto p = a.get<std::vector<int64_t>>("padding");
  check<FormatError>(p.size() == 2 || p.size() == 4, "attribute 'padding' has ", p.size(), " numbers, expected 2 or 4");
  return {.kernel = Pair::from(a, "kernel_size"),
          .stride = Pair::from(a, "stride"),
          .padding = p.size() == 2 ? Padding(p[0], p[1]) : Padding(p[0], p[1], p[2], p[3]),
          .dilation = Pair::from(a, "dilation"),
          .ceil_mode = a.get<bool>("ceil_mode"),
          .auto_pad = auto_pad_from_name(a.get<std::string>("auto_pad", "none"))};
}

void check_pool_image(std::string_view op, const Shape& x) {
  check<ShapeError>(x.ndim() == 4, op, ": input must be [batch, channels, height, width], got ", x);
  check<ShapeError>(x[0] > 0, op, ": the batch is empty (input ", x, ")");
  constexpr int64_t kMost = int64_t{1} << 60;  // no sum with kernels and padding leaves int64
  check<ShapeError>(x[2] <= kMost && x[3] <= kMost, op, ": input ", x, " is too large");
}

void check_at_most_half(std::string_view op, int64_t kernel, int64_t padding, int64_t dilation) {
  constexpr int64_t kMost = int64_t{1} << 30;  // beyond that the op itself refuses
  if (kernel < 1 || kernel >= kMost || dilation < 1 || dilation >= kMost) return;
  const int64_t reach = dilation * (kernel - 1) + 1;
  check<ValueError>(padding >= 0 && padding <= reach / 2, op, ": padding ", padding,
                    " must be 0 to half of the kernel's ", reach);
}

kernels::Conv2dGeometry pool_geometry(std::string_view op, const Shape& x, const Pool2d& p) {
  check_pool_image(op, x);
  int64_t taps;
  check<ValueError>(!__builtin_mul_overflow(p.kernel.height, p.kernel.width, &taps) && taps < int64_t{1} << 31, op,
                    ": a kernel of ", p.kernel.height, "x", p.kernel.width, " is too large");
  const PoolWindows rows = rows_of(op, x, p), columns = columns_of(op, x, p);
  return {.batch = x[0],
          .in_height = x[2],
          .in_width = x[3],
          .in_channels = x[1],
          .out_height = rows.count,
          .out_width = columns.count,
          .out_channels = x[1],
          .kernel_height = p.kernel.height,
          .kernel_width = p.kernel.width,
          .stride_height = p.stride.height,
          .stride_width = p.stride.width,
          .dilation_height = p.dilation.height,
          .dilation_width = p.dilation.width,
          .pad_top = rows.before,
          .pad_left = columns.before};
}

PaddingAfter padding_after(const Shape& x, const Pool2d& p) {
  return {rows_of("pool", x, p).after, columns_of("pool", x, p).after};
}

}  // namespace thimble
