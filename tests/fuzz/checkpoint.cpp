// A whole checkpoint. One that loads is saved and loaded again: the two files that this gives are the same.
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate_json.h"
#include <thimble/serialization/checkpoint.h>

using namespace thimble;

namespace {

std::string content(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void save_and_load_again(const Checkpoint& loaded) {
  static const fuzz::Folder folder;
  const auto first = folder / "first", second = folder / "second";
  try {
    save_model(loaded.graph, first, loaded.notes);
    const Checkpoint again = load_checkpoint(first);
    save_model(again.graph, second, again.notes);
  } catch (const Error& error) {
    fuzz::report(std::string("a checkpoint that was loaded cannot be saved and loaded again: ") + error.what());
  }
  if (content(first) != content(second)) fuzz::report("a checkpoint that was saved and loaded is not the same");
}

}  // namespace

size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  return fuzz::mutate_in_place(data, size, max_size, seed, fuzz::mutate_safetensors);
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::survive_file(data, size, [](const auto& path) { save_and_load_again(load_checkpoint(path)); });
  return 0;
}
