// What a Profiler has noted, for chrome://tracing and Perfetto.
#pragma once

#include <filesystem>

#include <thimble/core/api.h>
#include <thimble/core/profiler.h>

namespace thimble {

/// Writes events() in the Trace Event Format: JSON, an event of phase "X" for each, times in microseconds, categories
/// "forward" and "backward". Throws IOError if the file cannot be written; what was there stays then.
THIMBLE_API void save_chrome_trace(const Profiler& profiler, const std::filesystem::path& path);

}  // namespace thimble
