#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/serialization/damage.h"
#include <thimble/serialization/labelled_arrays.h>
#include <thimble/serialization/npz.h>

namespace thimble {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(LabelledArrays, ComeFromFoldersAndFiles) {
  TempFolder folder;
  const NDArray x = NDArray::arange(6).reshape({3, 2}), labels = NDArray::from_vector<int32_t>({2, 0, 5});
  save_npz(folder / "test.npz", {{"y", labels}, {"x", x}});
  const LabelledArrays test = load_labelled_arrays(folder.path(), data::Split::test);
  EXPECT_EQ(test.inputs.to_vector<float>(), x.to_vector<float>());
  EXPECT_THAT(test.labels.to_vector<int64_t>(), ElementsAre(2, 0, 5));
  EXPECT_EQ(test.num_classes(), 6);
  save_npz(folder / "all", {{"x_train", x}, {"y_train", labels.to(DType::uint8).reshape({3, 1})}});
  const LabelledArrays train = load_labelled_arrays(folder / "all", data::Split::train);
  EXPECT_EQ(train.labels.shape(), Shape{3});
  EXPECT_THAT(message_of<IOError>([&] { load_labelled_arrays(folder.path(), data::Split::train); }),
              HasSubstr("has no train.npz"));
  EXPECT_THROW(load_labelled_arrays(folder / "nowhere", data::Split::train), IOError);
}

TEST(LabelledArrays, RefuseWhatIsNoLabelledArray) {
  TempFolder folder;
  const NDArray x = NDArray::arange(6).reshape({3, 2}), y = NDArray::zeros({3}, DType::int64);
  const auto refusal = [&](const NamedArrays& arrays) {
    save_npz(folder / "train.npz", arrays);
    return message_of<FormatError>([&] { load_labelled_arrays(folder.path(), data::Split::train); });
  };
  EXPECT_THAT(refusal({}), HasSubstr("has no array 'x', but none at all"));
  EXPECT_THAT(refusal({{"x", x}, {"Y", y}}), HasSubstr("has no array 'y', but 'x', 'Y'"));
  EXPECT_THAT(refusal({{"x", x.reshape({6})}, {"y", y}}), HasSubstr("expected numbers [n, shape...]"));
  EXPECT_THAT(refusal({{"x", NDArray::zeros({0, 2})}, {"y", NDArray::zeros({0}, DType::int64)}}),
              HasSubstr("expected numbers"));
  EXPECT_THAT(refusal({{"x", x.to(DType::bool_)}, {"y", y}}), HasSubstr("expected numbers"));
  EXPECT_THAT(refusal({{"x", x}, {"y", y.to(DType::float32)}}), HasSubstr("expected classes"));
  EXPECT_THAT(refusal({{"x", x}, {"y", y.to(DType::bool_)}}), HasSubstr("expected classes"));
  EXPECT_THAT(refusal({{"x", x}, {"y", NDArray::zeros({3, 2}, DType::int64)}}), HasSubstr("expected classes"));
  EXPECT_THAT(refusal({{"x", x}, {"y", NDArray::zeros({4}, DType::int64)}}), HasSubstr("y has 4 classes"));
  EXPECT_THAT(refusal({{"x", x}, {"y", NDArray::from_vector<int64_t>({0, 1, int64_t{1} << 31})}}),
              HasSubstr("class 2 is 2147483648"));
  EXPECT_THAT(refusal({{"x", x}, {"y", NDArray::from_vector<int64_t>({0, 65536, 1})}}),
              HasSubstr("y: class 1 is 65536, expected 0 to 65535 for 3 examples"));
  save_npz(folder / "train.npz", {{"x", x}, {"y", NDArray::from_vector<int64_t>({0, 65535, 1})}});
  const LabelledArrays most = load_labelled_arrays(folder.path(), data::Split::train);
  EXPECT_EQ(most.num_classes(), 65536);
  EXPECT_THAT(most.name, HasSubstr("train.npz': x"));
}

TEST(AsPictures, FindsTheChannels) {
  const auto shape_of = [](const Shape& shape) { return as_pictures(NDArray::zeros(shape)).shape(); };
  EXPECT_EQ(shape_of({2, 5, 6}), (Shape{2, 1, 5, 6}));
  EXPECT_EQ(shape_of({2, 3, 5, 6}), (Shape{2, 3, 5, 6}));
  EXPECT_EQ(shape_of({2, 5, 6, 3}), (Shape{2, 3, 5, 6}));
  EXPECT_EQ(shape_of({2, 5, 6, 1}), (Shape{2, 1, 5, 6}));
  EXPECT_EQ(shape_of({2, 3, 6, 3}), (Shape{2, 3, 6, 3}));
  EXPECT_EQ(shape_of({2, 8, 5, 6}), (Shape{2, 8, 5, 6}));
  const NDArray last = NDArray::arange(12).reshape({1, 2, 2, 3});
  EXPECT_EQ(as_pictures(last).to_vector<float>(), (std::vector<float>{0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11}));
  EXPECT_THROW(as_pictures(NDArray::zeros({2, 3})), ShapeError);
  EXPECT_EQ(shape_of({2, 8, 4, 4}), (Shape{2, 8, 4, 4}));
  EXPECT_EQ(shape_of({2, 3, 5, 4}), (Shape{2, 3, 5, 4}));
  EXPECT_THAT(message_of<ShapeError>([&] { shape_of({2, 32, 32, 4}); }), HasSubstr("x[..., :3] leaves it out"));
}

}  // namespace
}  // namespace thimble
