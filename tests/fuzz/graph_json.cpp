// A graph's JSON, and any JSON object as the attributes that notes are. What is read is written again as it is.
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate_json.h"
#include <thimble/serialization/attributes_json.h>
#include <thimble/serialization/graph_json.h>

using namespace thimble;

namespace {

// read() throws an Error, or write() gives text that read() takes for the same.
template <typename Read, typename Write>
void survive_and_return(const std::string& text, Read&& read, Write&& write) {
  std::string written;
  try {
    written = write(read(text));
  } catch (const Error&) {  // may quote the text as it is: load_checkpoint() makes it printable
    return;
  }
  if (write(read(written)) != written) fuzz::report("what was written is not what was read: " + written);
}

}  // namespace

size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  return fuzz::mutate_in_place(data, size, max_size, seed, fuzz::mutate_json);
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  survive_and_return(
      text, [](const std::string& json) { return detail::graph_from_json(json, 1000); }, detail::graph_to_json);
  survive_and_return(
      text, [](const std::string& t) { return detail::attributes_from_json(detail::parse_json(t, "notes")); },
      detail::attributes_to_json);
  return 0;
}
