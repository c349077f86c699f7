#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/serialization/arrays.h"
#include "tests/serialization/damage.h"
#include "tests/serialization/files.h"
#include <thimble/serialization/npy.h>

namespace thimble {
namespace {

using testing::HasSubstr;

NDArray of_numpy(const std::string& name) { return load_npy(std::string(THIMBLE_TEST_DATA "/numpy/") + name + ".npy"); }

void read_array(const std::filesystem::path& path) { load_npy(path).to_vector<double>(); }

// A file of version 1.0 with this header.
std::string npy_of(const std::string& header, const std::string& elements = "") {
  const auto size = static_cast<uint16_t>(header.size());
  return std::string("\x93NUMPY\1\0", 8) + static_cast<char>(size & 0xff) + static_cast<char>(size >> 8) + header +
         elements;
}

std::string npy_error_of(const std::string& header, const std::string& elements = "") {
  return format_error_of(npy_of(header, elements), read_array);
}

TEST(Npy, ReadsBackEveryDtypeAndShape) {
  TempFolder folder;
  std::mt19937 random(1);
  for (DType dtype : kAllDTypes) {
    if (dtype == DType::bfloat16) continue;
    for (const Shape& shape : {Shape{}, Shape{1}, Shape{3}, Shape{0}, Shape{3, 0, 2}, Shape{3, 5}, Shape{2, 3, 7, 5},
                               Shape{1, 2, 1, 2, 1, 2, 1, 2}}) {
      const NDArray array = random_array(shape, dtype, random);
      save_npy(folder / "f", array);
      expect_same(load_npy(folder / "f"), array, str(dtype, shape));
      if (shape.ndim() == Shape::kMaxDims) continue;  // cannot be broadcast
      const NDArray view = random_view(array, random);
      save_npy(folder / "f", view);
      expect_same(load_npy(folder / "f"), view, str("view of ", dtype, shape));
    }
  }
}

TEST(Npy, WritesBfloat16AsFloat32) {
  TempFolder folder;
  const NDArray array = NDArray::from_vector<float>({1.5f, -3, 0x1p100f}, {3, 1});
  save_npy(folder / "f", array.to(DType::bfloat16));
  expect_same(load_npy(folder / "f"), array, "bfloat16");
}

TEST(Npy, WritesWhatItsFormatSays) {
  TempFolder folder;
  const auto bytes_for = [&](const NDArray& array) {
    save_npy(folder / "f", array);
    return read_bytes(folder / "f");
  };
  const auto padded = [](std::string header) {
    header.resize(128 - 10 - 1, ' ');
    return header + '\n';
  };
  EXPECT_EQ(bytes_for(NDArray::from_vector<int32_t>({1, -1}, {2, 1})),
            npy_of(padded("{'descr': '<i4', 'fortran_order': False, 'shape': (2, 1), }"),
                   std::string("\1\0\0\0\xff\xff\xff\xff", 8)));
  EXPECT_EQ(bytes_for(NDArray::from_vector<uint8_t>({7})),
            npy_of(padded("{'descr': '|u1', 'fortran_order': False, 'shape': (1,), }"), "\7"));
  EXPECT_EQ(bytes_for(NDArray::from_vector<int8_t>({-7}, {})),
            npy_of(padded("{'descr': '|i1', 'fortran_order': False, 'shape': (), }"), "\xf9"));
}

// The same bytes as NumPy's, but for the padding, of which different versions of NumPy write more or less.
TEST(Npy, WritesWhatNumPyWrites) {
  TempFolder folder;
  for (const char* name : {"float32", "float64", "float16", "int8", "uint8", "int16", "uint16", "int32", "uint32",
                           "int64", "uint64", "bool", "scalar", "one", "empty"}) {
    save_npy(folder / "f", of_numpy(name));
    EXPECT_EQ(read_bytes(folder / "f"), read_bytes(std::string(THIMBLE_TEST_DATA "/numpy/") + name + ".npy")) << name;
  }
}

TEST(Npy, ReadsFilesOfNumPy) {
  const std::vector<int32_t> values{-2, -1, 0, 1, 2, 3};
  for (DType dtype : kAllDTypes) {
    if (dtype == DType::bfloat16) continue;
    expect_same(of_numpy(std::string(name(dtype))), NDArray::from_vector(values, {2, 3}).to(dtype), str(dtype));
  }
  expect_same(of_numpy("scalar"), NDArray::from_vector<float>({2.5f}, {}), "scalar");
  expect_same(of_numpy("one"), NDArray::from_vector<int64_t>({7}), "one");
  expect_same(of_numpy("empty"), NDArray({3, 0, 2}, DType::int8), "empty");
  for (const char* version : {"version_1", "version_2", "version_3"})
    expect_same(of_numpy(version), NDArray::from_vector(values, {2, 3}), version);
}

TEST(Npy, ReadsTheOtherOrders) {
  const NDArray values = NDArray::from_vector<int32_t>({-2, -1, 0, 1, 2, 3}, {2, 3});
  expect_same(of_numpy("fortran_order"), values.to(DType::float32), "fortran_order");
  expect_same(of_numpy("fortran_order_3d"), NDArray::arange(24, DType::int32).reshape({2, 3, 4}), "3d");
  EXPECT_TRUE(of_numpy("fortran_order_3d").is_contiguous());
  expect_same(of_numpy("big_endian_f2"), values.to(DType::float16), "f2");
  expect_same(of_numpy("big_endian_f4"), values.to(DType::float32), "f4");
  expect_same(of_numpy("big_endian_f8"), values.to(DType::float64), "f8");
  expect_same(of_numpy("big_endian_i4"), values, "i4");
  expect_same(of_numpy("big_endian_i8"), values.to(DType::int64), "i8");
  expect_same(of_numpy("big_endian_i2"), values.to(DType::int16), "i2");
  expect_same(of_numpy("big_endian_u2"), values.to(DType::uint16), "u2");
  expect_same(of_numpy("big_endian_u4"), values.to(DType::uint32), "u4");
  expect_same(of_numpy("big_endian_u8"), values.to(DType::uint64), "u8");
  expect_same(of_numpy("big_endian_fortran_order"), values, "both");
}

TEST(Npy, ReadsHeadersOfOthers) {
  TempFolder folder;
  const NDArray expected = NDArray::from_vector<int32_t>({1, 2}, {1, 2});
  const std::string elements("\1\0\0\0\2\0\0\0", 8);
  for (const char* header : {"{'descr':'<i4','fortran_order':False,'shape':(1,2)}",
                             "{ \"shape\" : ( 1 , 2 , ) , \"fortran_order\" : False , \"descr\" : \"<i4\" , } ",
                             "{'fortran_order': False, 'shape': (1, 2), 'descr': '<i4'}\n\n"}) {
    write_bytes(folder / "f", npy_of(header, elements));  // not aligned
    expect_same(load_npy(folder / "f"), expected, header);
  }
}

TEST(Npy, SaysWhatIsWrong) {
  const std::string good = "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }";
  const auto with_shape = [&](const std::string& shape) { return good.substr(0, good.find('(')) + shape + "}"; };
  const auto with_descr = [&](const std::string& descr) { return "{'descr': " + descr + good.substr(15); };
  EXPECT_EQ(format_error_of("", read_array), "begins with '', expected '\\x93NUMPY'");
  EXPECT_THAT(format_error_of("PK\3\4abcdefgh", read_array), HasSubstr("expected '\\x93NUMPY'"));
  EXPECT_EQ(format_error_of(std::string("\x93NUMPY\4\0\0\0", 10), read_array),
            "has format version 4.0, expected 1.0, 2.0 or 3.0");
  EXPECT_EQ(format_error_of(std::string("\x93NUMPY\2\0\0\0\1\0", 12), read_array),
            "the header is said to have 65536 bytes, expected at most 65535");
  EXPECT_EQ(format_error_of(std::string("\x93NUMPY\1\0\5\0{}", 12), read_array),
            "the header is said to have 5 bytes, but only 2 follow");
  EXPECT_EQ(npy_error_of(good, "1234567"), "has 7 bytes of elements, expected 8 for <i4[2]");
  EXPECT_EQ(npy_error_of(good, "123456789"), "has 9 bytes of elements, expected 8 for <i4[2]");
  EXPECT_EQ(npy_error_of(""), "the header has its end at its byte 0, expected '{'");
  EXPECT_EQ(npy_error_of("{}"), "the header has no 'descr'");
  EXPECT_EQ(npy_error_of("{'descr': '<i4', 'descr': '<i4'}"), "the header has 'descr' twice");
  EXPECT_EQ(npy_error_of("{'colour': 1}"),
            "the header has an unknown entry 'colour', expected descr, fortran_order and shape");
  EXPECT_EQ(npy_error_of(good + "x"), "the header has 'x' at its byte 57, expected nothing more");
  EXPECT_EQ(npy_error_of("{'descr': '<i4' 'shape'"), "the header has ''shape'' at its byte 16, expected '}'");
  EXPECT_EQ(npy_error_of("{'fortran_order': Maybe}"), "the header has 'Maybe}' at its byte 18, expected 'False'");
  EXPECT_EQ(npy_error_of("{'descr"), "the header has ''descr' at its byte 1, expected a string without escapes");
  EXPECT_THAT(npy_error_of(with_descr("'<c8'")), HasSubstr("descr is '<c8', expected '<' or '>' and one of f4, f8"));
  EXPECT_THAT(npy_error_of(with_descr("'|i4'")), HasSubstr("descr is '|i4'"));
  EXPECT_THAT(npy_error_of(with_descr("''")), HasSubstr("descr is ''"));
  EXPECT_THAT(npy_error_of(with_descr("'\x1b[2J'")), HasSubstr("descr is '\\x1b[2J'"));
  EXPECT_THAT(npy_error_of(with_descr("[('x', '<f4')]")), HasSubstr("expected a string"));
  EXPECT_EQ(npy_error_of(with_shape("(3)")), "the header's shape is a number, expected a tuple");
  EXPECT_THAT(npy_error_of(with_shape("(1 2)")), HasSubstr("expected ',' or ')'"));
  for (const char* size : {"-1", "-0", "1.5", "x", "9223372036854775808", ","})
    EXPECT_THAT(npy_error_of(with_shape(str('(', size, ",)"))), HasSubstr("expected ")) << size;
  EXPECT_EQ(npy_error_of(with_shape("(1,1,1,1,1,1,1,1,1)")), "the header's shape has more than 8 dimensions");
  EXPECT_THAT(npy_error_of(with_shape("(4611686018427387904, 4)")), HasSubstr("is too large"));
  EXPECT_THAT(npy_error_of(with_shape("(0, 4611686018427387904, 4)")), HasSubstr("is too large"));
  EXPECT_THAT(npy_error_of(with_shape("(1000000000000,)"), "12345678"), HasSubstr("expected 4000000000000 for"));
}

TEST(Npy, RefusesWhatThimbleHasNoDtypeFor) {
  for (const char* name : {"complex", "text", "record", "object"}) {
    const std::string message = message_of<FormatError>([&] { of_numpy(name); });
    EXPECT_THAT(message, HasSubstr(std::string(name) + ".npy'")) << message;
  }
}

TEST(Npy, SurvivesDamage) {
  for (const char* name : {"fortran_order", "big_endian_f2"}) {
    const std::string good = read_bytes(std::string(THIMBLE_TEST_DATA "/numpy/") + name + ".npy");
    expect_prefixes_refused(good, read_array);
    expect_flips_survived(good, read_array);
  }
}

TEST(Npy, MapsTheFileAndLeavesItAsItIs) {
  TempFolder folder;
  save_npy(folder / "f", NDArray::ones({100}));
  const std::string before = read_bytes(folder / "f");
  NDArray array = load_npy(folder / "f");
  array.fill(2);
  EXPECT_EQ(read_bytes(folder / "f"), before);
  save_npy(folder / "f", array);  // over the file that it is mapped from
  expect_same(load_npy(folder / "f"), NDArray::full({100}, 2), "array");
}

TEST(Npy, SaysWhatCannotBeReadOrWritten) {
  EXPECT_THAT(message_of<IOError>([] { load_npy("/none/f"); }), HasSubstr("cannot read '/none/f'"));
  EXPECT_THAT(message_of<IOError>([] { save_npy("/none/f", NDArray::ones({1})); }),
              HasSubstr("cannot write '/none/f'"));
  TempFolder folder;
  EXPECT_EQ(message_of<ValueError>([&] { save_npy(folder / "f", NDArray()); }), "save_npy: the array is undefined");
  EXPECT_EQ(folder.entries(), 0);
}

}  // namespace
}  // namespace thimble
