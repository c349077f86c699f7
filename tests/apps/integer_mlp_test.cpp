// The arithmetic of examples/integer_mlp.cpp: bit for bit the library's.
#include <cmath>
#include <random>

#include <gtest/gtest.h>

// The example, whole, as a part of this program.
#define main integer_mlp_main
#include "examples/integer_mlp.cpp"
#undef main

#include <thimble/quant/layers/quantized_linear.h>

namespace thimble {
namespace {

using quant::QuantizedLinear;
using quant::TensorQParams;

// An integer of up to `bits` bits, all sizes alike, either sign.
int64_t random_integer(int bits, std::mt19937_64& random) {
  const int kept = static_cast<int>(random() % static_cast<unsigned>(bits)) + 1;
  const auto magnitude = static_cast<int64_t>(random() >> (64 - kept));
  return random() % 2 ? magnitude : -magnitude;
}

// A positive float, often a power of two, so that products lie halfway between integers.
float random_scale(int least_exponent, int most_exponent, std::mt19937_64& random) {
  const int exponent =
      least_exponent + static_cast<int>(random() % static_cast<unsigned>(most_exponent - least_exponent + 1));
  const float mantissa = random() % 2 ? 1.0f : 1.0f + static_cast<float>(random() % (1 << 23)) * 0x1p-23f;
  return std::ldexp(mantissa, exponent);
}

struct Fraction {
  int32_t mantissa, shift;
};

Fraction fraction_of(float multiplier) {
  int exponent = 0;
  const auto mantissa = static_cast<int32_t>(std::ldexp(std::frexp(multiplier, &exponent), 24));
  return {mantissa, 24 - exponent};
}

TEST(IntegerMlp, RoundsAsFloat32Does) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 200000; ++i) {
    const int64_t v = random_integer(56, random);
    EXPECT_EQ(to_float32(v), static_cast<int64_t>(static_cast<float>(v))) << v;
  }
}

TEST(IntegerMlp, MultipliesAndRoundsAsTheLibraryDoes) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 200000; ++i) {
    const auto sum = static_cast<int32_t>(random_integer(31, random));
    const float multiplier = random_scale(-60, 3, random);
    const auto [mantissa, shift] = fraction_of(multiplier);
    const float expected = static_cast<float>(sum) * multiplier;
    const int64_t product = to_float32(to_float32(sum) * mantissa);
    EXPECT_EQ(std::ldexp(static_cast<double>(product), -shift), double{expected}) << sum << " * " << multiplier;
    EXPECT_EQ(shift_right(product, shift), std::llrint(expected)) << sum << " * " << multiplier;
  }
}

TEST(IntegerMlp, RanksAsFloatsAreOrdered) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 200000; ++i) {
    float value[2];
    int32_t ranked[2];
    for (int j = 0; j < 2; ++j) {
      const auto sum = static_cast<int32_t>(random_integer(10, random));
      const float multiplier = random_scale(-4, 1, random);
      const auto [mantissa, shift] = fraction_of(multiplier);
      value[j] = static_cast<float>(sum) * multiplier;
      ranked[j] = ::rank(to_float32(to_float32(sum) * mantissa), shift);
    }
    EXPECT_EQ(ranked[0] < ranked[1], value[0] < value[1]) << value[0] << ' ' << value[1];
    EXPECT_EQ(ranked[0] == ranked[1], value[0] == value[1]) << value[0] << ' ' << value[1];
  }
}

// Random layers, some with outputs, some with ReLU, some that saturate.
TEST(IntegerMlp, ALayerGivesTheLibrarysBits) {
  std::mt19937_64 random(4);
  for (int round = 0; round < 300; ++round) {
    const auto in = static_cast<int64_t>(random() % 300 + 1), out = static_cast<int64_t>(random() % 40 + 1);
    const auto qparams = [&](int least, int most) {
      const int bits = static_cast<int>(random() % 7) + 2;
      return TensorQParams{random_scale(least, most, random), static_cast<int32_t>(random() % (uint64_t{1} << bits)),
                           bits};
    };
    const TensorQParams input = qparams(-8, -4);
    const auto output = random() % 4 ? std::optional(qparams(-6, 0)) : std::nullopt;
    QuantizedLinear layer({in, out, input, output, 8, random() % 2 == 0});
    NDArray weight({out, in}, DType::int8), bias({out}, DType::int32), scale({out});
    for (int64_t i = 0; i < weight.numel(); ++i) weight.data<int8_t>()[i] = static_cast<int8_t>(random() % 255 - 127);
    for (int64_t o = 0; o < out; ++o) {
      bias.data<int32_t>()[o] = static_cast<int32_t>(random_integer(28, random));
      scale.data<float>()[o] = random_scale(-14, -6, random);
    }
    layer.load_state({{"weight", weight}, {"weight_scale", scale}, {"bias", bias}});

    Arrays arrays{{"fc.weight", weight.to_vector<int32_t>()},
                  {"fc.weight_shift", {0}},
                  {"fc.bias", bias.to_vector<int32_t>()},
                  {"fc.relu", {layer.quantization().relu}},
                  {"fc.input_zero_point", {input.zero_point}}};
    for (const float multiplier : layer.multiplier()) {
      const auto [mantissa, shift] = fraction_of(multiplier);
      arrays["fc.multiplier_mantissa"].push_back(mantissa);
      arrays["fc.multiplier_shift"].push_back(shift);
    }
    if (output) {
      arrays["fc.output_zero_point"] = {output->zero_point};
      arrays["fc.output_max"] = {output->qmax()};
    }
    NDArray x({1, in}, DType::uint8);
    for (int64_t i = 0; i < in; ++i) x.data<uint8_t>()[i] = static_cast<uint8_t>(random() & 0xff);
    const NDArray expected = layer(Tensor(x)).data();
    const Values got = ::run(arrays, "fc", x.to_vector<int32_t>());
    if (output) {
      EXPECT_EQ(got, expected.to_vector<int32_t>());
      continue;
    }
    const auto logits = expected.to_vector<float>();
    for (size_t i = 0; i < logits.size(); ++i)
      for (size_t j = 0; j < logits.size(); ++j) EXPECT_EQ(got[i] < got[j], logits[i] < logits[j]);
  }
}

}  // namespace
}  // namespace thimble
