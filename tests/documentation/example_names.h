// What the examples in comments and documents use without declaring it. They are only compiled, never run.
#pragma once

#include <cstdint>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <thimble/core/kernels/int8/int8_gemm.h>
#include <thimble/core/kernels/weight_only/weight_only_gemm.h>
#include <thimble/nn/images/image_folder.h>
#include <thimble/nn/images/read_image.h>
#include <thimble/serialization/onnx/export.h>
#include <thimble/serialization/onnx/import.h>
#include <thimble/thimble.h>

using namespace thimble;

struct Net : nn::Module {
  nn::Submodule<nn::Sequential> body;
  nn::Submodule<nn::Linear> head;
  Tensor forward(const Tensor& x) override;
};

/// Each example is the body of a function of a class like this one: a module, since some declare layers with `this`.
struct ExampleNames : nn::Module {
  Net net;
  nn::Graph graph, fused, int8;
  nn::Conv2d conv;
  nn::Linear linear;
  optim::Adam adam;
  void train_epoch(nn::Module& model, optim::Adam& optimizer);
  int64_t step;
  Attributes progress;

  data::MNIST train, test;
  data::TensorDataset houses;
  std::shared_ptr<const data::Dataset> pictures, all;
  data::TextDataset reviews;
  static NDArray wave(int64_t index), pitch(int64_t index);
  uint64_t seed;
  data::DataLoader loader, calibration;
  std::vector<Tensor> batches;
  Tensor example, images, labels, loss, x, weight, bias, running_mean, running_var, y;
  Tensor tokens, table, queries, keys, values, padding, key_padding_mask, attn_mask;
  NDArray a, b, w;
  Generator generator;
  std::string bytes;

  quant::QConfigMapping mapping;
  std::function<void(nn::Graph&)> calibrate;
  std::function<double(nn::Graph&)> evaluate;
};

/// The same for kernels, which work on raw pointers, inside of their namespace.
struct KernelNames {
  struct AnyPointer {  // kernels take integers or floats
    template <typename T>
    operator const T*() const;
  };
  AnyPointer x;
  float* out;
  const int8_t* weight;
  const uint8_t* packed_rows;
  const float *scales, *bias;
  std::vector<int32_t> int32_bias;
  int32_t input_zero_point;
  int64_t m, lda, ldc, in_features, out_features;
};
