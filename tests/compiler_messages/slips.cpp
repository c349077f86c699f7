// What users get wrong. Above each slip stands what the compiler must say in its error or the notes behind it.
#include <thimble/nn/data/dataloader.h>
#include <thimble/nn/layers/conv_bn_relu.h>
#include <thimble/nn/layers/group_norm.h>
#include <thimble/nn/layers/layer_norm.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/layers/pool.h>
#include <thimble/nn/training/optim/optimizer.h>

using namespace thimble;

// A name that is not among the options, or a value that is none.
void options(const std::vector<Tensor>& parameters, const data::Dataset& dataset, const Tensor& x) {
  // says: Linear.*NotAnOptionOf<.*Options>
  nn::Linear a(1, 8, {.biases = false});
  // says: Conv2d.*NotAnOptionOf<.*Options>
  nn::Conv2d b(1, 8, 3, {.strides = 2});
  // says: Conv2d.*NotAnOptionOf<.*Options>
  nn::Conv2d c(1, 8, 3, {.stride = "two"});
  // says: Conv1d.*NotAnOptionOf<.*Options>
  nn::Conv1d d(1, 8, 3, {.pad = 2});
  // says: ConvTranspose2d.*NotAnOptionOf<.*Options>
  nn::ConvTranspose2d e(1, 8, 3, {.out_padding = 1});
  // says: ConvBNReLU.*NotAnOptionOf<.*Options>
  nn::ConvBNReLU f(1, 8, 3, {.strides = 2});
  // says: BatchNorm1d.*NotAnOptionOf<.*Options>
  nn::BatchNorm1d g(8, {.epsilon = 1e-3});
  // says: BatchNorm2d.*NotAnOptionOf<.*Options>
  nn::BatchNorm2d h(8, {.momentum = 0.1, .track = true});
  // says: LayerNorm.*NotAnOptionOf<.*Options>
  nn::LayerNorm i({8}, {.affine = false});
  // says: GroupNorm.*NotAnOptionOf<.*Options>
  nn::GroupNorm j(2, 8, {.elementwise_affine = false});
  // says: MaxPool2d.*NotAnOptionOf<.*MaxPool2dOptions>
  nn::MaxPool2d k(2, {.strides = 2});
  // says: AvgPool2d.*NotAnOptionOf<.*AvgPool2dOptions>
  nn::AvgPool2d l(2, {.count_padding = true});
  // says: SGD.*NotAnOptionOf<.*SGDOptions>
  optim::SGD m(parameters, {.learning_rate = 1});
  // says: Adam.*NotAnOptionOf<.*AdamOptions>
  optim::Adam n(parameters, {.lr = 1e-3, .betas = {0.9, 0.999}});
  // says: AdamW.*NotAnOptionOf<.*AdamWOptions>
  optim::AdamW o(parameters, {.decay = 0.1});
  // says: DataLoader.*NotAnOptionOf<.*DataLoaderOptions>
  data::DataLoader p(dataset, {.batchsize = 64});
  // says: Conv2dOptions
  conv2d(x, x, x, {.strides = 2});
}

struct Net : nn::Module {
  // says: NotAnOptionOf<.*nn::Conv2d::Options>
  nn::Submodule<nn::Conv2d> a{this, "a", 1, 8, 3, {.strides = 2}};
  // says: NotAnOptionOf<.*nn::Linear::Options>
  nn::Submodule<nn::Linear> b{this, "b", 1, 8, {.biases = false}};
  // says: NotAnOptionOf<.*nn::BatchNorm::Options>
  nn::Submodule<nn::BatchNorm2d> c{this, "c", 8, {.epsilon = 1e-3}};
  // says: NotAnOptionOf<.*MaxPool2dOptions>
  nn::Submodule<nn::MaxPool2d> d{this, "d", 2, {.strides = 2}};
  // says: TheFirstArgumentIsThis
  nn::Submodule<nn::Conv2d> e{"e", 1, 8, 3};
  // says: TheFirstArgumentIsThis
  nn::Submodule<nn::Conv2d> f{"f", 1, 8, 3, {.stride = 2}};
  // says: TheFirstArgumentIsThis
  nn::Submodule<nn::Conv2d> g{*this, "g", 1, 8, 3};
  // says: TheNameComesAfterThis
  nn::Submodule<nn::Linear> h{this, 1, 8};
  // says: TheNameComesAfterThis
  nn::Submodule<nn::Conv2d> i{this, 1, 8, 3, {.stride = 2}};
};
