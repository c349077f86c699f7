// The library that reads PNG and JPEG, loaded when there are pictures to read.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <thimble/nn/images/image_folder.h>

namespace thimble::apps {

/// data::ImageFolder(folder, options), and its classes. Throws what that throws, and Error if the library is not there.
std::shared_ptr<const data::ImageDataset> open_image_folder(const std::string& folder,
                                                            const data::ImageFolderOptions& options,
                                                            std::vector<std::string>& classes);

}  // namespace thimble::apps
