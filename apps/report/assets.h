// What the page is made of, as CMake puts it into the program (embed.cmake).
#pragma once

#include <string_view>

namespace thimble::apps {

extern const std::string_view kPageTemplate, kPageStyle, kPageScript;
/// d3's modules, and their license, which asks to be where they are.
extern const std::string_view kPageLibraries, kLibraryLicense;

}  // namespace thimble::apps
