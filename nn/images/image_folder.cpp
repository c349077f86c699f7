#include <algorithm>
#include <atomic>
#include <cctype>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <mutex>

#include <thimble/core/parallel.h>
#include <thimble/core/text.h>
#include <thimble/nn/images/decoders.h>
#include <thimble/nn/images/image_folder.h>
#include <thimble/nn/images/read_image.h>

namespace thimble::data {

namespace fs = std::filesystem;

struct ImageFolder::Files {
  std::vector<std::string> classes, paths;
  std::vector<int64_t> labels;
};

namespace {

bool is_hidden(const fs::path& path) { return path.filename().native().starts_with('.'); }

bool is_picture(const fs::path& path) {
  std::string ending = path.extension().string();
  std::ranges::transform(ending, ending.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return !is_hidden(path) && (ending == ".png" || ending == ".jpg" || ending == ".jpeg");
}

std::vector<std::string> folders_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code none;  // of a link that leads nowhere, or to itself
  for (const fs::directory_entry& entry : fs::directory_iterator(folder))
    if (entry.is_directory(none) && !is_hidden(entry.path())) names.push_back(entry.path().filename().string());
  std::ranges::sort(names);
  // Names of classes go into files and onto terminals.
  for (const std::string& name : names)
    check<FormatError>(detail::printable(name) == name, detail::quote_path(fs::path(folder) / name),
                       ": is no name for a class, which is printable UTF-8; rename the folder");
  return names;
}

// Links to folders are not followed below a class: they may lead in circles.
std::vector<std::string> pictures_below(const fs::path& folder) {
  std::vector<std::string> paths;
  std::error_code none;
  for (auto it = fs::recursive_directory_iterator(folder); it != fs::recursive_directory_iterator(); ++it) {
    const bool is_folder = it->is_directory(none);
    if (is_folder && is_hidden(it->path())) it.disable_recursion_pending();
    if (!is_folder && is_picture(it->path()) && it->is_regular_file(none)) paths.push_back(it->path().string());
  }
  std::ranges::sort(paths);
  return paths;
}

// The class's number; those that have one must be known.
int64_t number_of(const std::string& name, const std::vector<std::string>& classes, const std::string& folder) {
  const auto found = std::ranges::find(classes, name);
  check<FormatError>(found != classes.end(), detail::quote_path(folder), ": has a folder ", detail::quote(name),
                     ", which is none of the ", classes.size(), " classes");
  return found - classes.begin();
}

int64_t channels_of(const ImageFolderOptions& options) { return options.preprocessing.channels == 1 ? 1 : 3; }

NDArray picture_of(const std::string& path, const ImageFolderOptions& options) {
  const NDArray image = read_image(path, {.channels = channels_of(options), .max_pixels = options.max_pixels});
  return options.size ? resize_image(image, *options.size) : image;
}

// With all threads. Of several errors, that of the smallest index is thrown.
void for_each_index(int64_t n, const std::function<void(int64_t)>& f) {
  std::mutex mutex;
  std::exception_ptr error;
  std::atomic<int64_t> failed = n;
  parallel_for(n, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end && i < failed; ++i) {
      try {
        f(i);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (i < failed) failed = i, error = std::current_exception();
      }
    }
  });
  if (error) std::rethrow_exception(error);
}

// Of each picture. From headers, where the files tell, so that memory is taken only for what can become a dataset.
Shape shape_of_all(const std::vector<std::string>& paths, const ImageFolderOptions& options) {
  const int64_t channels = channels_of(options);
  if (options.size) return {channels, options.size->height, options.size->width};
  const auto shape_of = [&](const std::string& path) {
    const auto [height, width] = read_image_size(path, options.max_pixels);
    return Shape{channels, height, width};
  };
  const Shape first = shape_of(paths[0]);
  for_each_index(std::ssize(paths), [&](int64_t i) {
    const std::string& path = paths[static_cast<size_t>(i)];
    const Shape shape = shape_of(path);
    check<FormatError>(shape == first, detail::quote_path(path), ": is a picture ", shape, ", and ",
                       detail::quote_path(paths[0]), " is ", first, options.remedy);
  });
  return first;
}

NDArray pixels_of(const std::vector<std::string>& paths, const ImageFolderOptions& options) {
  check<ValueError>(options.max_pixels >= 1, "ImageFolder: max_pixels is ", options.max_pixels);
  const Shape one = shape_of_all(paths, options);
  Shape shape = one;
  shape.insert(0, std::ssize(paths));
  NDArray pixels(shape, DType::uint8);
  for_each_index(std::ssize(paths), [&](int64_t i) {
    const std::string& path = paths[static_cast<size_t>(i)];
    const NDArray image = picture_of(path, options);
    check<FormatError>(image.shape() == one, detail::quote_path(path), ": has changed while it was read");
    std::memcpy(pixels.data<uint8_t>() + i * image.numel(), image.data<uint8_t>(), static_cast<size_t>(image.numel()));
  });
  return pixels;
}

}  // namespace

ImageFolder::Files ImageFolder::find(const std::string& folder, const ImageFolderOptions& options) {
  Files files;
  try {
    const std::vector<std::string> names = folders_in(folder);
    check<FormatError>(!names.empty(), detail::quote_path(folder),
                       ": has no folder: pictures lie in one for each class");
    files.classes = options.classes.empty() ? names : options.classes;
    for (const std::string& name : names) {
      const int64_t label = number_of(name, files.classes, folder);
      const fs::path of_class = fs::path(folder) / name;
      const std::vector<std::string> paths = pictures_below(of_class);
      check<FormatError>(!paths.empty(), detail::quote_path(of_class),
                         ": has no file that ends in .png, .jpg or .jpeg");
      files.paths.insert(files.paths.end(), paths.begin(), paths.end());
      files.labels.insert(files.labels.end(), paths.size(), label);
    }
  } catch (const fs::filesystem_error& e) {
    throw IOError(str("cannot read folder ", detail::quote_path(e.path1()), ": ", e.code().message()));
  }
  return files;
}

ImageFolder::ImageFolder(const std::string& folder, const ImageFolderOptions& options)
    : ImageFolder(find(folder, options), options) {}

ImageFolder::ImageFolder(Files files, const ImageFolderOptions& options)
    : ImageDataset(pixels_of(files.paths, options), NDArray::from_vector(files.labels), options.preprocessing),
      classes_(std::move(files.classes)),
      paths_(std::move(files.paths)) {}

}  // namespace thimble::data

// For the program, which loads this library when there are pictures to read.
extern "C" THIMBLE_API void thimble_images_open_folder(const std::string& folder,
                                                       const thimble::data::ImageFolderOptions& options,
                                                       std::vector<std::string>& classes,
                                                       std::shared_ptr<const thimble::data::ImageDataset>& images) {
  const auto opened = std::make_shared<thimble::data::ImageFolder>(folder, options);
  classes = opened->classes();
  images = opened;
}
