// Checksums find every damaged bit of a file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/serialization/arrays.h"
#include "tests/serialization/damage.h"
#include "tests/serialization/round_trip.h"
#include "tests/serialization/safetensors_bytes.h"
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/quantize.h>
#include <thimble/serialization/safetensors.h>

namespace thimble {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

class Checksums : public CheckpointTest {
 protected:
  bool verify_bytes(const std::string& bytes) {
    write_bytes(file, bytes);
    return verify_safetensors(file);
  }
};

TEST_F(Checksums, OfWhatWasSavedAreRight) {
  std::mt19937 random(1);
  save_safetensors(file, {}, {});
  EXPECT_TRUE(verify_safetensors(file));
  for (int i = 0; i < 30; ++i) {
    NamedArrays arrays;
    for (DType dtype : kAllDTypes)
      arrays.emplace_back(std::string(name(dtype)), random_view(random_array({3, i % 4, 5}, dtype, random), random));
    save_safetensors(file, {{"length", std::string(static_cast<size_t>(i), 'x')}}, arrays);
    EXPECT_TRUE(verify_safetensors(file));
  }
}

TEST_F(Checksums, AreNoPartOfTheMetadata) {
  const std::map<std::string, std::string> metadata{{"a", "first in order"}, {"z", "last"}};
  save_safetensors(file, metadata, {{"t", NDArray::ones({3})}});
  EXPECT_EQ(load_safetensors(file).metadata, metadata);
}

TEST_F(Checksums, AreMissingFromFilesOfOthersWhichLoad) {
  EXPECT_FALSE(verify_bytes(file_of(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "xy")));
  EXPECT_FALSE(verify_bytes(file_of(R"({"__metadata__":{"format":"pt"}})", "")));
  EXPECT_FALSE(verify_bytes(file_of(R"({"__metadata__":{"format":"thimble","format_version":"1.0"}})", "")));
  EXPECT_THAT(message_of<FormatError>([&] {
                (void)verify_bytes(file_of(R"({"__metadata__":{"format":"thimble","format_version":"1.1"}})", ""));
              }),
              HasSubstr("its checksums ('thimble.crc32') are missing"));
}

TEST_F(Checksums, CanBeDemandedWhenLoading) {
  std::mt19937 random(2);
  const NDArray view = random_array({3, 4}, DType::float32, random).transpose(0, 1);
  save_safetensors(file, {{"k", "v"}}, {{"t", view}});
  const TensorFile loaded = load_verified_safetensors(file);
  EXPECT_EQ(loaded.metadata.at("k"), "v");
  EXPECT_EQ(loaded.tensors.at(0).second.to_vector<float>(), view.to_vector<float>());
  std::string bytes = read_bytes(file);
  bytes.back() ^= 1;
  const auto demand = [](const auto& path) { (void)load_verified_safetensors(path); };
  EXPECT_THAT(format_error_of(bytes, demand), HasSubstr("tensor 't' has checksum"));
  EXPECT_THAT(format_error_of(file_of(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "xy"), demand),
              HasSubstr("no checksums"));
}

TEST_F(Checksums, NameTheTensorThatIsDamagedAndBothSums) {
  save_safetensors(file, {}, {{"fine", NDArray::ones({3})}, {"bad", NDArray::ones({5}, DType::int8)}});
  std::string bytes = read_bytes(file);
  bytes.back() ^= 1;
  EXPECT_THAT(format_error_of(bytes, [](const auto& path) { (void)verify_safetensors(path); }),
              MatchesRegex("tensor 'bad' has checksum [0-9a-f]{8}, expected '[0-9a-f]{8}'; the file is damaged"));
  write_bytes(file, bytes);
  EXPECT_EQ(load_safetensors(file).tensors.size(), 2u) << "loading alone does not look";
}

TEST_F(Checksums, NameTheHeader) {
  save_safetensors(file, {{"k", "value, and text that makes for some padding"}}, {{"t", NDArray::ones({3})}});
  const std::string bytes = read_bytes(file);
  const auto error_of = [&](const std::string& from, const std::string& to) {
    std::string changed = bytes;
    changed.replace(changed.find(from), from.size(), to);
    return format_error_of(changed, [](const auto& path) { (void)verify_safetensors(path); });
  };
  for (const auto& [from, to] : {std::pair("value", "Value"), {"\"t\"", "\"u\""}, {"} ", "}\n"}})
    EXPECT_THAT(error_of(from, to), MatchesRegex("header has checksum [0-9a-f]{8}, expected '[0-9a-f]{8}'; .*"));
}

// The checksums came along as metadata.
TEST_F(Checksums, AreWrongWhereAnotherProgramHasRewrittenTheFile) {
  const auto error_of = [](const std::string& header) {
    return format_error_of(file_of(header, "x"), [](const auto& path) { (void)verify_safetensors(path); });
  };
  EXPECT_THAT(error_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"__metadata__":{"thimble.crc32":""}})"),
              HasSubstr("header does not begin with its checksums"));
  EXPECT_THAT(error_of(R"({"__metadata__":{"thimble.crc32":""},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})"),
              HasSubstr("header has checksum"));
  EXPECT_THAT(error_of(R"({"__metadata__":{"thimble.crc32":""},"":{"shape":[1],"dtype":"U8","data_offsets":[0,1]}})"),
              HasSubstr("header has checksum"));
}

TEST_F(Checksums, OfAFileThatIsMissingAreAnIOError) {
  EXPECT_THAT(message_of<IOError>([] { (void)verify_safetensors("/none/f"); }), HasSubstr("cannot read '/none/f'"));
}

// A model whose file has suffered.
class DamagedModel : public Checksums {
 protected:
  nn::Graph float32 = [] {
    manual_seed(1);
    nn::Sequential model(nn::Linear(5, 4), nn::ReLU(), nn::Linear(4, 3));
    return nn::trace(model.eval(), Tensor(random_input({2, 5})));
  }();
  nn::Graph int8 = quant::quantize_model(float32, [](nn::Graph& prepared) { prepared(Tensor(random_input({9, 5}))); });
  const Tensor x = random_input({2, 5});
};

TEST_F(DamagedModel, IsRefusedWhenCutShort) {
  for (const nn::Graph* graph : {&float32, &int8}) {
    save_model(*graph, file);
    const std::string good = read_bytes(file);
    EXPECT_TRUE(verify_safetensors(file));
    expect_prefixes_refused(good, [](const auto& path) { (void)verify_safetensors(path); });
    expect_prefixes_refused(good, [](const auto& path) { load_model(path); });
  }
}

// Never another model than was saved: a model that runs, or an error, and in any case the sums tell.
TEST_F(DamagedModel, IsFoundByChecksumsWhicheverBitFlips) {
  save_model(int8, file);
  expect_flips_survived(read_bytes(file), [&](const std::filesystem::path& path) {
    try {
      nn::Graph loaded = load_model(path);
      loaded(x);
    } catch (const Error&) {
    }
    (void)verify_safetensors(path);
    ADD_FAILURE() << "a flipped bit was not found";
  });
}

}  // namespace
}  // namespace thimble
