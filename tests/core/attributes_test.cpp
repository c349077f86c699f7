#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thimble/core/attributes.h>

namespace thimble {
namespace {

using testing::ThrowsMessage;

const Attributes kOfEachType{{"flag", true},
                             {"count", int64_t{3}},
                             {"rate", 0.5},
                             {"name", std::string("same")},
                             {"sizes", std::vector<int64_t>{1, 2}},
                             {"scales", std::vector<double>{0.5, 2}}};

TEST(Attributes, GiveBackWhatTheyWereGiven) {
  EXPECT_EQ(kOfEachType.get<bool>("flag"), true);
  EXPECT_EQ(kOfEachType.get<int64_t>("count"), 3);
  EXPECT_EQ(kOfEachType.get<double>("rate"), 0.5);
  EXPECT_EQ(kOfEachType.get<std::string>("name"), "same");
  EXPECT_EQ(kOfEachType.get<std::vector<int64_t>>("sizes"), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(kOfEachType.get<std::vector<double>>("scales"), (std::vector<double>{0.5, 2}));
}

TEST(Attributes, IntegersServeAsFloatingPointNumbersButNotTheReverse) {
  EXPECT_EQ(kOfEachType.get<double>("count"), 3.0);
  EXPECT_EQ(kOfEachType.get<std::vector<double>>("sizes"), (std::vector<double>{1, 2}));
  EXPECT_THROW(kOfEachType.get<int64_t>("rate"), FormatError);
  EXPECT_THROW(kOfEachType.get<std::vector<int64_t>>("scales"), FormatError);
}

TEST(Attributes, MissingAndMistypedOnesAreNamed) {
  EXPECT_THAT([] { kOfEachType.get<bool>("bias"); }, ThrowsMessage<FormatError>("attribute 'bias' is missing"));
  EXPECT_THAT([] { kOfEachType.get<bool>("count"); },
              ThrowsMessage<FormatError>("attribute 'count' has the wrong type"));
  EXPECT_THROW(kOfEachType.get<std::string>("flag"), FormatError);
}

TEST(Attributes, AFallbackServesForAMissingOneOnly) {
  EXPECT_EQ(kOfEachType.get<int64_t>("stride", 7), 7);
  EXPECT_EQ(kOfEachType.get<int64_t>("count", 7), 3);
  EXPECT_THROW(kOfEachType.get<int64_t>("name", 7), FormatError);
}

TEST(Attributes, SetReplaces) {
  Attributes a;
  EXPECT_TRUE(a.empty());
  a.set("x", int64_t{1});
  a.set("x", std::string("one"));
  EXPECT_FALSE(a.empty());
  EXPECT_TRUE(a.contains("x"));
  EXPECT_FALSE(a.contains("y"));
  EXPECT_EQ(a.get<std::string>("x"), "one");
}

TEST(Attributes, AreEqualIfNamesTypesAndValuesAre) {
  EXPECT_EQ((Attributes{{"a", int64_t{1}}, {"b", true}}), (Attributes{{"b", true}, {"a", int64_t{1}}}));
  EXPECT_FALSE((Attributes{{"a", int64_t{1}}}) == (Attributes{{"a", 1.0}}));
  EXPECT_FALSE((Attributes{{"a", int64_t{1}}}) == (Attributes{{"a", int64_t{2}}}));
  EXPECT_FALSE((Attributes{{"a", int64_t{1}}}) == Attributes{});
}

TEST(Attributes, PrintInAlphabeticalOrder) {
  EXPECT_EQ(str(kOfEachType), "count=3, flag=true, name=\"same\", rate=0.5, scales=[0.5,2], sizes=[1,2]");
  EXPECT_EQ(str(Attributes{}), "");
}

}  // namespace
}  // namespace thimble
