// How errors found while reading a file get the file's name. Internal to serialization.
#pragma once

#include <exception>
#include <filesystem>
#include <new>

#include <thimble/core/error.h>
#include <thimble/core/text.h>
#include <thimble/serialization/version_error.h>

namespace thimble::detail {

/// read(), whose errors get the file's name: running out of memory is an IOError, all else that it throws a
/// FormatError (a VersionError stays one).
template <typename F>
auto reading(const std::filesystem::path& path, F&& read) {
  try {
    return read();
  } catch (const IOError&) {
    throw;
  } catch (const VersionError& error) {
    throw VersionError(str(quote_path(path), ": ", error.what()));
  } catch (const std::bad_alloc&) {
    throw IOError(str("cannot read ", quote_path(path), ": there is not enough memory"));
  } catch (const std::exception& error) {
    // What was thrown, which may be of a user's type, goes along.
    std::throw_with_nested(FormatError(str(quote_path(path), ": ", error.what())));
  }
}

}  // namespace thimble::detail
