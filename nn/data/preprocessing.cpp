#include <cmath>

#include <thimble/nn/data/preprocessing.h>

namespace thimble::data {

namespace {

constexpr int64_t kMost = 1 << 12;  // so that no product of sizes overflows

template <typename E>
void check_ranges(const Preprocessing& p) {
  check<E>(p.crop >= 0 && p.crop <= kMost, "preprocessing: crop ", p.crop, " is not in [0, ", kMost, "]");
  check<E>(p.pad >= 0 && p.pad <= kMost, "preprocessing: pad ", p.pad, " is not in [0, ", kMost, "]");
  check<E>(p.channels >= 1 && p.channels <= kMost, "preprocessing: channels ", p.channels, " is not in [1, ", kMost,
           "]");
  check<E>(std::isfinite(p.mean), "preprocessing: mean ", p.mean, " is not finite");
  check<E>(std::isfinite(p.std) && p.std > 0, "preprocessing: std ", p.std, " is not positive and finite");
}

}  // namespace

Shape Preprocessing::output_shape(int64_t height, int64_t width) const {
  check_ranges<ValueError>(*this);
  check<ValueError>(crop <= height && crop <= width, "preprocessing: crop ", crop, " is larger than the picture, ",
                    height, " x ", width);
  const int64_t h = (crop ? crop : height) + 2 * pad, w = (crop ? crop : width) + 2 * pad;
  return flatten ? Shape{channels * h * w} : Shape{channels, h, w};
}

Attributes Preprocessing::to_attributes() const {
  return {{"crop", crop}, {"pad", pad}, {"channels", channels}, {"flatten", flatten}, {"mean", mean}, {"std", std}};
}

Preprocessing Preprocessing::from_attributes(const Attributes& a) {
  const Preprocessing p{.crop = a.get<int64_t>("crop"),
                        .pad = a.get<int64_t>("pad"),
                        .channels = a.get<int64_t>("channels"),
                        .flatten = a.get<bool>("flatten"),
                        .mean = a.get<double>("mean"),
                        .std = a.get<double>("std")};
  check_ranges<FormatError>(p);
  return p;
}

}  // namespace thimble::data
