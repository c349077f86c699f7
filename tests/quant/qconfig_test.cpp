#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thimble/quant/qconfig.h>

namespace thimble::quant {
namespace {

// The bits of the weights that a node gets; 32 for float.
int bits_of(const QConfigMapping& mapping, const std::string& node, const std::string& type = "Linear") {
  const auto config = mapping.find(node, {type});
  return config ? config->weight.bits : 32;
}

QConfig of(int bits) { return QConfig::of_bits(bits, 8); }

TEST(QConfigMapping, NamesMatchNodesContainersAndPatterns) {
  struct {
    const char *name, *node;
    bool matches;
  } const cases[] = {
      {"fc", "fc", true},
      {"fc", "fc1", false},
      {"block1", "block1.conv", true},
      {"block1", "block10.conv", false},
      {"block1", "net.block1.conv", false},
      {"net.block1", "net.block1.body.conv", true},
      {"block*.conv?", "block1.conv2", true},
      {"block*.conv?", "block1.conv", false},
      {"block*.conv?", "block1.conv10", false},
      {"block*.conv?", "block1.body.conv2", true},
      {"block?", "block1.conv", true},
      {"block?", "block12.conv", false},
      {"*", "anything.at.all", true},
      {"*.fc", "head.fc", true},
      {"*.fc", "fc", false},
      {"a*b*c", "axxbyybc", true},
      {"a*b*c", "axxbyyb", false},
      {"**", "a", true},
      {"", "a", false},
      {"?", "", false},
  };
  for (const auto& c : cases) EXPECT_EQ(QConfigMapping::matches(c.name, c.node), c.matches) << c.name << ", " << c.node;
}

TEST(QConfigMapping, WhatIsMoreParticularCounts) {
  QConfigMapping mapping;
  mapping.set_global(of(8)).set_type("Linear", of(7));
  EXPECT_EQ(bits_of(mapping, "block1.fc", "Conv2d"), 8);
  EXPECT_EQ(bits_of(mapping, "block1.fc"), 7);
  mapping.set_name("*", of(6));
  EXPECT_EQ(bits_of(mapping, "block1.fc"), 6);
  mapping.set_name("block1", std::nullopt);
  EXPECT_EQ(bits_of(mapping, "block1.fc"), 32);
  EXPECT_EQ(bits_of(mapping, "block2.fc"), 6);
  mapping.set_name("block?.fc", of(5));  // 8 characters, more than the container's 6
  EXPECT_EQ(bits_of(mapping, "block1.fc"), 5);
  mapping.set_name("block1.fc", of(4));
  mapping.set_name("block1.fc*", of(3));  // as many characters, but the exact name counts
  EXPECT_EQ(bits_of(mapping, "block1.fc"), 4);
  EXPECT_EQ(bits_of(mapping, "block1.fc2"), 3);
}

TEST(QConfigMapping, OfEquallyLongPatternsTheLastCounts) {
  QConfigMapping mapping;
  mapping.set_name("block*", of(4)).set_name("*block", of(3)).set_name("bloc?k", of(2));
  EXPECT_EQ(bits_of(mapping, "block"), 3);
  mapping.set_name("block*", of(5));
  EXPECT_EQ(bits_of(mapping, "block"), 5);
  EXPECT_THAT(mapping.names(), testing::UnorderedElementsAre("block*", "*block", "bloc?k"));
  mapping.set_name("a.b", of(7)).set_name("a?b*", of(6));
  EXPECT_EQ(bits_of(mapping, "a.b.c"), 7);  // a container of three characters before a pattern of two
}

TEST(QConfigMapping, FourBitsAreOneCall) {
  const auto config = QConfigMapping::static_int4().find("fc", {"Linear"});
  ASSERT_TRUE(config.has_value());
  EXPECT_EQ(config->weight, QuantizationSpec::per_channel_weight(4));
  EXPECT_EQ(config->activation, QuantizationSpec::activation(4));
  EXPECT_EQ(config->observer, "mse");
  EXPECT_EQ(config->weight_observer, "mse");
  EXPECT_EQ(QConfig::of_bits(8, 8).observer, QConfig().observer);
}

}  // namespace
}  // namespace thimble::quant
