#include <cmath>
#include <limits>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <tests/serialization/files.h>

#include <thimble/serialization/attributes_json.h>

namespace thimble::detail {
namespace {

using testing::HasSubstr;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Through text, as in a file.
Attributes round_trip(const Attributes& attributes) {
  return attributes_from_json(parse_json(attributes_to_json(attributes), "test"));
}

TEST(AttributesJson, KeepsEveryValueAndItsType) {
  const Attributes attributes{
      {"yes", true},
      {"no", false},
      {"zero", int64_t{0}},
      {"least", std::numeric_limits<int64_t>::min()},
      {"most", std::numeric_limits<int64_t>::max()},
      {"two", 2.0},
      {"minus_zero", -0.0},
      {"huge", 1e300},
      {"least_double", std::numeric_limits<double>::denorm_min()},
      {"infinity", kInfinity},
      {"minus_infinity", -kInfinity},
      {"text", std::string("caf\u00e9 \"quoted\"\n\\")},
      {"no_text", std::string()},
      {"text_inf", std::string("inf")},
      {"integers", std::vector<int64_t>{1, -2, 3}},
      {"no_integers", std::vector<int64_t>{}},
      {"doubles", std::vector<double>{1, 2.5, -kInfinity}},
      {"whole_doubles", std::vector<double>{1, 2}},
      {"no_doubles", std::vector<double>{}},
      {"", int64_t{1}},
  };
  const Attributes back = round_trip(attributes);
  EXPECT_EQ(back, attributes);
  const std::string text = attributes_to_json(attributes);
  EXPECT_EQ(nlohmann::json::parse(text).dump(), text) << "as in files before";
  EXPECT_TRUE(std::signbit(back.get<double>("minus_zero")));
  EXPECT_EQ(round_trip({}), Attributes());
}

TEST(AttributesJson, ReadsBackTheSameDoubleBits) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {
    const auto value = std::bit_cast<double>(random());
    if (std::isnan(value)) continue;
    const Attributes back = round_trip({{"x", value}, {"list", std::vector<double>{value, 1}}});
    ASSERT_EQ(std::bit_cast<uint64_t>(back.get<double>("x")), std::bit_cast<uint64_t>(value));
    ASSERT_EQ(back.get<std::vector<double>>("list")[0], value);
  }
}

// What a run has measured may be NaN, and must not keep it from being saved.
TEST(AttributesJson, KeepsThatAValueIsNotANumber) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Attributes back = round_trip({{"loss", nan}, {"losses", std::vector<double>{1, nan}}});
  EXPECT_TRUE(std::isnan(back.get<double>("loss")));
  const auto losses = back.get<std::vector<double>>("losses");
  ASSERT_EQ(losses.size(), 2u);
  EXPECT_EQ(losses[0], 1);
  EXPECT_TRUE(std::isnan(losses[1]));
  EXPECT_EQ(attributes_to_json({{"loss", nan}}), R"({"loss":{"double":"nan"}})");
}

TEST(AttributesJson, RefusesWhatItCouldNotReadBack) {
  EXPECT_THAT(message_of<ValueError>([] {
                attributes_to_json({{"name", std::string("\xff")}});
              }),
              HasSubstr("'\\xff' is not UTF-8"));
  EXPECT_THROW(attributes_to_json({{"\xff", true}}), ValueError);
}

TEST(AttributesJson, NamesTheAttributeThatIsWrong) {
  const struct {
    const char* json;
    const char* message;
  } cases[] = {
      {"[]", "attributes are array, expected an object"},
      {"null", "attributes are null, expected an object"},
      {R"({"a":null})", "attribute 'a' is null, expected a boolean, a number, a string or a list of numbers"},
      {R"({"a":{}})", "attribute 'a' is object"},
      {R"({"a":{"double":"NaN"}})", "attribute 'a' is object"},
      {R"({"a":{"double":1}})", "attribute 'a' is object"},
      {R"({"a":{"double":"inf","b":1}})", "attribute 'a' is object"},
      {R"({"a":9223372036854775808})", "attribute 'a': 9223372036854775808 is too large"},
      {R"({"a":[1,9223372036854775808]})", "attribute 'a': 9223372036854775808 is too large"},
      {R"({"a":[1,"x"]})", "attribute 'a' is string"},
      {R"({"a":[true]})", "attribute 'a' is boolean"},
      {R"({"a":[[1]]})", "attribute 'a' is array"},
  };
  for (const auto& c : cases)
    EXPECT_THAT(message_of<FormatError>([&] { attributes_from_json(parse_json(c.json, "test")); }),
                HasSubstr(c.message));
}

TEST(AttributesJson, OfRepeatedNamesTheLastCounts) {
  const Attributes read =
      attributes_from_json(parse_json(R"({"a":null,"a":1,"b":{"double":"inf","double":"-inf"}})", "test"));
  EXPECT_EQ(read, (Attributes{{"a", int64_t{1}}, {"b", -kInfinity}}));
}

TEST(AttributesJson, ReadsAMixedListAsDoubles) {
  EXPECT_EQ(attributes_from_json(parse_json(R"({"a":[1,2.5]})", "test")).get<std::vector<double>>("a"),
            (std::vector<double>{1, 2.5}));
}

}  // namespace
}  // namespace thimble::detail
