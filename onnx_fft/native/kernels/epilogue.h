// What follows the sums of a convolution on their way out: a bias, a residual, an activation, a scale and a shift. The
// one place that computes them; vectors hold outputs of one channel, in the order of memory.
#pragma once

#include "kernels/half.h"
#include "kernels/kernels.h"
#include "kernels/vector.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

// How a float is made of bits, and where exp ends.
template <typename Real>
struct Format;

template <>
struct Format<float> {
  typedef int32_t Bits __attribute__((vector_size(ONNX_FFT_VECTOR_BYTES)));
  static constexpr int mantissa = 23;
  static constexpr float magic = 0x1.8p23f, bias = 127;  // x + magic has round(x) in its lowest bits
  static constexpr float ln2_high = 0x1.63p-1f, ln2_low = -0x1.bd0106p-13f;  // multiples of the first are exact
  static constexpr float exp_vanishes = -104, tanh_is_one = 10;
  static constexpr int exp_terms = 8;
};

template <>
struct Format<double> {
  typedef int64_t Bits __attribute__((vector_size(ONNX_FFT_VECTOR_BYTES)));
  static constexpr int mantissa = 52;
  static constexpr double magic = 0x1.8p52, bias = 1023;
  static constexpr double ln2_high = 0x1.62e42fee00000p-1, ln2_low = 0x1.a39ef35793c76p-33;
  static constexpr double exp_vanishes = -746, tanh_is_one = 20;
  static constexpr int exp_terms = 13;
};

constexpr double kInverseFactorials[] = {
    1.0,        1.0,         1.0 / 2,      1.0 / 6,       1.0 / 24,       1.0 / 120,       1.0 / 720,
    1.0 / 5040, 1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};

template <typename Real>
ONNX_FFT_INLINE Vec<Real> round_to_integer(Vec<Real> x) {
  return (x + Format<Real>::magic) - Format<Real>::magic;
}

// 2^n for an integer n of a normal number; anything for a NaN.
template <typename Real>
ONNX_FFT_INLINE Vec<Real> power_of_two(Vec<Real> n) {
  typedef typename Format<Real>::Bits Bits;
  return (Vec<Real>)((Bits)(n + (Format<Real>::magic + Format<Real>::bias)) << Format<Real>::mantissa);
}

// exp(x) = 2^n (1 + rest) with an integer n and |rest| <= sqrt(2) - 1, by Taylor's series; a NaN stays in `rest`.
template <typename Real>
struct SplitExp {
  Vec<Real> n, rest;

  ONNX_FFT_INLINE explicit SplitExp(Vec<Real> x) {
    typedef Format<Real> F;
    n = round_to_integer<Real>(x * Real(1.44269504088896340736));
    const Vec<Real> r = (x - n * F::ln2_high) - n * F::ln2_low;
    Vec<Real> series = broadcast(Real(kInverseFactorials[F::exp_terms]));
    ONNX_FFT_UNROLL
    for (int k = F::exp_terms - 1; k >= 2; --k) series = series * r + Real(kInverseFactorials[k]);
    rest = r * r * series + r;
  }
};

template <typename Real>
ONNX_FFT_INLINE Vec<Real> minus_absolute(Vec<Real> x) {
  return x < Vec<Real>{} ? x : -x;
}

// exp(x) for x <= 0. Half of n at a time, since 2^n need not be a normal number.
template <typename Real>
ONNX_FFT_INLINE Vec<Real> exp_of_negative(Vec<Real> x) {
  const Vec<Real> least = broadcast(Format<Real>::exp_vanishes);
  const SplitExp<Real> split(x < least ? least : x);
  const Vec<Real> half = round_to_integer<Real>(split.n * Real(0.5));
  return (split.rest + Real(1)) * power_of_two<Real>(half) * power_of_two<Real>(split.n - half);
}

// With e = exp(-|x|): 1 / (1 + e) above 0, e / (1 + e) below. Neither overflows, and both keep all digits.
template <typename Real>
ONNX_FFT_INLINE Vec<Real> sigmoid(Vec<Real> x) {
  const Vec<Real> e = exp_of_negative<Real>(minus_absolute<Real>(x)), above = Real(1) / (e + Real(1));
  return x < Vec<Real>{} ? e * above : above;
}

// With m = exp(-2 |x|) - 1, which keeps all digits near 0: |tanh x| = -m / (2 + m).
template <typename Real>
ONNX_FFT_INLINE Vec<Real> tanh(Vec<Real> x) {
  const Vec<Real> y = minus_absolute<Real>(x), least = broadcast(-Format<Real>::tanh_is_one);
  const SplitExp<Real> split((y < least ? least : y) * Real(2));
  const Vec<Real> scale = power_of_two<Real>(split.n), m = split.rest * scale + (scale - Real(1));
  const Vec<Real> size = m / (m + Real(2));
  return x < Vec<Real>{} ? size : -size;
}

// A NaN stays a NaN, a bound of NaN is none, and of contradictory bounds the greatest value wins, as in ONNX Runtime:
// every comparison with a NaN is false.
template <typename Real>
ONNX_FFT_INLINE Vec<Real> clip(Vec<Real> x, Vec<Real> low, Vec<Real> high) {
  const Vec<Real> raised = x < low ? low : x;
  return raised > high ? high : raised;
}

template <typename Real>
ONNX_FFT_INLINE Vec<Real> activate(const Activation& activation, Real slope, Vec<Real> x) {
  const Real alpha = static_cast<Real>(activation.alpha), beta = static_cast<Real>(activation.beta);
  const Vec<Real> zero = {};
  switch (activation.kind) {
    case ActivationKind::kNone: break;
    case ActivationKind::kRelu: return x < zero ? zero : x;
    case ActivationKind::kLeakyRelu: return x < zero ? x * alpha : x;
    case ActivationKind::kPRelu: return x < zero ? x * slope : x;
    case ActivationKind::kClip: return clip<Real>(x, broadcast(alpha), broadcast(beta));
    case ActivationKind::kHardSigmoid: return clip<Real>(x * alpha + beta, zero, broadcast(Real(1)));
    case ActivationKind::kHardSwish: return clip<Real>(x + Real(3), zero, broadcast(Real(6))) * (Real(1) / Real(6)) * x;
    case ActivationKind::kSigmoid: return sigmoid<Real>(x);
    case ActivationKind::kSwish: return x * sigmoid<Real>(x);
    case ActivationKind::kTanh: return tanh<Real>(x);
  }
  return x;
}

// The outputs of one channel for a vector of its sums. `residual` is what is added to them, zeros if nothing is.
template <typename Real>
ONNX_FFT_INLINE Vec<Real> finish(const Epilogue<Real>& epilogue, int64_t channel, Vec<Real> sums, Vec<Real> residual) {
  if (epilogue.bias != nullptr) sums = sums + epilogue.bias[channel];
  if (epilogue.residual != nullptr) sums = sums + residual;
  const Real slope = epilogue.slope != nullptr ? epilogue.slope[channel] : Real(0);
  const Vec<Real> y = activate<Real>(epilogue.activation, slope, sums);
  return epilogue.scale != nullptr ? y * epilogue.scale[channel] + epilogue.shift[channel] : y;
}

// Up to a vector of values in a row, widened to the computing type. Lanes from `count` on are zero.
template <typename Real>
ONNX_FFT_INLINE Vec<Real> load_values(const Real* p, int64_t count) {
  return load_lanes(p, 0, count);
}

template <typename Real>
ONNX_FFT_INLINE Vec<Real> load_values(const Half* p, int64_t count) {
  alignas(ONNX_FFT_VECTOR_BYTES) Real values[kLanes<Real>] = {};
  for (int64_t i = 0; i < count; ++i) values[i] = widen(p[i]);
  return load(values);
}

template <typename Real>
ONNX_FFT_INLINE void store_values(Real* p, Vec<Real> v, int64_t count) {
  store_lanes(p, v, 0, count);
}

template <typename Real>
ONNX_FFT_INLINE void store_values(Half* p, Vec<Real> v, int64_t count) {
  alignas(ONNX_FFT_VECTOR_BYTES) Real values[kLanes<Real>];
  store(values, v);
  for (int64_t i = 0; i < count; ++i) narrow(values[i], p + i);
}

// Finishes up to a vector of sums of one channel and writes them to a row of outputs from `y` on; `residual` lies there
// in the residual, and is not read if there is none.
template <typename Real, typename Storage>
ONNX_FFT_INLINE void store_finished(const Epilogue<Real>& epilogue, int64_t channel, Vec<Real> sums, Storage* y,
                                    const Storage* residual, int64_t count) {
  const Vec<Real> addend = epilogue.residual != nullptr ? load_values<Real>(residual, count) : Vec<Real>{};
  store_values<Real>(y, finish<Real>(epilogue, channel, sums, addend), count);
}

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
