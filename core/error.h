// Exceptions of the library, and the one way to throw them.
//
//   check<ShapeError>(a.shape() == b.shape(), "mse_loss: input ", a.shape(), " and target ", b.shape(), " differ");
#pragma once

#include <cstddef>
#include <initializer_list>
#include <ostream>
#include <span>
#include <stdexcept>
#include <string>

#include <thimble/core/api.h>

namespace thimble {

/// Base of everything that Thimble throws. what() is one line that says what was wrong and what was expected.
class THIMBLE_API Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Shapes or dimensions do not fit the operation.
class THIMBLE_API ShapeError : public Error {
 public:
  using Error::Error;
};

/// The operation does not exist for this dtype.
class THIMBLE_API DTypeError : public Error {
 public:
  using Error::Error;
};

/// A file's content is not what its format says.
class THIMBLE_API FormatError : public Error {
 public:
  using Error::Error;
};

/// The operating system could not read or write.
class THIMBLE_API IOError : public Error {
 public:
  using Error::Error;
};

/// An argument is outside its domain.
class THIMBLE_API ValueError : public Error {
 public:
  using Error::Error;
};

namespace detail {

/// A reference to something that can be streamed, whatever its type: all calls of str() share one function, and what a
/// check() says when it fails takes little code where it is made.
struct Piece {
  const void* value;
  void (*write)(std::ostream&, const void*);

  template <typename T>
  static void write_as(std::ostream& out, const void* value) {
    out << *static_cast<const T*>(value);
  }
  template <typename T>
  explicit Piece(const T& of) : value(&of), write(write_as<T>) {}
  template <size_t N>  // one function for literals of all lengths
  explicit Piece(const char (&text)[N]) : value(text), write(write_text) {}
  static void write_text(std::ostream& out, const void* value) { out << static_cast<const char*>(value); }
};

THIMBLE_API std::string concatenate(std::span<const Piece> pieces);

template <typename E>
[[noreturn, gnu::cold, gnu::noinline]] void fail(std::span<const Piece> message) {
  throw E(concatenate(message));
}

}  // namespace detail

/// Its arguments, streamed one after the other, as a string.
template <typename... Args>
std::string str(const Args&... args) {
  return detail::concatenate(std::initializer_list<detail::Piece>{detail::Piece(args)...});
}

/// Throws E with the concatenated message unless `ok`. The message is only formatted on failure.
template <typename E = ValueError, typename... Args>
void check(bool ok, const Args&... message) {
  if (!ok) [[unlikely]]
    detail::fail<E>(std::initializer_list<detail::Piece>{detail::Piece(message)...});
}

}  // namespace thimble
