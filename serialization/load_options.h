// How the bytes of a file become arrays.
#pragma once

#include <thimble/core/api.h>

namespace thimble {

/// What the functions that load files can be told.
struct THIMBLE_API LoadOptions {
  /// Arrays borrow the mapped file's memory, so that loading reads next to nothing and several processes share it;
  /// large int8 arrays are read from it when they are asked for (NDArray::unread()). Who writes into the file changes
  /// them, and who shortens it ends the program when they are touched (SIGBUS); replacing it by another of its name, as
  /// Thimble does, is safe. false: all is read into memory first, and whatever happens to the file afterwards, the
  /// arrays stay as they are.
  bool mapped = true;
};

}  // namespace thimble
