#include <thimble/nn/init.h>
#include <thimble/nn/layers/conv3d.h>

namespace thimble::nn {

namespace {

// E is for numbers that no layer can have, S for such that do not fit together.
template <typename E, typename S>
void check_configuration(const char* layer, int64_t in, int64_t out, Triple kernel, int64_t groups) {
  check<E>(in > 0 && out > 0, layer, ": in_channels ", in, " and out_channels ", out, " must be at least 1");
  check<E>(kernel.least() > 0, layer, ": kernel_size ", kernel, " must be at least 1");
  check<E>(groups > 0, layer, ": groups ", groups, " must be at least 1");
  check<S>(in % groups == 0 && out % groups == 0, layer, ": groups ", groups, " do not divide in_channels ", in,
           " and out_channels ", out);
}

Shape conv3d_weight(int64_t in, int64_t out, Triple kernel, int64_t groups) {
  check_configuration<ValueError, ShapeError>("Conv3d", in, out, kernel, groups);
  return {out, in / groups, kernel.depth, kernel.height, kernel.width};
}

Shape conv_transpose3d_weight(int64_t in, int64_t out, Triple kernel, int64_t groups) {
  check_configuration<ValueError, ShapeError>("ConvTranspose3d", in, out, kernel, groups);
  return {in, out / groups, kernel.depth, kernel.height, kernel.width};
}

// Throws ShapeError for tensors that do not fit together.
void check_volume_tensors(const char* layer, const Tensor& weight, const Tensor& bias, int64_t groups,
                          bool is_transposed) {
  check<ShapeError>(weight.ndim() == 5 && weight.numel() > 0, layer,
                    ": weight must have 5 dimensions, none of size 0, got ", weight.shape());
  const int64_t channels = is_transposed ? weight.shape(1) * groups : weight.shape(0);
  check<ShapeError>(!bias.defined() || bias.shape() == Shape{channels}, layer, ": bias must be [", channels, "], got ",
                    bias.defined() ? bias.shape() : Shape());
  check<ShapeError>(groups > 0 && weight.shape(0) % groups == 0, layer, ": groups ", groups, " do not divide ",
                    weight.shape(0), " channels");
}

Attributes attributes_of(const Tensor& weight, const Tensor& bias, const Conv3dOptions& options, bool is_transposed) {
  const int64_t first = weight.shape(0), other = weight.shape(1) * options.groups;
  Attributes a{{"in_channels", is_transposed ? first : other},
               {"out_channels", is_transposed ? other : first},
               {"kernel_size", std::vector<int64_t>{weight.shape(2), weight.shape(3), weight.shape(4)}},
               {"bias", bias.defined()}};
  options.to_attributes(a);
  return a;
}

struct VolumeConvolution {
  Tensor weight, bias;
  Conv3dOptions options;

  VolumeConvolution(const char* type, const Attributes& a, bool is_transposed)
      : options(Conv3dOptions::from_attributes(a)) {
    const auto in = a.get<int64_t>("in_channels"), out = a.get<int64_t>("out_channels");
    const Triple kernel = Triple::from(a, "kernel_size");
    check_configuration<FormatError, FormatError>(type, in, out, kernel, options.groups);
    const int64_t first = is_transposed ? in : out, other = is_transposed ? out : in;
    weight = NDArray::placeholder({first, other / options.groups, kernel.depth, kernel.height, kernel.width});
    if (a.get<bool>("bias")) bias = NDArray::placeholder({out});
  }
};

const LayerRegistration conv3d_registrations[] = {
    {"Conv3d",
     [](const Attributes& a) {
       const VolumeConvolution c("Conv3d", a, false);
       return std::make_shared<Conv3d>(c.weight, c.bias, c.options);
     }},
    {"ConvTranspose3d",
     [](const Attributes& a) {
       const VolumeConvolution c("ConvTranspose3d", a, true);
       return std::make_shared<ConvTranspose3d>(c.weight, c.bias, c.options, Triple::from(a, "output_padding"));
     }},
};

}  // namespace

Conv3d::Conv3d(int64_t in, int64_t out, Triple kernel, Options o)
    : weight(register_parameter("weight", init::default_weight(conv3d_weight(in, out, kernel, o.groups)))),
      bias(register_parameter("bias", o.bias ? init::default_bias(out, weight.shape()) : Tensor())),
      options_{o.stride, o.padding, o.dilation, o.groups} {}

Conv3d::Conv3d(Tensor w, Tensor b, const Conv3dOptions& o)
    : weight(register_parameter("weight", std::move(w))), bias(register_parameter("bias", std::move(b))), options_(o) {
  check_volume_tensors("Conv3d", weight, bias, o.groups, false);
}

Tensor Conv3d::forward(const Tensor& x) { return conv3d(x, weight, bias, options_); }

Attributes Conv3d::attributes() const { return attributes_of(weight, bias, options_, false); }

ConvTranspose3d::ConvTranspose3d(int64_t in, int64_t out, Triple kernel, Options o)
    : weight(register_parameter("weight", init::default_weight(conv_transpose3d_weight(in, out, kernel, o.groups)))),
      bias(register_parameter("bias", o.bias ? init::default_bias(out, weight.shape()) : Tensor())),
      options_{o.stride, o.padding, o.dilation, o.groups},
      output_padding_(o.output_padding) {}

ConvTranspose3d::ConvTranspose3d(Tensor w, Tensor b, const Conv3dOptions& o, Triple output_padding)
    : weight(register_parameter("weight", std::move(w))),
      bias(register_parameter("bias", std::move(b))),
      options_(o),
      output_padding_(output_padding) {
  check_volume_tensors("ConvTranspose3d", weight, bias, o.groups, true);
}

Tensor ConvTranspose3d::forward(const Tensor& x) {
  return conv_transpose3d(x, weight, bias, options_, output_padding_);
}

Attributes ConvTranspose3d::attributes() const {
  Attributes a = attributes_of(weight, bias, options_, true);
  a.set("output_padding", output_padding_.to_vector());
  return a;
}

}  // namespace thimble::nn
