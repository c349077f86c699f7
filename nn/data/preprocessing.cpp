#include <algorithm>
#include <cmath>
#include <variant>

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
  const auto check_mean = [](double mean) {
    check<E>(std::isfinite(mean), "preprocessing: mean ", mean, " is not finite");
  };
  const auto check_std = [](double std) {
    check<E>(std::isfinite(std) && std > 0, "preprocessing: std ", std, " is not positive and finite");
  };
  check_mean(p.mean), check_std(p.std);
  std::ranges::for_each(p.channel_mean, check_mean);
  std::ranges::for_each(p.channel_std, check_std);
  check<E>(p.channel_mean.size() == p.channel_std.size() &&
               (p.channel_mean.empty() || std::ssize(p.channel_mean) == p.channels),
           "preprocessing: ", p.channel_mean.size(), " means and ", p.channel_std.size(), " deviations of ", p.channels,
           " channels");
}

// Programs from before there was a list refuse it: they would not know what to do with it.
Attribute one_or_each(double one, const std::vector<double>& each) {
  return each.empty() ? Attribute(one) : Attribute(each);
}

void read_one_or_each(const Attributes& a, const std::string& key, double& one, std::vector<double>& each) {
  const bool is_list = std::ranges::any_of(a, [&](const auto& named) {
    return named.first == key && (std::holds_alternative<std::vector<double>>(named.second) ||
                                  std::holds_alternative<std::vector<int64_t>>(named.second));
  });
  if (is_list)
    each = a.get<std::vector<double>>(key);
  else
    one = a.get<double>(key);
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
  return {{"crop", crop},
          {"pad", pad},
          {"channels", channels},
          {"flatten", flatten},
          {"mean", one_or_each(mean, channel_mean)},
          {"std", one_or_each(std, channel_std)}};
}

Preprocessing Preprocessing::from_attributes(const Attributes& a) {
  Preprocessing p{.crop = a.get<int64_t>("crop"),
                  .pad = a.get<int64_t>("pad"),
                  .channels = a.get<int64_t>("channels"),
                  .flatten = a.get<bool>("flatten")};
  read_one_or_each(a, "mean", p.mean, p.channel_mean);
  read_one_or_each(a, "std", p.std, p.channel_std);
  check_ranges<FormatError>(p);
  return p;
}

}  // namespace thimble::data
