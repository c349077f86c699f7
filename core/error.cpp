#include <sstream>

#include <thimble/core/error.h>

namespace thimble::detail {

std::string concatenate(std::span<const Piece> pieces) {
  std::ostringstream out;
  out.exceptions(std::ios::badbit);  // else a stream that runs out of memory says nothing and gives a part of the text
  for (const Piece& piece : pieces) piece.write(out, piece.value);
  return out.str();
}

}  // namespace thimble::detail
