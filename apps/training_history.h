// How a training run went, as a checkpoint's notes keep it: figures of each epoch, but no times, so that the same run
// writes the same file wherever it runs.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include <thimble/core/attributes.h>
#include <thimble/nn/training/training_progress.h>

namespace thimble::apps {

/// What the keys of notes begin with: of the run that trained the float model, and of the one by quantize --method qat.
inline constexpr const char *kHistory = "history.", *kQatHistory = "qat_history.";

/// Notes "<prefix>train_loss", ...: a number for each epoch. None of no epochs, or of so many that a file's header
/// would be long.
Attributes history_notes(const std::string& prefix, const std::vector<EpochRecord>& epochs);

/// What history_notes() wrote, or nothing; what others have written under such names is left out.
std::vector<EpochRecord> history_in(const Attributes& notes, const std::string& prefix);

/// [{"epoch": 1, "train_loss": ..., ...}, ...]
nlohmann::json epochs_json(const std::vector<EpochRecord>& epochs);

}  // namespace thimble::apps
