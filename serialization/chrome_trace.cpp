#include <thimble/core/error.h>
#include <thimble/core/text.h>
#include <thimble/serialization/atomic_file.h>
#include <thimble/serialization/chrome_trace.h>
#include <thimble/serialization/json.h>

namespace thimble {

namespace {

constexpr double kMicro = 1e6;

std::string text_of(const ProfiledEvent& event) {
  using detail::json_text;
  const std::string name =
      event.name.empty() || event.name == event.layer ? event.layer : str(event.layer, ": ", event.name);
  return detail::json_object({{"name", json_text(detail::printable(name))},
                              {"cat", json_text(event.is_backward ? "backward" : "forward")},
                              {"ph", json_text("X")},
                              {"ts", json_text(kMicro * event.start)},
                              {"dur", json_text(kMicro * event.seconds)},
                              {"pid", "0"},
                              {"tid", "0"}});
}

}  // namespace

void save_chrome_trace(const Profiler& profiler, const std::filesystem::path& path) {
  std::vector<std::string> events;
  for (const ProfiledEvent& event : profiler.events()) events.push_back(text_of(event));
  const std::string text = detail::json_object({{"traceEvents", detail::json_list(events)}});
  AtomicFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

}  // namespace thimble
