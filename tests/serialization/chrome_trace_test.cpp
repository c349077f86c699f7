#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/serialization/files.h"
#include <thimble/core/error.h>
#include <thimble/core/ops.h>
#include <thimble/serialization/chrome_trace.h>

namespace thimble {
namespace {

TEST(ChromeTrace, HasAnEventForEachOfTheProfiler) {
  const TempFolder folder;
  const Profiler profiler;
  {
    const ProfiledScope scope("a \"name\"\n");
    const Tensor x(NDArray::ones({2}), true);
    sum(x * x).backward();
  }
  save_chrome_trace(profiler, folder / "trace.json");
  std::ifstream file(folder / "trace.json");
  const nlohmann::json trace = nlohmann::json::parse(file), &events = trace.at("traceEvents");
  ASSERT_EQ(events.size(), profiler.events().size());
  for (size_t i = 0; i < events.size(); ++i) {
    const ProfiledEvent& event = profiler.events()[i];
    EXPECT_EQ(events[i].at("ph"), "X");
    EXPECT_EQ(events[i].at("cat"), event.is_backward ? "backward" : "forward");
    EXPECT_DOUBLE_EQ(events[i].at("ts"), 1e6 * event.start);
    EXPECT_DOUBLE_EQ(events[i].at("dur"), 1e6 * event.seconds);
  }
  EXPECT_EQ(events[0].at("name"), "a \"name\"\\n");
  EXPECT_EQ(events[1].at("name"), "a \"name\"\\n: mul");
  EXPECT_THROW(save_chrome_trace(profiler, folder / "none" / "trace.json"), IOError);
}

}  // namespace
}  // namespace thimble
