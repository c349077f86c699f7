// Numbers as people read them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <thimble/core/text_numbers.h>

namespace thimble::apps {

using detail::fixed;
using detail::with_commas;

/// "3,224,224" -> {3, 224, 224}; none for text of another form.
std::optional<std::vector<int64_t>> sizes_in(std::string_view text);

}  // namespace thimble::apps
