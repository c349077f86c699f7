#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <zlib.h>

#include "tests/deflate.h"
#include "tests/serialization/arrays.h"
#include "tests/serialization/damage.h"
#include "tests/serialization/files.h"
#include <thimble/core/text.h>
#include <thimble/serialization/npy.h>
#include <thimble/serialization/npz.h>

namespace thimble {
namespace {

using testing::HasSubstr;

const std::string kData = THIMBLE_TEST_DATA "/numpy/";

void read_all_members(const std::filesystem::path& path) {
  for (const auto& [name, array] : load_npz(path)) array.to_vector<double>();
}

std::string npz_error_of(const std::string& bytes) { return format_error_of(bytes, read_all_members); }

std::string little_endian(uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i, value >>= 8) out += static_cast<char>(value);
  return out;
}

// A member as an archive describes it, truthfully unless a test says otherwise.
struct Member {
  explicit Member(std::string member_name, std::string bytes) : name(std::move(member_name)), data(std::move(bytes)) {
    size = data.size();
    checksum = ::crc32(0, reinterpret_cast<const Bytef*>(data.data()), static_cast<uInt>(data.size()));
  }
  std::string name, data;
  uint64_t size = 0, checksum = 0;
  unsigned method = 0, flags = 0;
  int repeats = 1;  // entries of the directory that name it, under names "0name", "1name", ...
};

// Written from the format's description alone and sharing nothing with the library's.
std::string archive_of(const std::vector<Member>& members) {
  std::string data, directory;
  int entries = 0;
  for (const Member& m : members) {
    const std::string offset = little_endian(data.size(), 4);
    const auto fields = [&](const std::string& name) {
      return little_endian(20, 2) + little_endian(m.flags, 2) + little_endian(m.method, 2) + little_endian(0, 4) +
             little_endian(m.checksum, 4) + little_endian(m.data.size(), 4) + little_endian(m.size, 4) +
             little_endian(name.size(), 2) + little_endian(0, 2);
    };
    for (int i = 0; i < m.repeats; ++i, ++entries) {
      const std::string name = m.repeats == 1 ? m.name : std::to_string(i % 10) + std::to_string(i / 10) + m.name;
      if (i == 0) data += "PK\3\4" + fields(name) + name + m.data;
      directory += "PK\1\2" + little_endian(20, 2) + fields(name) + little_endian(0, 10) + offset + name;
    }
  }
  return data + directory + "PK\5\6" + little_endian(0, 4) + little_endian(static_cast<uint64_t>(entries), 2) +
         little_endian(static_cast<uint64_t>(entries), 2) + little_endian(directory.size(), 4) +
         little_endian(data.size(), 4) + little_endian(0, 2);
}

std::string npy_of(const NDArray& array) {
  TempFolder folder;
  save_npy(folder / "f", array);
  return read_bytes(folder / "f");
}

Member deflated_member(const std::string& name, const std::string& bytes) {
  Member member(name, bytes);
  member.data = deflated(bytes, -MAX_WBITS);
  member.method = Z_DEFLATED;
  return member;
}

NamedArrays random_arrays(int count, std::mt19937& random) {
  NamedArrays out;
  for (int i = 0; i < count; ++i) {
    Shape shape;
    for (unsigned dims = random() % 5; dims > 0; --dims) shape.push_back(random() % 6);
    DType dtype = kAllDTypes[random() % std::size(kAllDTypes)];
    if (dtype == DType::bfloat16) dtype = DType::int8;
    const NDArray array = random_array(shape, dtype, random);
    out.emplace_back(str("layer", random() % 3, '.', i), random() % 2 ? random_view(array, random) : array);
  }
  return out;
}

TEST(Npz, ReadsBackRandomArraysInTheirOrder) {
  TempFolder folder;
  std::mt19937 random(1);
  for (int i = 0; i < 50; ++i) {
    const NamedArrays arrays = random_arrays(static_cast<int>(random() % 20), random);
    save_npz(folder / "f", arrays);
    expect_same(load_npz(folder / "f"), arrays);
  }
  const NamedArrays many = random_arrays(3000, random);
  save_npz(folder / "f", many);
  expect_same(load_npz(folder / "f"), many);
}

TEST(Npz, ReadsBackAnyName) {
  TempFolder folder;
  const NamedArrays arrays{{"", NDArray::ones({1})},
                           {"a.npy", NDArray::ones({2})},
                           {"../a/b\\c", NDArray::ones({3})},
                           {"caf\u00e9 \U0001f600\n", NDArray::ones({4})},
                           {std::string(65531, 'x'), NDArray::ones({5})}};
  save_npz(folder / "f", arrays);
  expect_same(load_npz(folder / "f"), arrays);
}

TEST(Npz, TheSameArraysGiveTheSameBytes) {
  TempFolder folder;
  std::mt19937 random(2);
  const NamedArrays arrays = random_arrays(5, random);
  save_npz(folder / "a", arrays);
  save_npz(folder / "b", load_npz(folder / "a"));
  EXPECT_TRUE(read_bytes(folder / "a") == read_bytes(folder / "b"));
}

TEST(Npz, ReadsFilesOfNumPy) {
  const NDArray values = NDArray::from_vector<int64_t>({-2, -1, 0, 1, 2, 3}, {2, 3});
  for (const char* file : {"stored.npz", "deflated.npz"})
    expect_same(load_npz(kData + file), {{"weight", values.to(DType::int8)},
                                         {"zeros", NDArray::zeros({1000})},
                                         {"scale", NDArray::from_vector<float>({0.5f}, {})},
                                         {"folder/caf\u00e9", values}});
  EXPECT_TRUE(load_npz(kData + "none.npz").empty());
}

TEST(Npz, ReadsArchivesOfOthers) {
  TempFolder folder;
  const NDArray a = NDArray::arange(1000), b = NDArray::ones({3}, DType::int8);
  write_bytes(folder / "f", archive_of({deflated_member("a.npy", npy_of(a)), Member("b.npy", npy_of(b))}));
  expect_same(load_npz(folder / "f"), {{"a", a}, {"b", b}});
}

// Python's and NumPy's reader; without them, this test is skipped.
TEST(Npz, IsReadByNumPy) {
  std::string python;
  for (const std::string candidate : {"python3", "/usr/bin/python3"})
    if (python.empty() && std::system((candidate + " -c 'import numpy' 2>/dev/null").c_str()) == 0) python = candidate;
  if (python.empty()) GTEST_SKIP() << "there is no python3 with NumPy";
  TempFolder folder;
  std::mt19937 random(3);
  nlohmann::json expected = nlohmann::json::array();
  const auto describe = [&](const NDArray& array, const std::string& file) -> nlohmann::json& {
    std::string hex;
    for (const unsigned char byte : bytes_of(array)) {
      const char* digits = "0123456789abcdef";
      hex += {digits[byte >> 4], digits[byte & 15]};
    }
    expected.push_back({{"file", (folder / file).native()},
                        {"dtype", name(array.dtype())},
                        {"shape", array.shape().to_vector()},
                        {"bytes", hex}});
    return expected.back();
  };
  const NamedArrays arrays = random_arrays(40, random);
  for (size_t i = 0; i < arrays.size(); ++i) {
    const auto& [name, array] = arrays[i];
    describe(array, "all.npz")["name"] = name;
    describe(array, str(i, ".npy"));
    save_npy(folder / str(i, ".npy"), array);
  }
  save_npz(folder / "all.npz", arrays);
  write_bytes(folder / "expected.json", expected.dump());
  const std::string command = python + " '" + kData + "check.py' '" + (folder / "expected.json").native() + "' >'" +
                              (folder / "out").native() + "' 2>&1";
  EXPECT_EQ(std::system(command.c_str()), 0) << read_bytes(folder / "out");
  EXPECT_EQ(read_bytes(folder / "out"), "80 arrays\n");
}

TEST(Npz, SaysWhatIsWrong) {
  const Member good("a.npy", npy_of(NDArray::ones({3})));
  const auto with = [&](auto change) {
    Member bad = good;
    change(bad);
    return npz_error_of(archive_of({bad}));
  };
  EXPECT_EQ(npz_error_of(""), "it is not a zip archive, or cut short");
  EXPECT_EQ(npz_error_of(npy_of(NDArray::ones({3}))), "it is not a zip archive, or cut short");
  EXPECT_EQ(npz_error_of(archive_of({good, good})), "there are two members 'a.npy'");
  EXPECT_EQ(with([](Member& m) { m.name = "a.txt"; }),
            "member 'a.txt' is not an array, expected .npy at the end of its name");
  EXPECT_EQ(with([](Member& m) { m.name = "\xff.npy"; }), "the name of member '\\xff.npy' is not UTF-8");
  EXPECT_EQ(with([](Member& m) { m.flags = 1; }), "member 'a.npy' is encrypted");
  EXPECT_EQ(with([](Member& m) { m.method = 12; }),
            "member 'a.npy' is compressed by method 12, expected 0 (stored) or 8 (deflated)");
  EXPECT_EQ(with([](Member& m) { m.checksum ^= 1; }), "member 'a.npy' is damaged: its checksum is wrong");
  EXPECT_EQ(with([](Member& m) { m.size = 1 << 30; }),
            "member 'a.npy' is said to hold 1073741824 bytes, which its 140 bytes in the archive cannot be");
  EXPECT_EQ(npz_error_of(archive_of({Member("a.npy", "hello")})),
            "array 'a': begins with 'hello', expected '\\x93NUMPY'");
  const std::string npy = npy_of(NDArray::ones({3}));
  EXPECT_EQ(npz_error_of(archive_of({Member("a.npy", npy + "x")})),
            "array 'a': has 13 bytes of elements, expected 12 for <f4[3]");
  Member cut = deflated_member("a.npy", npy_of(NDArray::arange(1000)));
  cut.data.resize(cut.data.size() / 2);
  EXPECT_THAT(npz_error_of(archive_of({cut})), HasSubstr("member 'a.npy' is damaged after "));
}

TEST(Npz, RefusesBombs) {
  // More than deflate can compress.
  Member bomb = deflated_member("a.npy", npy_of(NDArray::zeros({1000})));
  bomb.size = 4'000'000'000;
  EXPECT_THAT(npz_error_of(archive_of({bomb})), HasSubstr("said to hold 4000000000 bytes"));
  // Possible, but not there.
  Member announced("a.npy", std::string(3'000'000, '\0'));
  announced.method = Z_DEFLATED;
  announced.size = 3'000'000'000;
  EXPECT_THAT(npz_error_of(archive_of({announced})), HasSubstr("member 'a.npy' is damaged after "));
  // Many members of the same bytes.
  Member shared("a.npy", npy_of(NDArray::zeros({10000})));
  shared.repeats = 50;
  EXPECT_THAT(npz_error_of(archive_of({shared})), HasSubstr("bytes of the archive, where at most"));
  // A header that announces little, before much, which is not read: it is damaged.
  Member long_tail = deflated_member("a.npy", npy_of(NDArray::ones({1})) + std::string(100'000'000, '\0'));
  std::fill(long_tail.data.begin() + static_cast<int64_t>(long_tail.data.size() / 2), long_tail.data.end(), '\xff');
  EXPECT_THAT(npz_error_of(archive_of({long_tail})),
              HasSubstr("array 'a': has 100000004 bytes of elements, expected 4"));
  // A small header that announces much.
  const std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }";
  EXPECT_THAT(npz_error_of(archive_of(
                  {Member("a.npy", std::string("\x93NUMPY\1\0", 8) + little_endian(header.size(), 2) + header)})),
              HasSubstr("has 0 bytes of elements, expected 4000000000000 for"));
}

TEST(Npz, SaysThatZip64IsNotSupported) {
  Member member("a.npy", npy_of(NDArray::ones({1})));
  member.size = 0xffffffff;
  EXPECT_THAT(npz_error_of(archive_of({member})), HasSubstr("member 'a.npy' is described in the zip64 format"));
}

TEST(Npz, SurvivesDamage) {
  TempFolder folder;
  save_npz(folder / "f", {{"weight", NDArray::arange(6, DType::int8).reshape({2, 3})}, {"scale", NDArray::ones({})}});
  for (const std::string& good :
       {read_bytes(folder / "f"), archive_of({deflated_member("a.npy", npy_of(NDArray::arange(10)))})}) {
    expect_prefixes_refused(good, read_all_members);
    expect_flips_survived(good, read_all_members);
  }
}

TEST(Npz, RefusesToWriteWhatItCouldNotRead) {
  TempFolder folder;
  const NDArray a = NDArray::ones({1});
  const auto error_of_saving = [&](const NamedArrays& arrays) {
    return message_of<ValueError>([&] { save_npz(folder / "f", arrays); });
  };
  EXPECT_EQ(error_of_saving({{"a", a}, {"b", a}, {"a", a}}), "zip: two members are named 'a.npy'");
  EXPECT_EQ(error_of_saving({{"\xff", a}}), "zip: member name '\\xff.npy' is not UTF-8 or holds a zero byte");
  EXPECT_THAT(error_of_saving({{std::string("a\0b", 3), a}}), HasSubstr("zero byte"));
  EXPECT_THAT(error_of_saving({{std::string(65532, 'x'), a}}), HasSubstr("the format allows 65535"));
  EXPECT_EQ(error_of_saving({{"a", NDArray()}}), "save_npz: array 'a' is undefined");
  EXPECT_EQ(folder.entries(), 0);
}

TEST(Npz, SaysWhatCannotBeReadOrWritten) {
  EXPECT_THAT(message_of<IOError>([] { load_npz("/none/f"); }), HasSubstr("cannot read '/none/f'"));
  EXPECT_THAT(message_of<IOError>([] { save_npz("/none/f", {}); }), HasSubstr("cannot write '/none/f'"));
}

}  // namespace
}  // namespace thimble
