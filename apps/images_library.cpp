#include "apps/images_library.h"

#include "apps/component_library.h"

namespace thimble::apps {

#ifdef THIMBLE_IMAGES_LIBRARY

std::shared_ptr<const data::ImageDataset> open_image_folder(const std::string& folder,
                                                            const data::ImageFolderOptions& options,
                                                            std::vector<std::string>& classes) {
  using Open = void(const std::string&, const data::ImageFolderOptions&, std::vector<std::string>&,
                    std::shared_ptr<const data::ImageDataset>&);
  std::shared_ptr<const data::ImageDataset> images;
  function_of_library<Open>(THIMBLE_IMAGES_LIBRARY, "reads PNG and JPEG", "thimble_images_open_folder")(
      folder, options, classes, images);
  return images;
}

#else

std::shared_ptr<const data::ImageDataset> open_image_folder(const std::string&, const data::ImageFolderOptions&,
                                                            std::vector<std::string>&) {
  throw Error("this program was built without PNG and JPEG (-DTHIMBLE_IMAGES=OFF)");
}

#endif

}  // namespace thimble::apps
