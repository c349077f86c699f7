#include <filesystem>

#include <thimble/core/error.h>
#include <thimble/core/text.h>
#include <thimble/nn/data/find_file.h>

namespace thimble::data {

std::string find_file(const std::string& folder, const std::string& name, const std::string& remedy) {
  for (const char* suffix : {"", ".gz"}) {
    const std::filesystem::path path = std::filesystem::path(folder) / (name + suffix);
    std::error_code ignored;
    if (std::filesystem::exists(path, ignored)) return path.string();
  }
  std::error_code ignored;
  check<IOError>(std::filesystem::exists(folder, ignored), "there is no folder ", detail::quote_path(folder), ": ",
                 remedy);
  throw IOError(str("'", name, "' is not in ", detail::quote_path(folder), ", plain or .gz: ", remedy));
}

}  // namespace thimble::data
