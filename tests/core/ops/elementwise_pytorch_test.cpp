// Values and gradients compared with PyTorch 1.13 (float64), edges included: bounds, ties, zeros, infinities, NaN.
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "tests/core/special_values.h"
#include <thimble/core/ops/elementwise.h>

namespace thimble {
namespace {

void expect_same(const NDArray& got, const std::vector<double>& expected, const char* what) {
  const auto values = got.to_vector<double>();
  ASSERT_EQ(values.size(), expected.size()) << what;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (std::isnan(expected[i])) {
      EXPECT_TRUE(std::isnan(values[i])) << what << " at " << i << ": " << values[i];
    } else if (std::isinf(expected[i])) {
      EXPECT_EQ(values[i], expected[i]) << what << " at " << i;
    } else {
      EXPECT_NEAR(values[i], expected[i], 1e-15 + 1e-13 * std::abs(expected[i])) << what << " at " << i;
    }
  }
}

struct PyTorchVector {
  const char* name;
  Tensor (*function)(const Tensor&);
  std::vector<double> values;
  std::vector<double> gradients;  // for an output gradient of 2
};

const std::vector<double> kPoints = {kNaN, -kInf, -20.0, -3.0, -1.0, -0.5, -0.0, 0.0,
                                     0.5,  1.0,   3.0,   6.0,  7.0,  20.0, kInf, -2.0};
const PyTorchVector kPyTorch[] = {
    {"abs(x)",
     [](const Tensor& x) { return abs(x); },
     {kNaN, kInf, 20.0, 3.0, 1.0, 0.5, 0.0, 0.0, 0.5, 1.0, 3.0, 6.0, 7.0, 20.0, kInf, 2.0},
     {0.0, -2.0, -2.0, -2.0, -2.0, -2.0, 0.0, 0.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, -2.0}},
    {"exp(x)",
     [](const Tensor& x) { return exp(x); },
     {kNaN, 0.0, 2.061153622438558e-09, 0.049787068367863944, 0.36787944117144233, 0.6065306597126334, 1.0, 1.0,
      1.6487212707001282, 2.718281828459045, 20.085536923187668, 403.4287934927351, 1096.6331584284585,
      485165195.4097903, kInf, 0.1353352832366127},
     {kNaN, 0.0, 4.122307244877116e-09, 0.09957413673572789, 0.7357588823428847, 1.2130613194252668, 2.0, 2.0,
      3.2974425414002564, 5.43656365691809, 40.171073846375336, 806.8575869854702, 2193.266316856917, 970330390.8195806,
      kInf, 0.2706705664732254}},
    {"log(x)",
     [](const Tensor& x) { return log(x); },
     {kNaN, kNaN, kNaN, kNaN, kNaN, kNaN, -kInf, -kInf, -0.6931471805599453, 0.0, 1.0986122886681098, 1.791759469228055,
      1.9459101490553132, 2.995732273553991, kInf, kNaN},
     {kNaN, -0.0, -0.1, -0.6666666666666666, -2.0, -4.0, -kInf, kInf, 4.0, 2.0, 0.6666666666666666, 0.3333333333333333,
      0.2857142857142857, 0.1, 0.0, -1.0}},
    {"sqrt(x)",
     [](const Tensor& x) { return sqrt(x); },
     {kNaN, kNaN, kNaN, kNaN, kNaN, kNaN, -0.0, 0.0, 0.7071067811865476, 1.0, 1.7320508075688772, 2.449489742783178,
      2.6457513110645907, 4.47213595499958, kInf, kNaN},
     {kNaN, kNaN, kNaN, kNaN, kNaN, kNaN, -kInf, kInf, 1.414213562373095, 1.0, 0.5773502691896258, 0.4082482904638631,
      0.3779644730092272, 0.22360679774997896, 0.0, kNaN}},
    {"tanh(x)",
     [](const Tensor& x) { return tanh(x); },
     {kNaN, -1.0, -1.0, -0.9950547536867305, -0.7615941559557649, -0.46211715726000974, -0.0, 0.0, 0.46211715726000974,
      0.7615941559557649, 0.9950547536867305, 0.9999877116507956, 0.9999983369439447, 1.0, 1.0, -0.9640275800758169},
     {kNaN, 0.0, 0.0, 0.019732074330880332, 0.8399486832280523, 1.5728954659318548, 2.0, 2.0, 1.5728954659318548,
      0.8399486832280523, 0.019732074330880332, 4.915309481060595e-05, 6.652218689737673e-06, 0.0, 0.0,
      0.14130164970632886}},
    {"erf(x)",
     [](const Tensor& x) { return erf(x); },
     {kNaN, -1.0, -1.0, -0.9999779095030014, -0.8427007929497149, -0.5204998778130465, -0.0, 0.0, 0.5204998778130465,
      0.8427007929497149, 0.9999779095030014, 1.0, 1.0, 1.0, 1.0, -0.9953222650189527},
     {kNaN, 0.0, 4.322074948773597e-174, 0.00027850610389349573, 0.8302149948411894, 1.7575651578708895,
      2.256758334191025, 2.256758334191025, 1.7575651578708895, 0.8302149948411894, 0.00027850610389349573,
      5.234602478498529e-16, 1.1831925916006139e-21, 4.322074948773597e-174, 0.0, 0.041333970708184106}},
    {"sigmoid(x)",
     [](const Tensor& x) { return sigmoid(x); },
     {kNaN, 0.0, 2.0611536181902037e-09, 0.04742587317756678, 0.2689414213699951, 0.3775406687981454, 0.5, 0.5,
      0.6224593312018546, 0.7310585786300049, 0.9525741268224334, 0.9975273768433653, 0.9990889488055994,
      0.9999999979388463, 1.0, 0.11920292202211755},
     {kNaN, 0.0, 4.122307227883699e-09, 0.09035331946182427, 0.3932238664829637, 0.470007424403189, 0.5, 0.5,
      0.470007424403189, 0.3932238664829637, 0.090353319461824, 0.004933018582719862, 0.001820442360243568,
      4.1223073758387905e-09, 0.0, 0.209987170807013}},
    {"relu(x)",
     [](const Tensor& x) { return relu(x); },
     {kNaN, 0.0, 0.0, 0.0, 0.0, 0.0, -0.0, 0.0, 0.5, 1.0, 3.0, 6.0, 7.0, 20.0, kInf, 0.0},
     {2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 0.0}},
    {"relu6(x)",
     [](const Tensor& x) { return relu6(x); },
     {kNaN, 0.0, 0.0, 0.0, 0.0, 0.0, -0.0, 0.0, 0.5, 1.0, 3.0, 6.0, 6.0, 6.0, 6.0, 0.0},
     {0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0}},
    {"leaky_relu(x, 0.1)",
     [](const Tensor& x) { return leaky_relu(x, 0.1); },
     {kNaN, -kInf, -2.0, -0.30000000000000004, -0.1, -0.05, -0.0, 0.0, 0.5, 1.0, 3.0, 6.0, 7.0, 20.0, kInf, -0.2},
     {0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 0.2}},
    {"gelu(x)",
     [](const Tensor& x) { return gelu(x); },
     {kNaN, kNaN, -0.0, -0.00404969409489031, -0.15865525393145702, -0.15426876936299344, -0.0, 0.0,
      0.34573123063700656, 0.841344746068543, 2.99595030590511, 5.999999994080474, 6.999999999991041, 20.0, kInf,
      -0.04550026389635842},
     {kNaN, kNaN, -2.2083793448639054e-86, -0.02389129440836784, -0.1666309411753727, 0.26500975068767424, 1.0, 1.0,
      1.7349902493123257, 2.166630941175373, 2.023891294408368, 2.0000000709374186, 2.0000000001253264, 2.0, kNaN,
      -0.17046360215639383}},
    {"silu(x)",
     [](const Tensor& x) { return silu(x); },
     {kNaN, kNaN, -4.122307236380407e-08, -0.14227761953270035, -0.2689414213699951, -0.1887703343990727, -0.0, 0.0,
      0.3112296656009273, 0.7310585786300049, 2.8577223804672998, 5.985164261060192, 6.993622641639196,
      19.999999958776925, kInf, -0.2384058440442351},
     {kNaN, kNaN, -7.832383732129357e-08, -0.17620821203033923, 0.1446589762570265, 0.5200776253946964, 1.0, 1.0,
      1.4799223746053038, 1.8553410237429737, 2.1762082120303385, 2.0246528651830498, 2.0109209941329036,
      2.0000000783238403, kNaN, -0.18156849756979093}},
    {"clamp(x, -1, 3)",
     [](const Tensor& x) { return clamp(x, -1, 3); },
     {kNaN, -1.0, -1.0, -1.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 3.0, 3.0, 3.0, 3.0, 3.0, -1.0},
     {0.0, 0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0}},
    {"pow(x, 0.0)",
     [](const Tensor& x) { return pow(x, 0.0); },
     {1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0},
     {0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0}},
    {"pow(x, 1.0)",
     [](const Tensor& x) { return pow(x, 1.0); },
     {kNaN, -kInf, -20.0, -3.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 3.0, 6.0, 7.0, 20.0, kInf, -2.0},
     {2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0}},
    {"pow(x, 2.0)",
     [](const Tensor& x) { return pow(x, 2.0); },
     {kNaN, kInf, 400.0, 9.0, 1.0, 0.25, 0.0, 0.0, 0.25, 1.0, 9.0, 36.0, 49.0, 400.0, kInf, 4.0},
     {kNaN, -kInf, -80.0, -12.0, -4.0, -2.0, -0.0, 0.0, 2.0, 4.0, 12.0, 24.0, 28.0, 80.0, kInf, -8.0}},
    {"pow(x, 3.0)",
     [](const Tensor& x) { return pow(x, 3.0); },
     {kNaN, -kInf, -8000.0, -27.0, -1.0, -0.125, -0.0, 0.0, 0.125, 1.0, 27.0, 216.0, 343.0, 8000.0, kInf, -8.0},
     {kNaN, kInf, 2400.0, 54.0, 6.0, 1.5, 0.0, 0.0, 1.5, 6.0, 54.0, 216.0, 294.0, 2400.0, kInf, 24.0}},
    {"pow(x, -1.0)",
     [](const Tensor& x) { return pow(x, -1.0); },
     {kNaN, -0.0, -0.05, -0.3333333333333333, -1.0, -2.0, -kInf, kInf, 2.0, 1.0, 0.3333333333333333,
      0.16666666666666666, 0.14285714285714285, 0.05, 0.0, -0.5},
     {kNaN, -0.0, -0.005, -0.2222222222222222, -2.0, -8.0, -kInf, -kInf, -8.0, -2.0, -0.2222222222222222,
      -0.05555555555555555, -0.04081632653061224, -0.005, -0.0, -0.5}},
};

TEST(ElementwisePyTorch, UnaryOpsGiveItsValuesAndGradients) {
  for (const PyTorchVector& expected : kPyTorch) {
    const Tensor x(NDArray::from_vector(kPoints), true);
    const Tensor y = expected.function(x);
    expect_same(y.data(), expected.values, expected.name);
    y.backward(NDArray::full(y.shape(), 2, DType::float64));
    expect_same(x.grad().data(), expected.gradients, expected.name);
  }
}

void expect_binary(Tensor (*function)(const Tensor&, const Tensor&), const std::vector<double>& a,
                   const std::vector<double>& b, const std::vector<double>& values,
                   const std::vector<double>& gradients_a, const std::vector<double>& gradients_b) {
  const Tensor x(NDArray::from_vector(a), true), y(NDArray::from_vector(b), true);
  const Tensor z = function(x, y);
  expect_same(z.data(), values, "value");
  z.backward(NDArray::full(z.shape(), 2, DType::float64));
  expect_same(x.grad().data(), gradients_a, "first gradient");
  expect_same(y.grad().data(), gradients_b, "second gradient");
}

TEST(ElementwisePyTorch, MaximumAndMinimumSplitTiesAndPassNaN) {
  const std::vector<double> a = {1, 2, 3, kNaN, 1, kNaN, 0, kInf, -kInf}, b = {1, 3, 2, 1, kNaN, kNaN, 0, kInf, kInf};
  expect_binary(maximum, a, b, {1, 3, 3, kNaN, kNaN, kNaN, 0, kInf, kInf}, {1, 0, 2, 2, 2, 2, 1, 1, 0},
                {1, 2, 0, 2, 2, 2, 1, 1, 2});
  expect_binary(minimum, a, b, {1, 2, 2, kNaN, kNaN, kNaN, 0, kInf, -kInf}, {1, 2, 0, 2, 2, 2, 1, 1, 2},
                {1, 0, 2, 2, 2, 2, 1, 1, 0});
}

TEST(ElementwisePyTorch, DivisionByZeroAndInfinity) {
  expect_binary(div, {1, 2, 0, -1, 1}, {4, 3, 0, 0, kInf}, {0.25, 2.0 / 3, kNaN, -kInf, 0},
                {0.5, 2.0 / 3, kInf, kInf, 0}, {-0.125, -4.0 / 9, kNaN, kInf, 0});
}

TEST(ElementwisePyTorch, PowOfTensorsAtTheEdges) {
  expect_binary(
      pow, {0, 0, 0, 2, 2, -2, -2, -2, kNaN, 1, kInf, 0.5}, {0, 2, -1, 0, 3, 2, 3, 0.5, 0, kNaN, 0, 1},
      {1, 0, kInf, 1, 8, 4, -8, kNaN, 1, 1, 1, 0.5}, {0, 0, -kInf, 0, 24, -8, 24, kNaN, 0, kNaN, 0, 2},
      {0, 0, -kInf, 1.3862943611198906, 11.090354888959125, kNaN, kNaN, kNaN, kNaN, 0, kInf, -0.6931471805599453});
}

}  // namespace
}  // namespace thimble
