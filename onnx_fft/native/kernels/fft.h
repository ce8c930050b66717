// DFTs along one line of any length that tile_plan.cpp factors, complex and real.
#pragma once

#include "kernels/codelets.h"
#include "planner/tile_plan.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

// Radices of coprime factors go without twiddles: 1,000 points by 5, 10 and 10 take a quarter less. For powers of two,
// the composition at compile time is a tenth faster (2-core AMD EPYC, AVX2, GCC 12, 2026-11).
template <typename Real, int R>
ONNX_FFT_INLINE void run_butterfly(Complex<Real> (&x)[R]) {
  if constexpr (R == 6 || R == 10 || R == 12) {
    complex_dft<Real, R>(x);
  } else {
    Dft<Real, R>::run(x);
  }
}

// How far apart in a line the elements of a butterfly lie, and the butterflies of one p or one q and the next.
struct Apart {
  ptrdiff_t element, p, q;
};

// One step of a DFT: with n = R m, for p < m and q < s,
//     y[k, p, q] = w_n^(p k) sum_i w_R^(i k) x[i, p, q]
template <typename Real, int R>
void run_butterflies(const LinePlan::Step& step, const Real* roots, Line<Real> in, Apart from, Line<Real> out,
                     Apart to) {
  const ptrdiff_t m = step.count, s = step.stride, in_step = from.element * in.stride,
                  out_step = to.element * out.stride;
  for (ptrdiff_t p = 0; p < m; ++p, roots += 2 * (R - 1)) {
    const Real* source = in.re + p * from.p * in.stride;
    Real* target = out.re + p * to.p * out.stride;
    for (ptrdiff_t q = 0; q < s; ++q, source += from.q * in.stride, target += to.q * out.stride) {
      Complex<Real> x[R];
      ONNX_FFT_UNROLL
      for (int i = 0; i < R; ++i) x[i] = in.read(source + i * in_step);
      run_butterfly<Real, R>(x);
      if (p > 0) {
        ONNX_FFT_UNROLL
        for (int k = 1; k < R; ++k) x[k] = multiply_complex(x[k], roots[2 * k - 2], roots[2 * k - 1]);
      }
      ONNX_FFT_UNROLL
      for (int k = 0; k < R; ++k) out.write(target + k * out_step, x[k]);
    }
  }
}

template <typename Real>
void run_step(const LinePlan::Step& step, const Real* roots, Line<Real> in, Apart from, Line<Real> out, Apart to) {
  roots += step.twiddle;
  switch (step.radix) {
    case 2: return run_butterflies<Real, 2>(step, roots, in, from, out, to);
    case 3: return run_butterflies<Real, 3>(step, roots, in, from, out, to);
    case 4: return run_butterflies<Real, 4>(step, roots, in, from, out, to);
    case 5: return run_butterflies<Real, 5>(step, roots, in, from, out, to);
    case 6: return run_butterflies<Real, 6>(step, roots, in, from, out, to);
    case 7: return run_butterflies<Real, 7>(step, roots, in, from, out, to);
    case 8: return run_butterflies<Real, 8>(step, roots, in, from, out, to);
    case 9: return run_butterflies<Real, 9>(step, roots, in, from, out, to);
    case 10: return run_butterflies<Real, 10>(step, roots, in, from, out, to);
    case 11: return run_butterflies<Real, 11>(step, roots, in, from, out, to);
    case 12: return run_butterflies<Real, 12>(step, roots, in, from, out, to);
    case 13: return run_butterflies<Real, 13>(step, roots, in, from, out, to);
    default: return run_butterflies<Real, 1>(step, roots, in, from, out, to);
  }
}

// The DFT of a line (Stockham): x[i, p, q] lies at q + s (p + m i), y[k, p, q] at q + s (R p + k). `work` holds two
// lines and is neither `in` nor `out`, which may be the same.
template <typename Real>
void transform_line(const LinePlan& plan, const Real* roots, Line<Real> in, Line<Real> out, Line<Real> work) {
  const int last = static_cast<int>(plan.steps.size()) - 1;
  for (int number = 0; number <= last; ++number) {
    const Line<Real> target = number == last ? out : work.from(number % 2 ? plan.length : 0);
    const LinePlan::Step& step = plan.steps.data()[number];
    const ptrdiff_t s = step.stride;
    run_step(step, roots, in, {s * step.count, s, 1}, target, {s, s * step.radix, 1});
    in = target;
  }
}

// The DFT of a line in place: x[i, p, q] lies at q n + p + m i, and y[k, p, q] where x[k, p, q] did, so that the bins
// come out in the order of find_places. A third of the memory of the other: more lines stay in the first-level cache.
// After each step, every q is a line of its own: those of a longer line are finished one by one.
template <typename Real>
void transform_in_place(const LinePlan& plan, const Real* roots, Line<Real> line) {
  constexpr int kMostNear = (64 << 10) / (kPair<Real> * static_cast<int>(sizeof(Real)));
  const int count = static_cast<int>(plan.steps.size());
  const auto run = [&](LinePlan::Step step, int lines, Line<Real> from) {
    step.stride /= lines;
    const Apart apart = {step.count, 1, ptrdiff_t{step.count} * step.radix};
    run_step(step, roots, from, apart, from, apart);
  };
  int number = 0, lines = 1, points = plan.length;
  for (; points > kMostNear; ++number) {
    const LinePlan::Step& step = plan.steps.data()[number];
    run(step, 1, line);
    lines *= step.radix;
    points = step.count;
  }
  for (int first = 0; first < plan.length; first += points) {
    for (int rest = number; rest < count; ++rest) run(plan.steps.data()[rest], lines, line.from(first));
  }
}

// A line whose number k lies at places[k].
template <typename Real>
struct PlacedLine {
  Line<Real> line;
  const int32_t* places;

  ONNX_FFT_INLINE Complex<Real> get(ptrdiff_t k) const { return line.get(places[k]); }
  ONNX_FFT_INLINE void put(ptrdiff_t k, Complex<Real> value) const { line.put(places[k], value); }
};

// From Z, the DFT of z[m] = x[2m] + i x[2m+1] (h points), to twice the half-spectrum X[0 .. h] of x: with
// E = Z[k] + conj Z[h-k] and O = -i (Z[k] - conj Z[h-k]), 2 X[k] = E + w^k O and 2 X[h-k] = conj(E - w^k O).
template <typename Real, typename AnyLine>
void separate(int h, const Real* roots, AnyLine z, AnyLine x) {
  const Complex<Real> first = z.get(0);
  const Vec<Real> zero = {};
  for (int k = 1; 2 * k <= h; ++k) {
    const Complex<Real> a = z.get(k), b = z.get(h - k);
    const Complex<Real> even = {a.re + b.re, a.im - b.im};
    const Complex<Real> odd =
        multiply_complex(multiply_by_minus_i(Complex<Real>{a.re - b.re, a.im + b.im}), roots[2 * k], roots[2 * k + 1]);
    const Complex<Real> difference = even - odd;
    x.put(k, even + odd);
    x.put(h - k, {difference.re, -difference.im});
  }
  x.put(0, {Real(2) * (first.re + first.im), zero});
  x.put(h, {Real(2) * (first.re - first.im), zero});
}

// The inverse of `separate`: twice Z of a half-spectrum Y, Z[k] = (Y[k] + conj Y[h-k]) + i w^-k (Y[k] - conj Y[h-k]).
// With D = -i w^-k (Y[k] - conj Y[h-k]), that of h-k is conj(Y[k] + conj Y[h-k] + D).
template <typename Real>
void join(int h, const Real* roots, Line<Real> y, Line<Real> z) {
  const Vec<Real> low = y.get(0).re, high = y.get(h).re;
  for (int k = 1; 2 * k <= h; ++k) {
    const Complex<Real> a = y.get(k), b = y.get(h - k);
    const Complex<Real> even = {a.re + b.re, a.im - b.im};
    const Complex<Real> odd =
        multiply_by_minus_i(multiply_complex(Complex<Real>{a.re - b.re, a.im + b.im}, roots[2 * k], -roots[2 * k + 1]));
    const Complex<Real> sum = even + odd;
    z.put(k, even - odd);
    z.put(h - k, {sum.re, -sum.im});
  }
  z.put(0, {low + high, low - high});
}

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
