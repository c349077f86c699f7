#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/nn/images/jpeg_files.h"
#include "tests/nn/images/png_files.h"
#include "tests/serialization/files.h"
#include <thimble/nn/images/image_folder.h>

namespace thimble::data {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::ThrowsMessage;

class ImageFolderTest : public testing::Test {
 protected:
  ImageFolderTest() {
    write("dog/b.PNG", plain_png(4, 6, {30, 60, 90}));
    write("dog/more/c.jpeg", jpeg_bytes(4, 6, JCS_RGB, std::vector<uint8_t>(72, 200)));
    write("cat/a.png", plain_png(4, 6, {1, 2, 3}));
    write("cat/notes.txt", "no picture");
    write("cat/.hidden.png", "no picture");
    write(".git/x.png", "no picture");
    write("README.png", "no picture");
  }
  void write(const std::string& name, const std::string& bytes) const {
    const auto path = folder / name;
    std::filesystem::create_directories(path.parent_path());
    write_bytes(path, bytes);
  }
  std::string path() const { return folder.path().string(); }

  TempFolder folder;
};

TEST_F(ImageFolderTest, NumbersClassesByTheirNames) {
  const ImageFolder images(path());
  EXPECT_THAT(images.classes(), ElementsAre("cat", "dog"));
  EXPECT_THAT(images.paths(), ElementsAre(EndsWith("cat/a.png"), EndsWith("dog/b.PNG"), EndsWith("dog/more/c.jpeg")));
  EXPECT_THAT(images.labels().to_vector<int64_t>(), ElementsAre(0, 1, 1));
  EXPECT_EQ(images.image_shape(), (Shape{3, 4, 6}));
  const Batch batch = images.batch(std::vector<int64_t>{1});
  EXPECT_FLOAT_EQ(batch["image"].data().data<float>()[0], 30 / 255.0f);
  EXPECT_FLOAT_EQ(batch["image"].data().data<float>()[24], 60 / 255.0f);
}

TEST_F(ImageFolderTest, NumbersClassesAsTold) {
  const ImageFolder images(path(), {.classes = {"bird", "dog", "cat"}});
  EXPECT_THAT(images.labels().to_vector<int64_t>(), ElementsAre(2, 1, 1));
  EXPECT_THAT([&] { ImageFolder(path(), {.classes = {"dog"}}); },
              ThrowsMessage<FormatError>(HasSubstr("has a folder 'cat', which is none of the 1 classes")));
}

TEST_F(ImageFolderTest, MakesPicturesOfOneSizeIfTold) {
  write("dog/d.png", plain_png(5, 6, {9, 9, 9}));
  EXPECT_THAT([&] { ImageFolder(path(), {.remedy = "; help"}); },
              ThrowsMessage<FormatError>(
                  testing::AllOf(HasSubstr("dog/d.png': is a picture [3,5,6], and"), EndsWith("; help"))));
  const ImageFolder images(path(), {.size = Pair{2, 3}, .preprocessing = {.channels = 1}});
  EXPECT_EQ(images.image_shape(), (Shape{1, 2, 3}));
  EXPECT_EQ(images.size(), 4);
  EXPECT_EQ(images.pixels().shape(), (Shape{4, 1, 2, 3}));
}

TEST_F(ImageFolderTest, NamesTheFirstFileThatIsWrong) {
  for (int i = 10; i < 60; ++i) write("dog/z" + std::to_string(i) + ".png", i % 20 == 7 ? "bad" : plain_png(4, 6, {}));
  EXPECT_THAT([&] { ImageFolder{path()}; }, ThrowsMessage<FormatError>(HasSubstr("dog/z27.png': is neither")));
}

TEST_F(ImageFolderTest, RefusesNamesThatCannotBeWritten) {
  write("caf\xe9/a.png", plain_png(4, 6, {1, 2, 3}));
  EXPECT_THAT([&] { ImageFolder{path()}; },
              ThrowsMessage<FormatError>(testing::AllOf(HasSubstr("caf\\xe9"), HasSubstr("rename the folder"))));
}

TEST_F(ImageFolderTest, PassesOverLinksToThemselves) {
  std::filesystem::create_symlink("loop", folder / "loop");
  std::filesystem::create_symlink("loop.png", folder / "cat/loop.png");
  EXPECT_EQ(ImageFolder{path()}.size(), 3);
}

TEST_F(ImageFolderTest, BoundsPictures) {
  EXPECT_EQ(ImageFolder(path(), {.max_pixels = 24}).size(), 3);
  for (const std::optional<Pair> size : {std::optional<Pair>(), std::optional<Pair>(2)})
    EXPECT_THAT([&] { ImageFolder(path(), {.size = size, .max_pixels = 23}); },
                ThrowsMessage<FormatError>(HasSubstr("cat/a.png': is a picture of 4 x 6 pixels, more than the 23")));
  EXPECT_THROW(ImageFolder(path(), {.max_pixels = 0}), ValueError);
}

TEST_F(ImageFolderTest, SaysWhatIsMissing) {
  EXPECT_THAT([&] { ImageFolder(path() + "/nowhere"); }, ThrowsMessage<IOError>(HasSubstr("cannot read folder")));
  EXPECT_THAT([&] { ImageFolder(path() + "/cat"); }, ThrowsMessage<FormatError>(HasSubstr("has no folder")));
  std::filesystem::create_directory(folder / "fish");
  EXPECT_THAT([&] { ImageFolder{path()}; }, ThrowsMessage<FormatError>(HasSubstr("fish': has no file that ends in")));
}

}  // namespace
}  // namespace thimble::data
