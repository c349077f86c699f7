#include <cmath>
#include <cstdio>

#include <thimble/core/text_numbers.h>

namespace thimble::detail {

std::string fixed(double value, int digits) {
  if (std::isnan(value)) return "nan";  // which may have a sign, and it means nothing
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  return text;
}

std::string with_commas(int64_t value) {
  std::string digits = std::to_string(value);
  for (auto i = static_cast<int64_t>(digits.size()) - 3; i > (value < 0 ? 1 : 0); i -= 3)
    digits.insert(static_cast<size_t>(i), 1, ',');
  return digits;
}

}  // namespace thimble::detail
