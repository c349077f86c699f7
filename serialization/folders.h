// Folders that survive a power failure. Internal to serialization.
#pragma once

#include <filesystem>

namespace thimble::detail {

/// Flushes to disk what has been made in the folder, or renamed (""; the current one). Gives errno, 0 if all went well
/// or the folder cannot be flushed at all.
int sync_folder(const std::filesystem::path& folder);

/// Makes the folder and those that lead to it, as far as they are missing, and flushes each into the one that it lies
/// in. Throws IOError.
void make_folders(const std::filesystem::path& folder);

}  // namespace thimble::detail
