// Every activation against its definition: values of any size, NaN, infinities, bounds that contradict each other.
#include "epilogues.h"

#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <random>
#include <vector>

#include "kernels/half.h"
#include "kernels/isa.h"

namespace {

using onnx_fft::Activation;
using onnx_fft::ActivationKind;
using onnx_fft::Half;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();
constexpr double kSlope = 0.3, kScale = -1.75, kShift = 0.625, kBias = 0.25;

const Activation kActivations[] = {
    {ActivationKind::kNone, 0, 0},
    {ActivationKind::kRelu, 0, 0},
    {ActivationKind::kLeakyRelu, 0.01f, 0},
    {ActivationKind::kLeakyRelu, 0, 0},
    {ActivationKind::kLeakyRelu, -2, 0},
    {ActivationKind::kPRelu, 0, 0},
    {ActivationKind::kClip, -1, 6},
    {ActivationKind::kClip, 1, -1},
    {ActivationKind::kClip, kNaN, 1},
    {ActivationKind::kClip, -1, kNaN},
    {ActivationKind::kClip, -kInfinity, kInfinity},
    {ActivationKind::kHardSigmoid, 0.25f, 0.5f},
    {ActivationKind::kHardSigmoid, -0.25f, 2},
    {ActivationKind::kHardSwish, 0, 0},
    {ActivationKind::kSigmoid, 0, 0},
    {ActivationKind::kSwish, 0, 0},
    {ActivationKind::kTanh, 0, 0},
};

// What one storage type is judged by: a few units in the last place, and its least number.
struct Judge {
  double relative, least;
};

std::vector<double> draw_values(int samples, double largest_exponent, std::mt19937& random) {
  std::vector<double> values;
  const double infinity = kInfinity;
  for (const double size :
       {0.0,   1e-300, 1e-40, 1e-30, 1e-4,  0.17,  0.34,  0.35,  0.5,  1.0,  2.0,   2.5,   3.0,   6.0,
        9.0,   9.02,   10.0,  17.0,  19.0,  20.0,  80.0,  87.3,  88.0, 88.8, 100.0, 103.5, 104.0, 105.0,
        200.0, 700.0,  708.5, 709.8, 740.0, 745.2, 746.0, 800.0, 1e4,  6e4,  1e30,  3e38,  1e300, infinity}) {
    values.insert(values.end(), {size, -size});
  }
  values.push_back(kNaN);
  std::uniform_real_distribution<double> exponent(-20, largest_exponent), near(-30, 30);
  for (int i = 0; i < samples; ++i) {
    const double size = std::exp2(exponent(random));
    values.insert(values.end(), {size, -size, near(random)});
  }
  return values;
}

// Whether `got` is what it should be, given the largest term of its sum.
bool is_right(double got, long double expected, long double terms, double largest, const Judge& judge) {
  if (std::isnan(expected)) return std::isnan(got);
  if (std::fabs(expected) > largest) return std::fabs(got) >= largest && std::signbit(got) == std::signbit(expected);
  return std::fabs(got - expected) <= judge.relative * std::max(std::fabs(expected), terms) + judge.least;
}

template <typename Real, typename Storage>
int check_type(const char* type, const onnx_fft::Kernels<Real>& kernels, const Judge& judge, double largest,
               int samples, std::mt19937& random) {
  int wrong = 0;
  std::vector<double> x = draw_values(samples, std::log2(largest), random);
  std::vector<Storage> stored(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    onnx_fft::narrow(static_cast<Real>(x[i]), &stored[i]);
    x[i] = onnx_fft::widen(stored[i]);
  }
  const Real slopes[] = {0, static_cast<Real>(kSlope)}, scales[] = {0, static_cast<Real>(kScale)},
             shifts[] = {0, static_cast<Real>(kShift)}, biases[] = {0, static_cast<Real>(kBias)};
  for (const Activation& activation : kActivations) {
    for (const bool more : {false, true}) {
      onnx_fft::Epilogue<Real> epilogue;
      epilogue.activation = activation;
      epilogue.slope = slopes;
      if (more)
        epilogue.bias = biases, epilogue.scale = scales, epilogue.shift = shifts, epilogue.residual = &stored[0];
      for (const size_t count : {x.size(), size_t{1}, size_t{5}}) {  // whole vectors and parts of one
        std::vector<Storage> y(stored);
        kernels.finish(epilogue, 1, y.data(), stored.data(), static_cast<int64_t>(count));
        for (size_t i = 0; i < count; ++i) {
          const long double sum = more ? x[i] + (x[i] + (long double){kBias}) : x[i];
          long double expected = activate_by_definition(activation, static_cast<double>(slopes[1]), sum);
          long double terms = activation.kind == ActivationKind::kHardSigmoid ? std::fabs(activation.beta) : 0;
          if (more) {
            // A rounding of the sum moves the result by as much as the function is steep: at most 2 here.
            const long double around = 4 * std::fabs((long double){x[i]}) + kBias;
            terms = std::fabs(kScale) * std::max({terms, std::fabs(expected), around});
            terms = std::isfinite(terms) ? std::max(terms, (long double){kShift}) : 0;
            expected = expected * scales[1] + shifts[1];
          }
          if (std::fabs(x[i]) > largest / 4 && std::isfinite(x[i]) && more) continue;  // the sum overflows
          // The factor of Swish may be as little as the least number.
          const double factor = activation.kind == ActivationKind::kSwish ? std::fabs(x[i]) + 1 : 1;
          const double got = onnx_fft::widen(y[i]);
          if (is_right(got, expected, terms, largest, {judge.relative, judge.least * factor})) continue;
          if (++wrong < 20) {
            std::printf("%s, activation %d (%g, %g)%s: %.9g -> %.17g, expected %.17Lg\n", type,
                        static_cast<int>(activation.kind), static_cast<double>(activation.alpha),
                        static_cast<double>(activation.beta), more ? ", more" : "", x[i], got, expected);
          }
        }
        if (std::memcmp(&y[count - 1] + 1, &stored[count - 1] + 1, (x.size() - count) * sizeof(Storage)) != 0) {
          std::printf("%s: wrote behind %zu values\n", type, count);
          ++wrong;
        }
      }
    }
  }
  return wrong;
}

}  // namespace

int check_epilogues(int samples, unsigned seed) {
  std::mt19937 random(seed);
  const onnx_fft::KernelTable& table = onnx_fft::kernels();
  constexpr double kFloat = std::numeric_limits<float>::max(), kDouble = std::numeric_limits<double>::max();
  return check_type<float, float>("float32", table.f32, {4e-7, 3e-45}, kFloat, samples, random) +
         check_type<double, double>("float64", table.f64, {8e-16, 1e-323}, kDouble, samples, random) +
         check_type<float, Half>("float16", table.f16, {4.9e-4, 3e-8}, 65504, samples, random);
}
