#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <tests/serialization/files.h>

#include <thimble/core/error.h>
#include <thimble/serialization/json.h>

namespace thimble::detail {
namespace {

using testing::HasSubstr;

TEST(Json, ReadsEachKindOfValue) {
  const Json json = parse_json(R"({"n":null,"b":true,"i":-3,"u":18446744073709551615,"d":2.0,"big":1e20,
                                   "s":"a\u00e9\n","l":[1,[],{}],"o":{"x":0}})",
                               "test");
  ASSERT_TRUE(json.is<Json::Object>());
  EXPECT_TRUE(json.find("n")->is<std::nullptr_t>());
  EXPECT_TRUE(json.find("b")->get<bool>());
  EXPECT_EQ(json.find("i")->get<int64_t>(), -3);
  EXPECT_EQ(json.find("u")->get<uint64_t>(), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(json.find("d")->get<double>(), 2);
  EXPECT_EQ(json.find("big")->get<double>(), 1e20);
  EXPECT_EQ(json.find("s")->get<std::string>(), "a\u00e9\n");
  const auto& list = json.find("l")->get<Json::List>();
  ASSERT_EQ(list.size(), 3u);
  EXPECT_EQ(list[0].get<int64_t>(), 1);
  EXPECT_TRUE(list[1].get<Json::List>().empty());
  EXPECT_TRUE(list[2].get<Json::Object>().empty());
  EXPECT_EQ(json.find("o")->find("x")->get<int64_t>(), 0);
  EXPECT_EQ(json.find("x"), nullptr);
  EXPECT_EQ(json.find("s")->find("s"), nullptr);
}

TEST(Json, ReadsValuesThatAreNoObjects) {
  EXPECT_EQ(parse_json("7", "test").get<int64_t>(), 7);
  EXPECT_EQ(parse_json("\"x\"", "test").get<std::string>(), "x");
  EXPECT_EQ(parse_json("9223372036854775807", "test").get<int64_t>(), std::numeric_limits<int64_t>::max());
}

TEST(Json, OfMembersOfOneNameTheLastCounts) {
  const Json json = parse_json(R"({"a":[1,{"x":0}],"b":2,"a":3})", "test");
  EXPECT_EQ(json.get<Json::Object>().size(), 2u);
  EXPECT_EQ(json.find("a")->get<int64_t>(), 3);
}

TEST(Json, SaysWhereTheTextIsNoJson) {
  const struct {
    const char* text;
    int byte;
  } cases[] = {{"", 1}, {"{", 2}, {"[1,]", 4}, {"{\"a\"}", 5}, {"1 2", 3}, {"nul", 4}, {"\"\xff\"", 2}, {"[1e999]", 6}};
  for (const auto& c : cases)
    EXPECT_EQ(message_of<FormatError>([&] { parse_json(c.text, "test"); }),
              "test: not valid JSON at its byte " + std::to_string(c.byte));
}

TEST(Json, RefusesWhatIsNestedTooDeep) {
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_NO_THROW(parse_json(nested(160), "test"));
  EXPECT_THAT(message_of<FormatError>([&] { parse_json(nested(161), "test"); }), HasSubstr("nested deeper than 160"));
  EXPECT_THROW(parse_json(std::string(1000000, '['), "test"), FormatError);
  std::string objects = "0";
  for (int i = 0; i < 160; ++i) objects = json_object({{"a", objects}});
  EXPECT_NO_THROW(parse_json(objects, "test"));
  EXPECT_THROW(parse_json(json_list({objects}), "test"), FormatError);
}

TEST(Json, WritesWhatItReads) {
  const std::string text = json_object({{"a\"b", json_list({json_text("caf\u00e9\n"), json_text(2.0), "7"})},
                                        {"empty", json_list({})},
                                        {"none", json_object({})}});
  EXPECT_EQ(text, "{\"a\\\"b\":[\"caf\u00e9\\n\",2.0,7],\"empty\":[],\"none\":{}}");
  const Json json = parse_json(text, "test");
  EXPECT_EQ(json.find("a\"b")->get<Json::List>()[0].get<std::string>(), "caf\u00e9\n");
}

}  // namespace
}  // namespace thimble::detail
