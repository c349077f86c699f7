// What a profiler notes of a training step.
#include <algorithm>
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thimble/core/ops.h>
#include <thimble/core/profiler.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/training/optim/optimizer.h>

namespace thimble {
namespace {

using testing::HasSubstr;

struct NetToProfile : nn::Module {
  nn::Submodule<nn::Sequential> body{this, "body", nn::Linear(4, 8), nn::ReLU()};
  nn::Submodule<nn::Linear> head{this, "head", 8, 2};
  Tensor forward(const Tensor& x) override { return head(body(x) * 2.0); }
};

class ProfilerTest : public testing::Test {
 protected:
  void train(int steps) {
    for (int i = 0; i < steps; ++i) {
      const Tensor loss = mse_loss(net(NDArray::ones({3, 4})), NDArray::zeros({3, 2}));
      adam.zero_grad();
      loss.backward();
      adam.step();
    }
  }
  static const ProfiledLayer& layer(const Profiler& profiler, const std::string& name) {
    const auto it = std::ranges::find(profiler.layers(), name, &ProfiledLayer::layer);
    EXPECT_NE(it, profiler.layers().end()) << name;
    return *it;
  }

  NetToProfile net;
  optim::Adam adam{net.parameters()};
};

TEST_F(ProfilerTest, CountsCallsAndTimesOfEachLayer) {
  const Profiler profiler;
  train(3);
  for (const char* name : {"(model)", "body", "body.0", "body.1", "head"}) EXPECT_EQ(layer(profiler, name).calls, 3);
  for (const char* name : {"(model)", "body.0", "body.1", "head", "(outside)"}) {
    EXPECT_GT(layer(profiler, name).forward_seconds, 0) << name;
    EXPECT_GT(layer(profiler, name).backward_seconds, 0) << name;
  }
  EXPECT_EQ(layer(profiler, "(optimizer)").calls, 3);
  EXPECT_EQ(layer(profiler, "(optimizer)").backward_seconds, 0);
  EXPECT_EQ(profiler.layers()[0].layer, "(model)");
  EXPECT_THAT(profiler.text(), HasSubstr("body.0"));
}

TEST_F(ProfilerTest, EventsLieWithinEachOther) {
  const Profiler profiler;
  train(1);
  const std::vector<ProfiledEvent>& events = profiler.events();
  EXPECT_EQ(events[0].layer, "(model)");
  EXPECT_EQ(events[0].name, "");
  EXPECT_EQ(events[1].layer, "body");
  double own = 0, outermost = 0, end = 0;
  for (const ProfiledEvent& event : events) {
    EXPECT_GE(event.start, 0);
    EXPECT_GE(event.seconds, event.own_seconds);
    own += event.own_seconds;
    if (event.start < end) continue;  // within another
    end = event.start + event.seconds;
    outermost += event.seconds;
  }
  EXPECT_NEAR(own, outermost, 1e-9);
  const auto is_backward_of_head = [](const ProfiledEvent& e) {
    return e.is_backward && e.layer == "head" && e.name == "linear";
  };
  EXPECT_EQ(std::ranges::count_if(events, is_backward_of_head), 1);
}

TEST_F(ProfilerTest, KeepsSoManyEventsAndAllSums) {
  const Profiler profiler({.most_events = 4});
  train(2);
  EXPECT_EQ(profiler.events().size(), 4u);
  EXPECT_EQ(layer(profiler, "head").calls, 2);
}

TEST_F(ProfilerTest, NotesItsLifetimeOnly) {
  train(1);
  {
    const Profiler profiler;
    EXPECT_TRUE(profiler.events().empty());
    EXPECT_THROW(Profiler(), ValueError);
    const ProfiledScope scope("mine");
    EXPECT_EQ(profiler.events().size(), 1u);
    EXPECT_EQ(layer(profiler, "mine").calls, 1);
  }
  const Profiler next;
  EXPECT_TRUE(next.events().empty());
}

TEST_F(ProfilerTest, MayEndBeforeAScopeDoes) {
  auto profiler = std::make_unique<Profiler>();
  const ProfiledScope scope("mine");
  profiler.reset();
  train(1);
}

// An op that throws is over.
TEST_F(ProfilerTest, ErrorsEndEvents) {
  const Profiler profiler;
  EXPECT_THROW(net(NDArray::ones({3, 5})), ShapeError);
  train(1);
  const auto calls = [](const ProfiledEvent& e) { return e.layer == "(model)" && e.name.empty(); };
  EXPECT_EQ(std::ranges::count_if(profiler.events(), calls), 2);
}

}  // namespace
}  // namespace thimble
