// Attributes as JSON, for checkpoints. Internal.
#pragma once

#include <string>

#include <thimble/core/attributes.h>
#include <thimble/serialization/json.h>

namespace thimble::detail {

/// The text of an object with one member for each attribute. All values and their types come back from
/// attributes_from_json: a double is written with enough digits and keeps a decimal point (2.0). What JSON cannot tell
/// is wrapped: {"double": "inf"}, {"double": "-inf"}, {"double": "nan"} (of NaNs, no more comes back), and an empty
/// list of doubles, {"double": []}. Throws ValueError that names the attribute for text that is not UTF-8.
std::string attributes_to_json(const Attributes& attributes);

/// The inverse. A list with integers and doubles is one of doubles. Throws FormatError that names the attribute for
/// anything that is not an attribute's value.
Attributes attributes_from_json(const Json& object);

}  // namespace thimble::detail
