// Mutations that know JSON: most of what changes its bytes only makes it invalid.
#pragma once

#include <random>
#include <string>

namespace thimble::fuzz {

/// Changes one value of the document in `text`: to another that often is a limit, to a copy of another value, or away.
/// Text that is not JSON gets the fuzzer's general mutations, as any text does now and then. At most max_size bytes.
void mutate_json(std::string& text, size_t max_size, std::mt19937& random);

/// Changes the header of a safetensors file, and its length with it; now and then the JSON that a value of its metadata
/// holds, or any byte of the file.
void mutate_safetensors(std::string& file, size_t max_size, std::mt19937& random);

/// The body of LLVMFuzzerCustomMutator for a mutation of text.
template <typename Mutate>
size_t mutate_in_place(uint8_t* data, size_t size, size_t max_size, unsigned seed, Mutate&& mutate) {
  std::string text(reinterpret_cast<const char*>(data), size);
  std::mt19937 random(seed);
  mutate(text, max_size, random);
  if (text.size() > max_size) text.resize(max_size);
  std::copy(text.begin(), text.end(), data);
  return text.size();
}

}  // namespace thimble::fuzz
