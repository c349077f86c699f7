#include <algorithm>
#include <cmath>
#include <vector>

#include <thimble/core/ops/composed_op.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/grid_sample.h>
#include <thimble/core/ops/indexing.h>
#include <thimble/core/ops/shape.h>

namespace thimble {

namespace {

// Places along one axis, in pixels: as a tensor, through which gradients flow, and rounded.
struct Places {
  Tensor exact;
  std::vector<int64_t> whole;
};

// What is far away or no number lies outside of every image.
int64_t whole_place(double place) { return place > -1e9 && place < 1e9 ? static_cast<int64_t>(place) : -1000000000; }

class GridSample final : public ComposedOp {
 public:
  explicit GridSample(GridSampleOptions options) : o_(std::move(options)) {
    check<ValueError>(o_.mode == "nearest" || o_.mode == "bilinear" || o_.mode == "bicubic",
                      "grid_sample: unknown mode '", o_.mode, "'");
    check<ValueError>(o_.padding_mode == "zeros" || o_.padding_mode == "border" || o_.padding_mode == "reflection",
                      "grid_sample: unknown padding_mode '", o_.padding_mode, "'");
  }
  std::string_view name() const override { return "grid_sample"; }
  InputCount num_inputs() const override { return {2, 2}; }
  Attributes attributes() const override {
    return {{"mode", o_.mode}, {"padding_mode", o_.padding_mode}, {"align_corners", o_.align_corners}};
  }

 private:
  Tensor formula(std::span<const Tensor> inputs) const override {
    const Tensor &x = inputs[0], &grid = inputs[1];
    check<ShapeError>(x.ndim() == 4 && grid.ndim() == 4 && grid.shape(3) == 2 && grid.shape(0) == x.shape(0) &&
                          x.shape(2) > 0 && x.shape(3) > 0,
                      "grid_sample: expects images [n, c, h, w] and a grid [n, h', w', 2], got ", x.shape(), " and ",
                      grid.shape());
    const auto places = [&](int64_t i, int64_t size) { return in_pixels(squeeze(slice(grid, 3, i, i + 1), 3), size); };
    const Places columns = places(0, x.shape(3)), rows = places(1, x.shape(2));
    if (o_.mode == "nearest") return tap(x, rows, 0, columns, 0);
    const int64_t first = o_.mode == "bicubic" ? -1 : 0, last = o_.mode == "bicubic" ? 2 : 1;
    Tensor y;
    for (int64_t i = first; i <= last; ++i)
      for (int64_t j = first; j <= last; ++j) {
        const Tensor weight = unsqueeze(weight_of(rows, i) * weight_of(columns, j), 1);
        const Tensor term = tap(x, rows, i, columns, j) * weight;
        y = y.defined() ? y + term : term;
      }
    return y;
  }

  Places in_pixels(const Tensor& grid, int64_t size) const {
    const auto n = static_cast<double>(size);
    Places p{o_.align_corners ? (grid + 1) * ((n - 1) / 2) : ((grid + 1) * n - 1) * 0.5, {}};
    if (o_.mode != "bicubic" && o_.padding_mode == "reflection") p.exact = reflected(p.exact, size);
    if (o_.mode != "bicubic" && o_.padding_mode != "zeros") p.exact = clamp(p.exact, 0, n - 1);
    for (const double v : p.exact.data().to_vector<double>())
      p.whole.push_back(whole_place(o_.mode == "nearest" ? std::nearbyint(v) : std::floor(v)));
    return p;
  }

  // sign * x + shift, the mirror image that lies inside.
  std::pair<double, double> mirror(double x, int64_t size) const {
    const double low = o_.align_corners ? 0 : -0.5, span = static_cast<double>(size) - (o_.align_corners ? 1 : 0);
    if (span <= 0 || !std::isfinite(x)) return {0, 0};
    const double turns = std::floor((x - low) / span);
    if (std::fmod(std::abs(turns), 2) == 0) return {1, -turns * span};
    return {-1, 2 * low + (turns + 1) * span};
  }

  Tensor reflected(const Tensor& x, int64_t size) const {
    const std::vector<double> values = x.data().to_vector<double>();
    std::vector<double> signs, shifts;
    for (const double v : values) {
      const auto [sign, shift] = mirror(v, size);
      signs.push_back(sign);
      shifts.push_back(shift);
    }
    const auto tensor = [&](const std::vector<double>& list) {
      return Tensor(NDArray::from_vector(list, x.shape()).to(x.dtype()));
    };
    return x * tensor(signs) + tensor(shifts);
  }

  // Of the pixel that lies `offset` beyond the place's whole number.
  Tensor weight_of(const Places& p, int64_t offset) const {
    std::vector<double> whole(p.whole.begin(), p.whole.end());
    const Tensor distance = p.exact - Tensor(NDArray::from_vector(whole, p.exact.shape()).to(p.exact.dtype())) -
                            static_cast<double>(offset);
    if (o_.mode == "bilinear") return offset == 0 ? 1 - distance : distance + 1;
    constexpr double a = -0.75;
    const Tensor d = offset <= 0 ? distance : -distance;  // from 0 on
    if (offset == 0 || offset == 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
    return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
  }

  // -1 for a pixel that counts as 0.
  int64_t inside(int64_t i, int64_t size) const {
    if (i >= 0 && i < size) return i;
    if (o_.padding_mode == "zeros") return -1;
    if (o_.padding_mode == "reflection") {
      const auto [sign, shift] = mirror(static_cast<double>(i), size);
      i = whole_place(std::nearbyint(sign * static_cast<double>(i) + shift));
    }
    return std::clamp<int64_t>(i, 0, size - 1);
  }

  // The pixels that lie so far beyond the places: [n, c, h', w'].
  Tensor tap(const Tensor& x, const Places& rows, int64_t row_offset, const Places& columns,
             int64_t column_offset) const {
    const int64_t n = x.shape(0), channels = x.shape(1), h = x.shape(2), w = x.shape(3);
    const Shape& places = rows.exact.shape();
    const int64_t pixels = places[1] * places[2];
    NDArray index({n, 1, pixels}, DType::int64), is_inside({n, 1, places[1], places[2]}, DType::bool_);
    for (size_t i = 0; i < rows.whole.size(); ++i) {
      const int64_t row = inside(rows.whole[i] + row_offset, h), column = inside(columns.whole[i] + column_offset, w);
      is_inside.data<bool>()[i] = row >= 0 && column >= 0;
      index.data<int64_t>()[i] = row >= 0 && column >= 0 ? row * w + column : 0;
    }
    const Tensor planes = reshape(x, {n, channels, h * w});
    const Tensor found = gather(planes, 2, Tensor(index.broadcast_to({n, channels, pixels})));
    // A product with 0 would make NaN of infinity.
    return where(is_inside, reshape(found, {n, channels, places[1], places[2]}), Tensor::scalar(0, x.dtype()));
  }

  GridSampleOptions o_;
};

const OpRegistration grid_sample_registration{
    "grid_sample", [](const Attributes& a) {
      return std::make_unique<GridSample>(GridSampleOptions{
          a.get<std::string>("mode"), a.get<std::string>("padding_mode"), a.get<bool>("align_corners")});
    }};

}  // namespace

Tensor grid_sample(const Tensor& x, const Tensor& grid, const GridSampleOptions& options) {
  return apply(std::make_unique<GridSample>(options), {x, grid});
}

}  // namespace thimble
