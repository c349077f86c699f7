// Damaged and hostile files: reading one ends in tensors or in an error that says what is wrong, never in a crash.
#include <cmath>
#include <limits>
#include <random>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <tests/serialization/files.h>
#include <unistd.h>

#include "tests/serialization/safetensors_bytes.h"
#include <thimble/serialization/safetensors.h>

namespace thimble {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// The message is one line that begins with the path.
std::string header_error_of(const std::filesystem::path& path) {
  const std::string message = message_of<FormatError>([&] { load_safetensors(path); });
  EXPECT_THAT(message, StartsWith("'" + path.native() + "': "));
  EXPECT_EQ(message.find_first_of("\n\r\x1b"), std::string::npos) << message;
  EXPECT_LT(message.size(), path.native().size() + 400);
  return message;
}

std::string error_of_bytes(const std::string& bytes) {
  TempFolder folder;
  write_bytes(folder / "f", bytes);
  return header_error_of(folder / "f");
}

// Loads, and reads every byte of what was loaded.
void expect_loads_or_error(const std::filesystem::path& path) {
  try {
    double sum = 0;
    for (const auto& [name, array] : load_safetensors(path).tensors)
      for (double value : array.to_vector<double>()) sum += std::isfinite(value) ? 1 : 0;
    EXPECT_GE(sum, 0);
  } catch (const FormatError& error) {
    EXPECT_THAT(error.what(), StartsWith("'" + path.native() + "': "));
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
  } catch (const IOError&) {
  }
}

void save_example(const std::filesystem::path& path) {
  save_safetensors(path, {{"format", "thimble"}},
                   {{"conv.weight", NDArray::ones({2, 3}, DType::float32)},
                    {"conv.scale", NDArray::ones({}, DType::float64)},
                    {"conv.q", NDArray::ones({5}, DType::int8)},
                    {"half", NDArray::ones({3}, DType::bfloat16)}});
}

TEST(SafetensorsHeader, NamesWhatIsWrong) {
  const std::string data(16, '\0');
  const struct {
    std::string header;
    const char* message;
  } cases[] = {
      {"", "header begins with '', expected '{'"},
      {"[]", "header begins with '[', expected '{'"},
      {" {}", "header begins with ' ', expected '{'"},
      {"\xef\xbb\xbf{}", "header begins with '\\xef', expected '{'"},
      {"{", "header is not valid JSON"},
      {"{}x", "header is not valid JSON in UTF-8 at its byte 3, near '{}x'"},
      {"{}{}", "header is not valid JSON"},
      {R"({"a":})", "header is not valid JSON"},
      {R"({"a":{"dtype":"F32",}})", "header is not valid JSON"},
      {R"({"a":{"dtype":"F32)", "header is not valid JSON"},
      {"{\"\xff\":{}}", "header is not valid JSON in UTF-8 at its byte 3, near '{\"\\xff\":{}}'"},
      {"{\"a\nb\":{}}", "header is not valid JSON"},
      {R"({"\ud800":{}})", "header is not valid JSON"},
      {R"({"a":NaN})", "header is not valid JSON"},
      {R"({"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}})", "header is not valid JSON"},
      {std::string("{}\0 ", 4), "header has a zero byte at its byte 3"},
      {R"({"a":1})", "tensor 'a' is the number 1, expected an object with dtype, shape and data_offsets"},
      {R"({"a":null})", "tensor 'a' is null"},
      {R"({"a":[]})", "tensor 'a' is a list"},
      {R"({"a":"x"})", "tensor 'a' is the string 'x'"},
      {R"({"a":true})", "tensor 'a' is a boolean"},
      {R"({"a":{}})", "tensor 'a' has no dtype"},
      {R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", "tensor 'a' has no shape"},
      {R"({"a":{"dtype":"F32","shape":[1]}})", "tensor 'a' has no data_offsets"},
      {R"({"a":{"dtype":"F32","color":1}})", "tensor 'a' has an unknown field 'color'"},
      {R"({"a":{"dtype":"F32","dtype":"F32"}})", "tensor 'a' has 'dtype' twice"},
      {R"({"a":{"shape":[],"shape":[]}})", "tensor 'a' has 'shape' twice"},
      {R"({"a":{"dtype":"I128","shape":[1],"data_offsets":[0,16]}})",
       "tensor 'a' has dtype 'I128', expected one of F64, F32, F16, BF16, I64, I32, I16, I8, U64, U32, U16, U8, BOOL, "
       "C64, "
       "F8_E4M3, "},
      {R"({"a":{"dtype":"F4","shape":[31],"data_offsets":[0,16]}})", "tensor 'a': F4[31] does not fill whole bytes"},
      {R"({"a":{"dtype":"F6_E2M3","shape":[3,7],"data_offsets":[0,16]}})",
       "tensor 'a': F6_E2M3[3,7] does not fill whole bytes"},
      {R"({"a":{"dtype":"F4","shape":[34],"data_offsets":[0,16]}})",
       "tensor 'a' has 16 bytes of data, expected 17 for F4[34]"},
      {R"({"a":{"dtype":"F4","shape":[4611686018427387904],"data_offsets":[0,16]}})", "is too large"},
      {R"({"a":{"dtype":"f32"}})", "tensor 'a' has dtype 'f32'"},
      {R"({"a":{"dtype":""}})", "tensor 'a' has dtype ''"},
      {R"({"a":{"dtype":5}})", "tensor 'a': 'dtype' is the number 5, expected a string"},
      {R"({"a":{"dtype":["F32"]}})", "tensor 'a': 'dtype' is a list, expected a string"},
      {R"({"a":{"shape":4}})", "tensor 'a': 'shape' is the number 4, expected a list of non-negative integers"},
      {R"({"a":{"shape":{"0":4}}})", "tensor 'a': 'shape' is an object"},
      {R"({"a":{"shape":null}})", "tensor 'a': 'shape' is null"},
      {R"({"a":{"shape":[[4]]}})", "tensor 'a': 'shape' holds a list, expected non-negative integers"},
      {R"({"a":{"shape":[{}]}})", "tensor 'a': 'shape' holds an object"},
      {R"({"a":{"shape":["4"]}})", "tensor 'a': 'shape' holds the string '4'"},
      {R"({"a":{"shape":[-1]}})", "tensor 'a': 'shape' holds the number -1, expected non-negative integers"},
      {R"({"a":{"shape":[4.0]}})", "tensor 'a': 'shape' holds the number '4.0'"},
      {R"({"a":{"shape":[1e2]}})", "tensor 'a': 'shape' holds the number '1e2'"},
      {R"({"a":{"shape":[9223372036854775808]}})", "size 9223372036854775808 in its shape is too large"},
      {R"({"a":{"shape":[18446744073709551616]}})", "'shape' holds the number '18446744073709551616'"},
      {R"({"a":{"shape":[1,1,1,1,1,1,1,1,1]}})", "tensor 'a' has more than 8 dimensions"},
      {R"({"a":{"data_offsets":[0,-4]}})",
       "tensor 'a': 'data_offsets' holds the number -4, expected two non-negative integers"},
      {R"({"a":{"data_offsets":[0,1.5]}})", "tensor 'a': 'data_offsets' holds the number '1.5'"},
      {R"({"a":{"data_offsets":[]}})", "tensor 'a': 'data_offsets' has 0 numbers, expected 2"},
      {R"({"a":{"data_offsets":[4]}})", "tensor 'a': 'data_offsets' has 1 numbers, expected 2"},
      {R"({"a":{"data_offsets":[0,4,8]}})", "tensor 'a': 'data_offsets' holds a third number"},
      {R"({"a":{"data_offsets":"0"}})", "tensor 'a': 'data_offsets' is the string '0'"},
      {R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[16,0]}})",
       "tensor 'a': data_offsets [16,0] end before they begin"},
      {R"({"a":{"dtype":"F32","shape":[5],"data_offsets":[0,20]}})",
       "tensor 'a': data_offsets [0,20] exceed the 16 bytes of data in the file"},
      {R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[18446744073709551600,18446744073709551615]}})",
       "exceed the 16 bytes of data"},
      {R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,16]}})",
       "tensor 'a' has 16 bytes of data, expected 12 for F32[3]"},
      {R"({"a":{"dtype":"F16","shape":[4],"data_offsets":[0,16]}})",
       "tensor 'a' has 16 bytes of data, expected 8 for F16[4]"},
      {R"({"a":{"dtype":"F32","shape":[0,4],"data_offsets":[0,16]}})",
       "tensor 'a' has 16 bytes of data, expected 0 for F32[0,4]"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,16]}})",
       "tensor 'a': shape [4611686018427387904,4] is too large"},
      {R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", "is too large"},
      {R"({"a":{"dtype":"U8","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}})", "is too large"},
      {R"({"a":{"dtype":"F16","shape":[0,4611686018427387904],"data_offsets":[0,0]}})", "is too large"},
      {R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"F32"}})", "header names 'a' twice"},
      {R"({"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]},"b":{"dtype":"U8","shape":[8],"data_offsets":[8,16]}})",
       "tensor 'b' begins at data byte 8 and overlaps another tensor, expected it at 9"},
      {R"({"a":{"dtype":"U8","shape":[16],"data_offsets":[0,16]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
       "tensor 'b' begins at data byte 4 and overlaps another tensor"},
      {R"({"a":{"dtype":"U8","shape":[7],"data_offsets":[0,7]},"b":{"dtype":"U8","shape":[8],"data_offsets":[8,16]}})",
       "tensor 'b' begins at data byte 8 after a hole, expected it at 7"},
      {R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[8,16]}})",
       "tensor 'a' begins at data byte 8 after a hole, expected it at 0"},
      {R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}})",
       "the last tensor ends at data byte 8, expected the file's last, 16"},
      {"{}", "the last tensor ends at data byte 0, expected the file's last, 16"},
      {R"({"__metadata__":[]})", "__metadata__ is a list, expected an object of strings"},
      {R"({"__metadata__":null,"__metadata__":{}})", "header names '__metadata__' twice"},
      {R"({"__metadata__":{"k":1}})", "__metadata__: 'k' is the number 1, expected a string"},
      {R"({"__metadata__":{"k":{}}})", "__metadata__: 'k' is an object, expected a string"},
      {R"({"__metadata__":{"k":["v"]}})", "__metadata__: 'k' is a list, expected a string"},
      {R"({"__metadata__":{"k":null}})", "__metadata__: 'k' is null, expected a string"},
      {R"({"__metadata__":{"k":"1","k":"2"}})", "__metadata__ has 'k' twice"},
      {R"({"__metadata__":{},"__metadata__":{}})", "header names '__metadata__' twice"},
      {R"({"line\nbreak\u001b[31m":{}})", "tensor 'line\\nbreak\\x1b[31m' has no dtype"},
      {"{\"" + std::string(100000, 'n') + "\":{}}", "nnn...' has no dtype"},
      {"{\"a\":{\"dtype\":\"" + std::string(100000, 'n') + "\"}}", "nnn...', expected one of"},
      {"{\"a\":{\"shape\":[" + std::string(100000, '9') + "]}}", "header is not valid JSON"},
      {"{\"a\":{\"shape\":[0." + std::string(100000, '9') + "]}}", "999...'"},
      {R"({"a":)" + std::string(1000000, '['), "tensor 'a' is a list"},
      {R"({"a":{"shape":)" + std::string(1000000, '['), "tensor 'a': 'shape' holds a list"},
  };
  for (const auto& c : cases) EXPECT_THAT(error_of_bytes(file_of(c.header, data)), HasSubstr(c.message));
}

TEST(SafetensorsHeader, MustBeAsLongAsTheFileSays) {
  EXPECT_THAT(error_of_bytes(""), HasSubstr("the file has 0 bytes, expected at least 8"));
  EXPECT_THAT(error_of_bytes("1234567"), HasSubstr("the file has 7 bytes, expected at least 8"));
  EXPECT_THAT(error_of_bytes(std::string(8, '\0')), HasSubstr("header begins with ''"));
  EXPECT_THAT(error_of_bytes(std::string("\3\0\0\0\0\0\0\0{}", 10)),
              HasSubstr("the header is said to have 3 bytes, but only 2 follow; the file is cut short"));
  EXPECT_THAT(error_of_bytes(std::string(8, '\xff') + "{}"),
              HasSubstr("the header is said to have 18446744073709551615 bytes, expected at most 100000000"));
  // The limit holds, too, where the file is that long.
  TempFolder folder;
  write_bytes(folder / "f", std::string("\1\xe1\xf5\5\0\0\0\0{}", 10));
  std::filesystem::resize_file(folder / "f", 200'000'000);
  EXPECT_THAT(header_error_of(folder / "f"), HasSubstr("100000001 bytes, expected at most 100000000"));
}

TEST(SafetensorsHeader, AcceptsEmptyTensorsAnywhere) {
  TempFolder folder;
  write_bytes(folder / "f", file_of(R"({"end":{"dtype":"F64","shape":[0,7],"data_offsets":[2,2]},
    "a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"mid":{"dtype":"I64","shape":[0],"data_offsets":[1,1]},
    "b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"h":{"dtype":"F16","shape":[0],"data_offsets":[0,0]}})",
                                    "xy"));
  const TensorFile file = load_safetensors(folder / "f");
  ASSERT_EQ(file.tensors.size(), 5u);
  EXPECT_EQ(file.tensors[0].second.shape(), Shape({0, 7}));
  EXPECT_EQ(file.tensors[3].second.item<int32_t>(), 'y');
  EXPECT_EQ(file.tensors[4].second.dtype(), DType::float16);
}

TEST(SafetensorsHeader, SurvivesEveryTruncation) {
  TempFolder folder;
  save_example(folder / "whole");
  const std::string bytes = read_bytes(folder / "whole");
  for (size_t size = 0; size < bytes.size(); ++size) {
    write_bytes(folder / "f", bytes.substr(0, size));
    header_error_of(folder / "f");
    write_bytes(folder / "f", bytes.substr(size));
    expect_loads_or_error(folder / "f");
  }
  write_bytes(folder / "f", bytes + 'x');
  EXPECT_THAT(header_error_of(folder / "f"), HasSubstr("expected the file's last"));
}

// Changes the file in place, one random edit at a time.
template <typename Edit>
void survive_edits(int rounds, Edit edit) {
  TempFolder folder;
  save_example(folder / "f");
  const std::string bytes = read_bytes(folder / "f");
  const int fd = ::open((folder / "f").c_str(), O_WRONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  std::mt19937 random(7);
  for (int i = 0; i < rounds; ++i) {
    std::string damaged = bytes;
    edit(damaged, random);
    ASSERT_EQ(::pwrite(fd, damaged.data(), damaged.size(), 0), static_cast<ssize_t>(damaged.size()));
    expect_loads_or_error(folder / "f");
  }
  ::close(fd);
}

TEST(SafetensorsHeader, SurvivesFlippedBits) {
  survive_edits(20000, [](std::string& bytes, std::mt19937& random) {
    const size_t bit = random() % (8 * bytes.size());
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
  });
}

TEST(SafetensorsHeader, SurvivesJsonInTheWrongPlaces) {
  survive_edits(20000, [](std::string& bytes, std::mt19937& random) {
    constexpr std::string_view pieces = "{}[]:,\"\"0123456789-.e \\/untrf\xc3\x80";
    const size_t end = bytes.find("  ");
    for (unsigned edits = 1 + random() % 4; edits > 0; --edits)
      bytes[8 + random() % (end - 8)] = pieces[random() % pieces.size()];
  });
}

}  // namespace
}  // namespace thimble
