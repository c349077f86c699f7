// Exceptions of the library, and the one way to throw them.
//
//   check<ShapeError>(a.shape() == b.shape(), "mse_loss: input ", a.shape(), " and target ", b.shape(), " differ");
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace thimble {

/// Base of everything that Thimble throws. what() is one line that says what was wrong and what was expected.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Shapes or dimensions do not fit the operation.
class ShapeError : public Error {
 public:
  using Error::Error;
};

/// The operation does not exist for this dtype.
class DTypeError : public Error {
 public:
  using Error::Error;
};

/// A file's content is not what its format says.
class FormatError : public Error {
 public:
  using Error::Error;
};

/// The operating system could not read or write.
class IOError : public Error {
 public:
  using Error::Error;
};

/// An argument is outside its domain.
class ValueError : public Error {
 public:
  using Error::Error;
};

/// Its arguments, streamed one after the other, as a string.
template <typename... Args>
std::string str(const Args&... args) {
  std::ostringstream out;
  out.exceptions(std::ios::badbit);  // else a stream that runs out of memory says nothing and gives a part of the text
  (out << ... << args);
  return out.str();
}

/// Throws E with the concatenated message unless `ok`. The message is only formatted on failure.
template <typename E = ValueError, typename... Args>
void check(bool ok, const Args&... message) {
  if (!ok) [[unlikely]]
    throw E(str(message...));
}

}  // namespace thimble
