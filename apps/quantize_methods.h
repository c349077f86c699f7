// What `thimble quantize` can do to a model, one function a method.
#pragma once

#include <optional>
#include <ostream>
#include <string>

#include "apps/budget.h"
#include "apps/images.h"
#include "apps/layer_choices.h"
#include "apps/state_keeper.h"
#include <thimble/nn/training/training_progress.h>
#include <thimble/quant/passes/adaround.h>
#include <thimble/quant/passes/corrections.h>
#include <thimble/quant/quantize.h>

namespace thimble::apps {

struct QuantizeOptions {
  std::string method = "static", observer = "minmax", weight_observer, granularity = "channel", weight_scheme,
              dynamic_range = "row";
  int weight_bits = 8, activation_bits = 8;
  int64_t group_size = 128;
  double percentile = quant::QConfig().percentile;
  LayerChoices layers;
  // static
  int64_t calibration_images = 512;
  std::string calibration;                        ///< a file of arrays to calibrate on, instead of images; empty: none
  std::optional<bool> equalize, bias_correction;  ///< none: where depthwise layers are better for it
  bool adaround = false;
  int64_t adaround_iterations = quant::AdaRoundOptions().iterations;
  Budget budget;
  // qat
  int64_t epochs = 1, batch_size = 64;
  double lr = 5e-4;
  bool lsq = false;
  uint64_t seed = 1;
  std::string augment;  ///< see Augmentation
  StateOptions states;
};

struct QuantizedModel {
  nn::Graph graph;
  quant::ConversionReport report;
  std::optional<WithinBudget> within = {};         ///< if there was a budget
  std::optional<double> accuracy = {};             ///< with a budget: on the test images, of the graph as it is
  std::optional<quant::Corrected> corrected = {};  ///< of static
  std::optional<double> agreement = {};  ///< of qat: share of test images of which integers say what training saw
  std::vector<EpochRecord> epochs = {};  ///< of qat: the run's
  std::string advice = {};               ///< of qat: how to go on if the model cannot be saved, see StateKeeper
};

/// Quantizes a float model as the options say, opening datasets where the method needs them, with progress on the
/// terminal and a line an epoch of training on `out`. Throws what the passes throw.
QuantizedModel quantized_model(const LoadedModel& loaded, const Images& images, const QuantizeOptions& options,
                               std::ostream& out);

}  // namespace thimble::apps
