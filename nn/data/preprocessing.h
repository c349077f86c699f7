// How the pixels of a picture become a model's input.
#pragma once

#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/attributes.h>
#include <thimble/core/shape.h>

namespace thimble::data {

/// Stored with a model, so that whoever runs it need not be told. Applied in the order of the members. By default
/// pixels are only scaled to [0, 1].
struct THIMBLE_API Preprocessing {
  int64_t crop = 0;      ///< keep the central crop x crop pixels; 0: all
  int64_t pad = 0;       ///< black pixels (0) added on every side
  int64_t channels = 1;  ///< a grey picture is repeated over so many; of colour pictures, their own
  bool flatten = false;  ///< one vector instead of [channels, height, width]
  double mean = 0;       ///< value = (pixel / 255 - mean) / std
  double std = 1;
  /// Of each channel, in place of `mean` and `std`; none: the same for all.
  std::vector<double> channel_mean = {}, channel_std = {};

  /// [channels, h, w] or [channels * h * w] for a picture of height x width. Throws ValueError for settings out of
  /// range.
  Shape output_shape(int64_t height, int64_t width) const;

  /// What a pixel of 0 to 255 becomes.
  float value_of(int pixel, int64_t channel = 0) const {
    const bool alike = channel_mean.empty();
    const auto c = static_cast<size_t>(channel);
    return static_cast<float>((static_cast<double>(pixel) / 255 - (alike ? mean : channel_mean[c])) /
                              (alike ? std : channel_std[c]));
  }

  Attributes to_attributes() const;
  /// All settings must be there: a default in place of one that was left out would change every pixel without a word.
  /// Throws FormatError for one that is missing, of a wrong type or out of range.
  static Preprocessing from_attributes(const Attributes& attributes);

  friend bool operator==(const Preprocessing&, const Preprocessing&) = default;
};

}  // namespace thimble::data
