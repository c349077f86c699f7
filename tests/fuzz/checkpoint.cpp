// A whole checkpoint. One that loads is saved and loaded again: the two files that this gives are the same.
#include <cstdlib>

#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate_json.h"
#include <thimble/serialization/checkpoint.h>

using namespace thimble;

namespace {

// In memory where the system has such a folder: files are renamed here, which a memory file cannot be.
class Folder {
 public:
  Folder() {
    std::filesystem::path parent = "/dev/shm";
    if (access(parent.c_str(), W_OK) != 0) parent = std::filesystem::temp_directory_path();
    path_ = parent / ("thimble-fuzz-" + std::to_string(getpid()));
    std::filesystem::create_directory(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::filesystem::path operator/(const char* name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

std::string content(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void save_and_load_again(const Checkpoint& loaded) {
  static const Folder folder;
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
