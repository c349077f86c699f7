// What compilers say about slips in users' declarations.
//
// Where braces are no options of a class (a name that it lacks, a value of another type), no constructor fits, and a
// compiler lists all of them. So constructors that take options have a deleted twin with an ellipsis in their place,
// which any braces match, and worse than anything else does. The error is about that one, and shows its template
// argument: "use of deleted function ... [with Slip = NotAnOptionOf<Conv2d::Options>]". nn::Submodule has some for its
// first arguments, too. Never defined, nor called.
#pragma once

#include <concepts>

namespace thimble::detail {

template <typename Options>
struct NotAnOptionOf;
/// A number in such a twin's arguments where another constructor takes tensors: {} is a tensor there, never 0.
struct Number {
  template <std::integral T>
  Number(T value);
};
struct TheFirstArgumentIsThis;
struct TheNameComesAfterThis;

}  // namespace thimble::detail
