// Complex numbers that lie in memory as pairs, to and from complex vectors.
#pragma once

#include "kernels/codelets.h"
#include "kernels/dense_rows.h"
#include "kernels/fourier.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

template <int First, typename Real, int... I>
ONNX_FFT_INLINE Vec<Real> every_other(Vec<Real> a, Vec<Real> b, Indices<I...>) {
  return __builtin_shufflevector(a, b, (2 * I + First)...);
}

template <typename Real, int... I>
ONNX_FFT_INLINE Vec<Real> reverse(Vec<Real> v, Indices<I...>) {
  return __builtin_shufflevector(v, v, (kLanes<Real> - 1 - I)...);
}

template <typename Real>
ONNX_FFT_INLINE Complex<Real> reverse(Complex<Real> v) {
  typedef typename CountUp<kLanes<Real>>::type All;
  return {reverse<Real>(v.re, All{}), reverse<Real>(v.im, All{})};
}

// `count` pairs from p on; what is behind them is zero.
template <typename Real>
ONNX_FFT_INLINE Complex<Real> load_pairs(const Real* p, int64_t reals) {
  constexpr int L = kLanes<Real>;
  typedef typename CountUp<L>::type All;
  const Vec<Real> low = load_lanes(p, 0, clamp(reals, 0, L)), high = load_lanes(p + L, 0, clamp(reals - L, 0, L));
  return {every_other<0, Real>(low, high, All{}), every_other<1, Real>(low, high, All{})};
}

template <typename Real>
ONNX_FFT_INLINE void store_pairs(Real* p, Complex<Real> value, int64_t reals) {
  constexpr int L = kLanes<Real>;
  store_lanes(p, interleave<false, Real>(value.re, value.im), 0, clamp(reals, 0, L));
  store_lanes(p + L, interleave<true, Real>(value.re, value.im), 0, clamp(reals - L, 0, L));
}

template <typename Real>
ONNX_FFT_INLINE Complex<Real> swap_parts(Complex<Real> value, bool swaps) {
  return swaps ? Complex<Real>{value.im, value.re} : value;
}

// Up to `count` samples of a long line from sample n on.
template <typename Real>
ONNX_FFT_INLINE Complex<Real> read_long(const LongInput<Real>& in, int64_t n, int64_t count) {
  constexpr int L = kLanes<Real>;
  if (in.is_real) {
    const Vec<Real> zero = {};
    return swap_parts<Real>({load_lanes(in.data + n, 0, clamp(in.reals - n, 0, count)), zero}, in.is_swapped);
  }
  const int64_t there = clamp(in.reals - 2 * n, 0, 2 * count);
  return swap_parts<Real>(
      there == 2 * L ? load_pairs<Real>(in.data + 2 * n, 2 * L) : load_pairs<Real>(in.data + 2 * n, there),
      in.is_swapped);
}

template <typename Real>
ONNX_FFT_INLINE void write_long(const LongOutput<Real>& out, int64_t n, Complex<Real> value, int64_t count) {
  constexpr int L = kLanes<Real>;
  const int64_t wanted = clamp(out.samples - n, 0, count);
  value = swap_parts<Real>(value, out.is_swapped);
  value = {value.re * out.re_scale, value.im * out.im_scale};
  if (out.is_real) {
    store_lanes(out.data + n, value.re, 0, wanted);
  } else if (wanted == L) {
    store_pairs<Real>(out.data + 2 * n, value, 2 * L);
  } else {
    store_pairs<Real>(out.data + 2 * n, value, 2 * wanted);
  }
}

template <typename Real>
ONNX_FFT_INLINE Complex<Real> multiply_vectors(Complex<Real> a, Complex<Real> b) {
  return {a.re * b.re - a.im * b.im, a.im * b.re + a.re * b.im};
}

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
