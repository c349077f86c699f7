// Mutations of protobuf messages that keep them well formed, so that what is behind the parser is reached.
#pragma once

#include <random>

#include <google/protobuf/message.h>

namespace thimble::fuzz {

/// Changes one thing somewhere in the message: a number, a text, an entry of a list that is removed, copied or moved.
/// Texts are sometimes replaced by another text of the same message, since names are what its parts refer to each other
/// by.
void mutate_message(google::protobuf::Message& message, std::minstd_rand& random);

}  // namespace thimble::fuzz
