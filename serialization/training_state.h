// The whole state of a training run as one safetensors file. A run that goes on from it computes the same bits as one
// that was never interrupted.
//
//   save_training_state("run.safetensors", capture(net, adam, default_generator(), {{"epoch", int64_t{2}}}));
//   // and after a crash:
//   const TrainingState state = load_training_state("run.safetensors");
//   restore(state, net, adam, default_generator());          // state.progress says where to go on
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/attributes.h>
#include <thimble/core/random.h>
#include <thimble/nn/module.h>
#include <thimble/nn/training/optim/optimizer.h>
#include <thimble/serialization/atomic_file.h>
#include <thimble/serialization/version_error.h>

namespace thimble {

/// All that the next step of a run depends on.
struct THIMBLE_API TrainingState {
  NamedArrays model;      ///< parameters and buffers, see nn::Module::state()
  NamedArrays optimizer;  ///< see optim::Optimizer::state()
  double lr = 0;          ///< of the first group of parameters; those of several are in the optimizer's state
  Generator::State generator;
  /// What else the run wants to find again: epoch, position in the data, metrics so far, its settings.
  Attributes progress;
};

/// Copies of everything: the run may go on while they are written.
THIMBLE_API TrainingState capture(const nn::Module& model, const optim::Optimizer& optimizer,
                                  const Generator& generator, const Attributes& progress);

/// The inverse. Throws ValueError, ShapeError or DTypeError for a state of another model or optimizer, or with values
/// that no run has; then model, optimizer and generator are as before.
THIMBLE_API void restore(const TrainingState& state, nn::Module& model, optim::Optimizer& optimizer,
                         Generator& generator);

/// Writes the state, as AtomicFile does with this prefix. The file: tensors "model.<name>" and "optimizer.<name>", and
/// in the metadata "format" ("thimble-training-state"), "format_version", "run" (lr and generator) and "progress", both
/// JSON. Throws IOError.
THIMBLE_API void save_training_state(const std::filesystem::path& path, const TrainingState& state,
                                     std::string_view prefix = AtomicFile::kPrefix);

/// Reads the file whole and compares its checksums. The arrays borrow the mapped file (see load_safetensors()). Throws
/// IOError, or FormatError that names the file and what is wrong, whatever the file holds; VersionError if nothing is
/// wrong but a later program has written it.
THIMBLE_API TrainingState load_training_state(const std::filesystem::path& path);

}  // namespace thimble
