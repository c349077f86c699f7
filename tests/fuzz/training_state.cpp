// A training state: the file as it is, then with the checksums that its contents should have, for no mutation would
// find them, and then a good state of which the input says what is wrong with it: few mutations leave a file that
// loads. What loads is restored into two runs, each of which then makes a step.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <random>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate_json.h"
#include "tests/fuzz/qat_run.h"
#include "tests/training_run.h"
#include <thimble/serialization/checksums.h>
#include <thimble/serialization/safetensors.h>
#include <thimble/serialization/training_state.h>

using namespace thimble;

namespace {

void check_same(const NamedArrays& a, const NamedArrays& b) {
  for (size_t i = 0; i < a.size(); ++i)
    if (std::memcmp(a[i].second.raw(), b[i].second.raw(), static_cast<size_t>(a[i].second.nbytes())) != 0)
      fuzz::report("a state that could not be restored has changed " + a[i].first);
}

template <typename Run>
void go_on(const TrainingState& state) {
  Run run;
  const TrainingState before = capture(run.net, run.optimizer, default_generator(), {});
  fuzz::survive([&] {
    try {
      restore(state, run.net, run.optimizer, default_generator());
    } catch (const Error&) {
      const TrainingState after = capture(run.net, run.optimizer, default_generator(), {});
      if (after.lr != before.lr || after.generator != before.generator)
        fuzz::report("a state that could not be restored has changed the learning rate or the generator");
      check_same(before.model, after.model);
      check_same(before.optimizer, after.optimizer);
      throw;
    }
    run.step();
  });
}

void go_on_from(const std::filesystem::path& path) {
  const TrainingState state = load_training_state(path);
  go_on<SmallTrainingRun>(state);
  go_on<fuzz::QatRun>(state);
}

template <typename Run>
TrainingState good_state() {
  Run run;
  run.step();
  return capture(run.net, run.optimizer, default_generator(), {{"epoch", int64_t{1}}});
}

void spoil(TrainingState& state, std::mt19937& random) {
  static constexpr int64_t kNumbers[] = {0, 1, -1, INT64_MAX, INT64_MIN, int64_t{1} << 53, 0x7FC000007F800000};
  static constexpr double kRates[] = {0, -1, 1e300, HUGE_VAL};
  NamedArrays& arrays = random() % 2 == 0 ? state.model : state.optimizer;
  if (arrays.empty()) return;
  auto& [name, array] = arrays[random() % arrays.size()];
  switch (random() % 6) {
    case 0:
      state.lr = kRates[random() % std::size(kRates)];
      break;
    case 1:
      name = "two\nlines";
      break;
    case 2:
      array = NDArray::zeros({7}, array.dtype());
      break;
    case 3:
      arrays.pop_back();
      break;
    default:
      array = array.clone();
      const int64_t number = kNumbers[random() % std::size(kNumbers)];
      const auto size = std::min<size_t>(sizeof number, static_cast<size_t>(array.nbytes()));
      std::memcpy(array.raw(), &number, size);
  }
}

void go_on_from_spoiled(const std::filesystem::path& path, uint32_t seed) {
  static const TrainingState good[] = {good_state<SmallTrainingRun>(), good_state<fuzz::QatRun>()};
  std::mt19937 random(seed);
  TrainingState state = good[random() % std::size(good)];
  for (unsigned i = 0; i <= random() % 3; ++i) spoil(state, random);
  save_training_state(path, state);
  go_on_from(path);
}

}  // namespace

size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  return fuzz::mutate_in_place(data, size, max_size, seed, fuzz::mutate_safetensors);
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::Folder folder;
  fuzz::survive_file(data, size, [](const auto& path) {
    fuzz::survive([&] { go_on_from(path); });
    const TensorFile file = load_safetensors(path);
    save_safetensors(folder / "sealed", file.metadata, file.tensors);
    go_on_from(folder / "sealed");
  });
  const uint32_t seed = detail::crc32({reinterpret_cast<const char*>(data), size});
  fuzz::survive([&] { go_on_from_spoiled(folder / "spoiled", seed); });
  return 0;
}
