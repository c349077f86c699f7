#include <algorithm>
#include <csignal>
#include <cstring>
#include <limits>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>
#include <tests/serialization/arrays.h>
#include <tests/serialization/files.h>

#include "tests/serialization/safetensors_bytes.h"
#include <thimble/serialization/safetensors.h>

namespace thimble {
namespace {

using testing::HasSubstr;
using Tensors = NamedArrays;

Tensors random_tensors(int count, std::mt19937& random) {
  Tensors out;
  for (int i = 0; i < count; ++i) {
    Shape shape;
    for (unsigned dims = random() % 5; dims > 0; --dims) shape.push_back(random() % 6);
    NDArray array = random_array(shape, kAllDTypes[random() % std::size(kAllDTypes)], random);
    if (random() % 2) array = random_view(array, random);
    out.emplace_back(str("t", i), array);
  }
  std::shuffle(out.begin(), out.end(), random);
  return out;
}

// "\x3c\0\0\0\0\0\0\0{...}data"
TensorFile load_bytes(const std::string& bytes) {
  TempFolder folder;
  write_bytes(folder / "f", bytes);
  return load_safetensors(folder / "f");
}

TEST(Safetensors, ReadsBackEveryDtypeAndShape) {
  TempFolder folder;
  std::mt19937 random(1);
  for (DType dtype : kAllDTypes) {
    const Tensors tensors{
        {"scalar", random_array({}, dtype, random)},
        {"one", random_array({1}, dtype, random)},
        {"empty", random_array({0}, dtype, random)},
        {"empty3", random_array({3, 0, 2}, dtype, random)},
        {"matrix", random_array({3, 5}, dtype, random)},
        {"image", random_array({2, 3, 7, 5}, dtype, random)},
        {"deep", random_array({1, 2, 1, 2, 1, 2, 1, 2}, dtype, random)},
    };
    save_safetensors(folder / "f", {}, tensors);
    expect_same(load_safetensors(folder / "f").tensors, tensors);
  }
}

TEST(Safetensors, ReadsBackRandomTensorsAndViewsInTheirOrder) {
  TempFolder folder;
  std::mt19937 random(2);
  for (int i = 0; i < 100; ++i) {
    const Tensors tensors = random_tensors(static_cast<int>(random() % 20), random);
    save_safetensors(folder / "f", {}, tensors);
    expect_same(load_safetensors(folder / "f").tensors, tensors);
  }
}

TEST(Safetensors, ReadsBackThousandsOfTensors) {
  TempFolder folder;
  std::mt19937 random(3);
  const Tensors tensors = random_tensors(5000, random);
  save_safetensors(folder / "f", {}, tensors);
  expect_same(load_safetensors(folder / "f").tensors, tensors);
}

TEST(Safetensors, ReadsBackAnyTextInNamesAndMetadata) {
  TempFolder folder;
  const std::map<std::string, std::string> metadata{
      {"", ""}, {"graph", R"({"nodes": ["a\\b"]})"}, {"caf\u00e9", "\u20ac \U0001f600"}, {"lines", "a\nb\t\x01\x7f"}};
  const Tensors tensors{{"", NDArray::ones({1})},
                        {"a \"quoted\" name\n", NDArray::ones({2})},
                        {"\u03b3.\U0001f600", NDArray::ones({3})},
                        {std::string("zero\0byte", 9), NDArray::ones({4})}};
  save_safetensors(folder / "f", metadata, tensors);
  const TensorFile file = load_safetensors(folder / "f");
  EXPECT_EQ(file.metadata, metadata);
  expect_same(file.tensors, tensors);
  save_safetensors(folder / "f", {}, {});
  EXPECT_TRUE(load_safetensors(folder / "f").tensors.empty());
}

TEST(Safetensors, BorrowsAlignedMemory) {
  TempFolder folder;
  std::mt19937 random(4);
  for (int i = 0; i < 20; ++i) {
    save_safetensors(folder / "f", {{"x", std::string(random() % 100, 'x')}}, random_tensors(30, random));
    for (const auto& [name, array] : load_safetensors(folder / "f").tensors)
      EXPECT_EQ(reinterpret_cast<uintptr_t>(array.raw()) % itemsize(array.dtype()), 0u) << name;
  }
  save_safetensors(folder / "f", {}, {{"a", NDArray::ones({10})}, {"b", NDArray::ones({10})}});
  const TensorFile file = load_safetensors(folder / "f");
  const auto a = reinterpret_cast<uintptr_t>(file.tensors[0].second.raw());
  const auto b = reinterpret_cast<uintptr_t>(file.tensors[1].second.raw());
  EXPECT_EQ(a % 64, 0u);
  EXPECT_EQ(b - a, 40u) << "side by side as in the file: not copied";
}

TEST(Safetensors, WritesWhatItsFormatSays) {
  TempFolder folder;
  const Tensors tensors{{"b", NDArray::from_vector<int8_t>({1, -2, 3})},
                        {"w", NDArray::from_vector<float>({1.5f, -2}, {2, 1})},
                        {"a", NDArray::from_vector<uint8_t>({7})}};
  save_safetensors(folder / "f", {{"k", "v"}}, tensors);
  std::string header =
      R"({"__metadata__":{"thimble.crc32":"de7defde edb52eac ccdf2c3a 4c667a2e","k":"v"},"b":{"dtype":"I8","shape":[3],"data_offsets":[9,12]},)"
      R"("w":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"a":{"dtype":"U8","shape":[1],"data_offsets":[8,9]}})";
  header.resize((header.size() + 8 + 63) / 64 * 64 - 8, ' ');
  EXPECT_EQ(read_bytes(folder / "f"), file_of(header, std::string("\0\0\xc0\x3f\0\0\0\xc0\7\1\xfe\3", 12)));
}

// A second reader, written from the format's description alone and sharing nothing with the library's.
TEST(Safetensors, IsReadByAnIndependentReader) {
  const std::map<std::string, std::pair<DType, size_t>> types{
      {"F32", {DType::float32, 4}}, {"F64", {DType::float64, 8}}, {"BF16", {DType::bfloat16, 2}},
      {"I8", {DType::int8, 1}},     {"U8", {DType::uint8, 1}},    {"I32", {DType::int32, 4}},
      {"I64", {DType::int64, 8}},   {"F16", {DType::float16, 2}}, {"I16", {DType::int16, 2}},
      {"U16", {DType::uint16, 2}},  {"U32", {DType::uint32, 4}},  {"U64", {DType::uint64, 8}},
      {"BOOL", {DType::bool_, 1}}};
  TempFolder folder;
  std::mt19937 random(5);
  for (int round = 0; round < 30; ++round) {
    const Tensors tensors = random_tensors(20, random);
    save_safetensors(folder / "f", {{"round", std::to_string(round)}}, tensors);

    const std::string bytes = read_bytes(folder / "f");
    size_t length = 0;
    for (size_t i = 0; i < 8; ++i) length |= static_cast<size_t>(static_cast<unsigned char>(bytes[i])) << 8 * i;
    const auto header = nlohmann::ordered_json::parse(bytes.substr(8, length));
    const std::string data = bytes.substr(8 + length);
    EXPECT_EQ((8 + length) % 64, 0u);
    EXPECT_EQ(bytes[8], '{');
    EXPECT_EQ(header.begin().key(), "__metadata__");
    EXPECT_EQ(header["__metadata__"]["round"], std::to_string(round));
    EXPECT_EQ(header.size(), tensors.size() + 1);

    std::map<std::pair<size_t, size_t>, int> ranges;
    for (const auto& [name, array] : tensors) {
      const auto& entry = header[name];
      const auto [dtype, width] = types.at(entry["dtype"]);
      const auto shape = entry["shape"].get<std::vector<int64_t>>();
      const auto [begin, end] = entry["data_offsets"].get<std::pair<size_t, size_t>>();
      size_t size = width;
      for (int64_t d : shape) size *= static_cast<size_t>(d);
      EXPECT_EQ(dtype, array.dtype());
      EXPECT_EQ(shape, array.shape().to_vector());
      EXPECT_EQ(end - begin, size);
      EXPECT_EQ(begin % width, 0u);
      EXPECT_EQ(data.substr(begin, end - begin), bytes_of(array));
      ++ranges[{begin, end}];
    }
    size_t covered = 0;
    for (const auto& [range, count] : ranges) {
      EXPECT_EQ(range.first, covered);
      EXPECT_TRUE(count == 1 || range.first == range.second);
      covered = range.second;
    }
    EXPECT_EQ(covered, data.size());
  }
}

TEST(Safetensors, ReadsFilesOfOthers) {
  // Spaces, another order of fields, escapes, no padding, so that nothing is aligned.
  const float values[] = {1, -2.5f, 3e38f};
  const int64_t numbers[] = {1, std::numeric_limits<int64_t>::min()};
  std::string data = "\1";
  data.append(reinterpret_cast<const char*>(values), sizeof values);
  data.append(reinterpret_cast<const char*>(numbers), sizeof numbers);
  for (size_t padding = 0; padding < 8; ++padding) {
    const std::string header = R"({ "late":{"data_offsets":[13, 29],"dtype":"I64", "shape":[2]},
      "caf\u00e9" : {"shape":[3],"dtype":"F32","data_offsets":[1,13]}, "__metadata__":{"format":"pt"},
      "first":{"dtype":"BOOL","shape":[],"data_offsets":[0,1]}})" +
                               std::string(padding, ' ');
    const TensorFile file = load_bytes(file_of(header, data));
    EXPECT_EQ(file.metadata, (std::map<std::string, std::string>{{"format", "pt"}}));
    expect_same(file.tensors, {{"late", NDArray::from_vector<int64_t>({numbers[0], numbers[1]})},
                               {"caf\u00e9", NDArray::from_vector<float>({values[0], values[1], values[2]})},
                               {"first", NDArray::ones({}, DType::bool_)}});
    for (const auto& [name, array] : file.tensors)
      EXPECT_EQ(reinterpret_cast<uintptr_t>(array.raw()) % itemsize(array.dtype()), 0u) << name;
  }
}

TEST(Safetensors, ReadsFloat16AsItIs) {
  const uint16_t halves[] = {0x3c00, 0xc000, 0x7bff, 0x0001, 0x7c00, 0x8000};
  std::string data(reinterpret_cast<const char*>(halves), sizeof halves);
  for (const std::string padding : {"", " "}) {
    const TensorFile file =
        load_bytes(file_of(R"({"h":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]}})" + padding, data));
    const NDArray& array = file.tensors[0].second;
    EXPECT_EQ(array.dtype(), DType::float16);
    EXPECT_EQ(bytes_of(array), data);
    const float infinity = std::numeric_limits<float>::infinity();
    expect_same(array.to(DType::float32),
                NDArray::from_vector<float>({1, -2, 65504, 0x1p-24f, infinity, -0.0f}, {2, 3}), "h");
  }
}

TEST(Safetensors, EveryByteOfABoolButZeroIsTrue) {
  for (const std::string& bytes : {std::string("\0\1\1\0", 4), std::string("\0\xff\2\0", 4)}) {
    const TensorFile file = load_bytes(file_of(R"({"b":{"dtype":"BOOL","shape":[2,2],"data_offsets":[0,4]}})", bytes));
    expect_same(file.tensors, {{"b", NDArray::from_vector<bool>({false, true, true, false}, {2, 2})}});
  }
}

// One tensor of each type that Thimble has no dtype for, beside one that it has.
TEST(Safetensors, ReadsTensorsOfForeignTypesAsBytesAndWritesThemAgain) {
  const struct {
    const char* dtype;
    Shape shape;
    size_t bytes;
  } types[] = {{"F8_E4M3", {2, 3}, 6},  {"F8_E5M2", {0}, 0},     {"F8_E8M0", {}, 1},
               {"F8_E4M3FNUZ", {1}, 1}, {"F8_E5M2FNUZ", {2}, 2}, {"C64", {2, 1, 1, 1, 1, 1, 1, 1}, 16},
               {"F4", {3, 2}, 3},       {"F6_E2M3", {4}, 3},     {"F6_E3M2", {2, 2}, 3}};
  TempFolder folder;
  for (const auto& type : types) {
    std::string data = "\1\2\3\4";
    for (size_t i = 0; i < type.bytes; ++i) data += static_cast<char>(250 + i);
    const std::string header =
        str(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"x":{"dtype":")", type.dtype, R"(","shape":)",
            type.shape, R"(,"data_offsets":[4,)", data.size(), "]}}");
    const TensorFile file = load_bytes(file_of(header, data));
    ASSERT_EQ(file.tensors.size(), 2u);
    EXPECT_EQ(file.tensors[0].second.dtype(), DType::float32);
    const NDArray& raw = file.tensors[1].second;
    EXPECT_EQ(raw.dtype(), DType::uint8);
    EXPECT_EQ(raw.shape(),
              std::string(type.dtype).starts_with("F8") ? type.shape : Shape{static_cast<int64_t>(type.bytes)});
    EXPECT_EQ(bytes_of(raw), data.substr(4));
    ASSERT_EQ(file.foreign.size(), 1u);
    EXPECT_EQ(file.foreign.at("x").dtype, type.dtype);
    EXPECT_EQ(file.foreign.at("x").shape, type.shape);

    save_safetensors(folder / "f", file);
    EXPECT_TRUE(verify_safetensors(folder / "f"));
    const TensorFile again = load_safetensors(folder / "f");
    expect_same(again.tensors, file.tensors);
    EXPECT_EQ(again.foreign.at("x").dtype, type.dtype);
    EXPECT_EQ(again.foreign.at("x").shape, type.shape);
  }
}

TEST(Safetensors, NullMetadataIsNone) {
  const TensorFile file =
      load_bytes(file_of(R"({"__metadata__":null,"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "\7"));
  EXPECT_TRUE(file.metadata.empty());
  expect_same(file.tensors, {{"b", NDArray::full({1}, 7, DType::uint8)}});
}

TEST(Safetensors, TrainsInPlaceWithoutTouchingTheFile) {
  TempFolder folder;
  save_safetensors(folder / "f", {}, {{"w", NDArray::ones({100, 100})}});
  const std::string before = read_bytes(folder / "f");
  TensorFile file = load_safetensors(folder / "f");
  NDArray weights = file.tensors[0].second;
  weights.fill(2);
  file = {};
  EXPECT_EQ(read_bytes(folder / "f"), before);
  EXPECT_EQ(load_safetensors(folder / "f").tensors[0].second.slice(0, 0, 1).to_vector<float>(),
            std::vector<float>(100, 1));
  // Saving over the file that the weights are mapped from.
  save_safetensors(folder / "f", {}, {{"w", weights.transpose(0, 1)}, {"v", weights}});
  expect_same(weights, NDArray::full({100, 100}, 2), "w");
  expect_same(load_safetensors(folder / "f").tensors[0].second, NDArray::full({100, 100}, 2), "w");
}

TEST(Safetensors, ReadInsteadOfMappedKeepsWhatItHoldsWhenTheFileChanges) {
  TempFolder folder;
  save_safetensors(folder / "f", {}, {{"w", NDArray::ones({3})}});
  const TensorFile file = load_safetensors(folder / "f", {.mapped = false});
  const size_t size = read_bytes(folder / "f").size();
  write_bytes(folder / "f", std::string(size, 'x'));  // in place, as another program may
  expect_same(file.tensors, {{"w", NDArray::ones({3})}});
  std::filesystem::resize_file(folder / "f", 0);  // what is mapped is gone: a read of it would end the program
  expect_same(file.tensors, {{"w", NDArray::ones({3})}});
}

TEST(Safetensors, RefusesToWriteWhatItCouldNotRead) {
  TempFolder folder;
  const NDArray a = NDArray::ones({1});
  const auto error_of = [&](const std::map<std::string, std::string>& metadata, const Tensors& tensors) {
    return message_of<ValueError>([&] { save_safetensors(folder / "f", metadata, tensors); });
  };
  EXPECT_EQ(error_of({}, {{"a", a}, {"b", a}, {"a", a}}), "save: two tensors are named 'a'");
  EXPECT_EQ(error_of({}, {{"__metadata__", a}}), "save: a tensor cannot be named __metadata__");
  EXPECT_EQ(error_of({}, {{"\xff", a}}), "save: tensor name '\\xff' is not UTF-8");
  EXPECT_EQ(error_of({{"thimble.crc32", ""}}, {}), "save: metadata cannot be named thimble.crc32");
  EXPECT_EQ(error_of({{"k", "\xff"}}, {}), "save: metadata 'k' is not UTF-8");
  EXPECT_EQ(error_of({{"\xff", "v"}}, {}), "save: metadata '\\xff' is not UTF-8");
  EXPECT_EQ(error_of({}, {{"a", NDArray()}}), "save: tensor 'a' is undefined");
  const auto error_of_foreign = [&](const ForeignTensor& foreign, const NDArray& array) {
    return message_of<ValueError>([&] { save_safetensors(folder / "f", {{}, {{"a", array}}, {{"a", foreign}}}); });
  };
  const NDArray bytes = NDArray::ones({8}, DType::uint8);
  EXPECT_EQ(error_of_foreign({"F8", {8}}, bytes), "save: tensor 'a' has dtype 'F8', which the format lacks");
  EXPECT_EQ(error_of_foreign({"C64", {2}}, bytes), "save: tensor 'a' is uint8[8], expected the uint8 bytes of C64[2]");
  EXPECT_EQ(error_of_foreign({"F8_E4M3", {1}}, a),
            "save: tensor 'a' is float32[1], expected the uint8 bytes of F8_E4M3[1]");
  EXPECT_THAT(error_of({{"k", std::string(100'000'000, 'x')}}, {}), HasSubstr("the format allows 100000000"));
  EXPECT_EQ(folder.entries(), 0);
}

TEST(Safetensors, KeepsTheOldFileWhereTheNewOneDoesNotFit) {
  TempFolder folder;
  const Tensors old{{"w", NDArray::ones({10})}};
  save_safetensors(folder / "f", {}, old);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit limit{4096, before.rlim_max};
  auto* handler = std::signal(SIGXFSZ, SIG_IGN);
  ::setrlimit(RLIMIT_FSIZE, &limit);
  const std::string message = message_of<IOError>([&] {
    save_safetensors(folder / "f", {}, {{"w", NDArray::ones({10000})}});
  });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(message, HasSubstr("File too large"));
  expect_same(load_safetensors(folder / "f").tensors, old);
  EXPECT_EQ(folder.entries(), 1);
}

TEST(Safetensors, SaysWhichFileIsMissing) {
  EXPECT_THAT(message_of<IOError>([] { load_safetensors("/none/f"); }),
              HasSubstr("cannot read '/none/f': No such file or directory"));
  EXPECT_THAT(message_of<IOError>([] { save_safetensors("/none/f", {}, {}); }),
              HasSubstr("cannot write '/none/f': No such file or directory"));
}

}  // namespace
}  // namespace thimble
