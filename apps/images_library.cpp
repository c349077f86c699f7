#include "apps/images_library.h"

#ifdef THIMBLE_IMAGES_LIBRARY
#include <dlfcn.h>
#endif

#include <thimble/core/text.h>

namespace thimble::apps {

#ifdef THIMBLE_IMAGES_LIBRARY

std::shared_ptr<const data::ImageDataset> open_image_folder(const std::string& folder,
                                                            const data::ImageFolderOptions& options,
                                                            std::vector<std::string>& classes) {
  using Open = void(const std::string&, const data::ImageFolderOptions&, std::vector<std::string>&,
                    std::shared_ptr<const data::ImageDataset>&);
  void* library = dlopen(THIMBLE_IMAGES_LIBRARY, RTLD_NOW | RTLD_LOCAL);  // never closed
  if (!library) {
    const char* reason = dlerror();
    throw Error(str("cannot load ", THIMBLE_IMAGES_LIBRARY, ", which reads PNG and JPEG: ", reason ? reason : ""));
  }
  void* function = dlsym(library, "thimble_images_open_folder");
  check(function != nullptr, THIMBLE_IMAGES_LIBRARY, " is not of this version");
  std::shared_ptr<const data::ImageDataset> images;
  reinterpret_cast<Open*>(function)(folder, options, classes, images);
  return images;
}

#else

std::shared_ptr<const data::ImageDataset> open_image_folder(const std::string&, const data::ImageFolderOptions&,
                                                            std::vector<std::string>&) {
  throw Error("this program was built without PNG and JPEG (-DTHIMBLE_IMAGES=OFF)");
}

#endif

}  // namespace thimble::apps
