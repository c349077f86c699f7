#include <thimble/nn/inference/conv_step.h>
#include <thimble/nn/inference/conv_transpose_step.h>
#include <thimble/nn/init.h>
#include <thimble/nn/layers/conv.h>

namespace thimble::nn {

namespace {

// E is for numbers that no layer can have, S for such that do not fit together.
template <typename E = ValueError, typename S = ShapeError>
void check_sizes(const char* layer, int64_t in, int64_t out, Pair kernel, int64_t groups) {
  check<E>(in > 0 && out > 0, layer, ": in_channels ", in, " and out_channels ", out, " must be at least 1");
  check<E>(kernel.height > 0 && kernel.width > 0, layer, ": kernel_size ", kernel.height, "x", kernel.width,
           " must be at least 1");
  check<E>(groups > 0, layer, ": groups ", groups, " must be at least 1");
  check<S>(in % groups == 0 && out % groups == 0, layer, ": groups ", groups, " do not divide in_channels ", in,
           " and out_channels ", out);
}

// `channels` is what the weight says of the output; weight has `ndim` dimensions.
void check_tensors(const char* layer, const Tensor& weight, const Tensor& bias, int ndim, int64_t channels) {
  check<ShapeError>(weight.ndim() == ndim && weight.numel() > 0, layer, ": weight must have ", ndim,
                    " dimensions, none of size 0, got ", weight.shape());
  check<ShapeError>(!bias.defined() || bias.shape() == Shape{channels}, layer, ": bias must be [", channels, "], got ",
                    bias.defined() ? bias.shape() : Shape());
}

Shape conv2d_weight(int64_t in, int64_t out, Pair kernel, int64_t groups) {
  check_sizes("Conv2d", in, out, kernel, groups);
  return {out, in / groups, kernel.height, kernel.width};
}

Shape conv1d_weight(int64_t in, int64_t out, int64_t kernel, int64_t groups) {
  check_sizes("Conv1d", in, out, kernel, groups);
  return {out, in / groups, kernel};
}

Shape conv_transpose2d_weight(int64_t in, int64_t out, Pair kernel, int64_t groups) {
  check_sizes("ConvTranspose2d", in, out, kernel, groups);
  return {in, out / groups, kernel.height, kernel.width};
}

std::shared_ptr<Module> make_conv1d(const Attributes& a) {
  const auto in = a.get<int64_t>("in_channels"), out = a.get<int64_t>("out_channels");
  const auto kernel = a.get<int64_t>("kernel_size");
  const Conv1dOptions options{a.get<int64_t>("stride"), a.get<int64_t>("padding"), a.get<int64_t>("dilation"),
                              a.get<int64_t>("groups")};
  check_sizes<FormatError, FormatError>("Conv1d", in, out, kernel, options.groups);
  const Tensor bias = a.get<bool>("bias") ? Tensor(NDArray::placeholder({out})) : Tensor();
  return std::make_shared<Conv1d>(NDArray::placeholder({out, in / options.groups, kernel}), bias, options);
}

std::shared_ptr<Module> make_conv_transpose2d(const Attributes& a) {
  const detail::Conv2dConfiguration c(a);
  const Shape shape{c.in_channels, c.out_channels / c.options.groups, c.kernel.height, c.kernel.width};
  const Tensor bias = c.bias ? Tensor(NDArray::placeholder({c.out_channels})) : Tensor();
  return std::make_shared<ConvTranspose2d>(NDArray::placeholder(shape), bias, c.options,
                                           Pair::from(a, "output_padding"));
}

const LayerRegistration conv_registrations[] = {
    {"Conv2d", [](const Attributes& a) { return make_conv2d<Conv2d>(a); }},
    {"Conv1d", make_conv1d},
    {"ConvTranspose2d", make_conv_transpose2d},
};

}  // namespace

detail::Conv2dConfiguration::Conv2dConfiguration(const Attributes& a)
    : in_channels(a.get<int64_t>("in_channels")),
      out_channels(a.get<int64_t>("out_channels")),
      kernel(Pair::from(a, "kernel_size")),
      options(Conv2dOptions::from_attributes(a)),
      bias(a.get<bool>("bias")) {
  check_sizes<FormatError, FormatError>("convolution", in_channels, out_channels, kernel, options.groups);
}

Conv2d::Conv2d(int64_t in, int64_t out, Pair kernel, Options o)
    : weight(register_parameter("weight", init::default_weight(conv2d_weight(in, out, kernel, o.groups)))),
      bias(register_parameter("bias", o.bias ? init::default_bias(out, weight.shape()) : Tensor())),
      options_{o.stride, o.padding, o.dilation, o.groups} {}

Conv2d::Conv2d(Tensor w, Tensor b, const Conv2dOptions& o)
    : weight(register_parameter("weight", std::move(w))), bias(register_parameter("bias", std::move(b))), options_(o) {
  check_tensors("Conv2d", weight, bias, 4, weight.shape(0));
  check_sizes<ShapeError>("Conv2d", in_channels(), out_channels(), kernel(), o.groups);
}

Tensor Conv2d::forward(const Tensor& x) { return conv2d(x, weight, bias, options_); }

std::unique_ptr<InferenceStep> Conv2d::inference_step(std::span<const ValueInfo> inputs) const {
  return conv2d_step(weight, bias, options_, false, inputs);
}

Attributes Conv2d::attributes() const {
  Attributes a{{"in_channels", in_channels()},
               {"out_channels", out_channels()},
               {"kernel_size", kernel().to_vector()},
               {"bias", bias.defined()}};
  options_.to_attributes(a);
  return a;
}

Conv1d::Conv1d(int64_t in, int64_t out, int64_t kernel, Options o)
    : weight(register_parameter("weight", init::default_weight(conv1d_weight(in, out, kernel, o.groups)))),
      bias(register_parameter("bias", o.bias ? init::default_bias(out, weight.shape()) : Tensor())),
      options_{o.stride, o.padding, o.dilation, o.groups} {}

Conv1d::Conv1d(Tensor w, Tensor b, const Conv1dOptions& o)
    : weight(register_parameter("weight", std::move(w))), bias(register_parameter("bias", std::move(b))), options_(o) {
  check_tensors("Conv1d", weight, bias, 3, weight.shape(0));
  check_sizes<ShapeError>("Conv1d", weight.shape(1) * o.groups, weight.shape(0), weight.shape(2), o.groups);
}

Tensor Conv1d::forward(const Tensor& x) { return conv1d(x, weight, bias, options_); }

Attributes Conv1d::attributes() const {
  return {{"in_channels", weight.shape(1) * options_.groups},
          {"out_channels", weight.shape(0)},
          {"kernel_size", weight.shape(2)},
          {"stride", options_.stride},
          {"padding", options_.padding},
          {"dilation", options_.dilation},
          {"groups", options_.groups},
          {"bias", bias.defined()}};
}

ConvTranspose2d::ConvTranspose2d(int64_t in, int64_t out, Pair kernel, Options o)
    : weight(register_parameter("weight", init::default_weight(conv_transpose2d_weight(in, out, kernel, o.groups)))),
      bias(register_parameter("bias", o.bias ? init::default_bias(out, weight.shape()) : Tensor())),
      options_{o.stride, o.padding, o.dilation, o.groups},
      output_padding_(o.output_padding) {}

ConvTranspose2d::ConvTranspose2d(Tensor w, Tensor b, const Conv2dOptions& o, Pair output_padding)
    : weight(register_parameter("weight", std::move(w))),
      bias(register_parameter("bias", std::move(b))),
      options_(o),
      output_padding_(output_padding) {
  check_tensors("ConvTranspose2d", weight, bias, 4, weight.shape(1) * o.groups);
  check_sizes<ShapeError>("ConvTranspose2d", weight.shape(0), weight.shape(1) * o.groups,
                          {weight.shape(2), weight.shape(3)}, o.groups);
}

Tensor ConvTranspose2d::forward(const Tensor& x) {
  return conv_transpose2d(x, weight, bias, options_, output_padding_);
}

std::unique_ptr<InferenceStep> ConvTranspose2d::inference_step(std::span<const ValueInfo> inputs) const {
  return conv_transpose2d_step(weight, bias, options_, output_padding_, inputs);
}

Attributes ConvTranspose2d::attributes() const {
  Attributes a{{"in_channels", weight.shape(0)},
               {"out_channels", weight.shape(1) * options_.groups},
               {"kernel_size", std::vector<int64_t>{weight.shape(2), weight.shape(3)}},
               {"output_padding", output_padding_.to_vector()},
               {"bias", bias.defined()}};
  options_.to_attributes(a);
  return a;
}

}  // namespace thimble::nn
