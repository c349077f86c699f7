// Split: which part of a dataset's files.
#pragma once

namespace thimble::data {

enum class Split { train, test };

}  // namespace thimble::data
