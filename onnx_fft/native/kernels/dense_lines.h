// The DFTs of a dense tile, axis by axis: every line by a codelet.
#pragma once

#include "kernels/dense.h"
#include "kernels/real_codelets.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

// Pairs of vectors, see DenseLayout.
template <typename Real>
struct Pairs {
  Real* first;
  DenseLayout layout;

  ONNX_FFT_INLINE Real* at(ptrdiff_t index) const { return first + index * layout.pair; }
};

// Polyphase components of any number of channels follow one another: their vectors need not be aligned.
template <typename Real>
ONNX_FFT_INLINE void put_pair(const Pairs<Real>& pairs, Real* at, Vec<Real> re, Vec<Real> im) {
  __builtin_memcpy(at, &re, sizeof re);
  __builtin_memcpy(at + pairs.layout.to_im, &im, sizeof im);
}

// Transforms lines of N: sample n of a line lies `slice` reals after sample n - 1. `given` says how many lines are
// complex, [re, im], and how many are real, one vector each and behind the complex ones. Bin k of complex line l goes
// to pair l N + k; then come the complex bins of the real lines, then the pairs of their real bins.
template <typename Real, int N>
__attribute__((noinline)) void transform_lines(DensePairs given, const Real* in, ptrdiff_t slice, Pairs<Real> out) {
  constexpr int L = kLanes<Real>, kComplexBins = N / 2 - 1;
  Real* target = out.first;
  for (int64_t line = 0; line < given.complex; ++line, in += 2 * L) {
    Complex<Real> z[N];
    unroll<N>(ONNX_FFT_STEP(n) { z[n] = {load(in + n * slice), load(in + n * slice + L)}; });
    complex_dft<Real, N>(z);
    unroll<N>(ONNX_FFT_STEP(k) {
      put_pair(out, target, z[k].re, z[k].im);
      target += out.layout.pair;
    });
  }
  Real* real_pair = out.at(given.along(N).complex);
  for (int64_t line = 0; line < given.reals; ++line, in += L, real_pair += out.layout.pair) {
    Vec<Real> x[N];
    unroll<N>(ONNX_FFT_STEP(n) { x[n] = load(in + n * slice); });
    real_dft<Real, N>(x);
    put_pair(out, real_pair, x[0], x[1]);
    unroll<kComplexBins>(ONNX_FFT_STEP(k) {
      put_pair(out, target, x[2 * k + 2], x[2 * k + 3]);
      target += out.layout.pair;
    });
  }
}

// The way back: the first `samples` of each line. `given` counts the lines, as in transform_lines.
template <typename Real, int N>
__attribute__((noinline)) void restore_lines(DensePairs given, Pairs<const Real> in, Real* out, ptrdiff_t slice,
                                             int64_t samples) {
  constexpr int L = kLanes<Real>, kComplexBins = N / 2 - 1;
  const Real* source = in.first;
  const ptrdiff_t to_im = in.layout.to_im;
  for (int64_t line = 0; line < given.complex; ++line, out += 2 * L) {
    Complex<Real> z[N];
    unroll<N>(ONNX_FFT_STEP(k) {
      z[k] = {load(source), load(source + to_im)};
      source += in.layout.pair;
    });
    inverse_complex_dft<Real, N>(z);
    unroll<N>(ONNX_FFT_STEP(n) {
      if (n >= samples) return;
      store(out + n * slice, z[n].re);
      store(out + n * slice + L, z[n].im);
    });
  }
  const Real* real_pair = in.at(given.along(N).complex);
  for (int64_t line = 0; line < given.reals; ++line, out += L, real_pair += in.layout.pair) {
    Vec<Real> x[N];
    x[0] = load(real_pair);
    x[1] = load(real_pair + to_im);
    unroll<kComplexBins>(ONNX_FFT_STEP(k) {
      x[2 * k + 2] = load(source);
      x[2 * k + 3] = load(source + to_im);
      source += in.layout.pair;
    });
    inverse_real_dft<Real, N>(x);
    unroll<N>(ONNX_FFT_STEP(n) {
      if (n < samples) store(out + n * slice, x[n]);
    });
  }
}

// Row after row of a segment: sample n of window w is vector `starts[w] + n * spacing` of `row`; its spectrum goes to
// `targets[w] + offset`.
template <typename Real>
struct RowWindows {
  int count;
  const DenseWindow* windows;
  int64_t spacing;
  Real* const* targets;
  ptrdiff_t offset;
  DenseLayout layout;
};

template <typename Real, int N>
__attribute__((noinline)) void transform_rows(const RowWindows<Real>& given, const Real* row) {
  constexpr int L = kLanes<Real>;
  const ptrdiff_t spacing = given.spacing * L;
  for (int w = 0; w < given.count; ++w) {
    const Real* in = row + given.windows[w].start * L;
    const Pairs<Real> out{given.targets[w] + given.offset, given.layout};
    Vec<Real> x[N];
    unroll<N>(ONNX_FFT_STEP(n) { x[n] = load(in + n * spacing); });
    real_dft<Real, N>(x);
    Real* target = out.first;
    unroll<N / 2 - 1>(ONNX_FFT_STEP(k) {
      put_pair(out, target, x[2 * k + 2], x[2 * k + 3]);
      target += out.layout.pair;
    });
    put_pair(out, target, x[0], x[1]);
  }
}

template <typename Real, int N>
__attribute__((noinline)) void restore_rows(const RowWindows<const Real>& given, Real* row, int64_t samples) {
  constexpr int L = kLanes<Real>;
  const ptrdiff_t spacing = given.spacing * L, to_im = given.layout.to_im;
  for (int w = 0; w < given.count; ++w) {
    const Real* source = given.targets[w] + given.offset;
    Real* out = row + given.windows[w].start * L;
    Vec<Real> x[N];
    unroll<N / 2 - 1>(ONNX_FFT_STEP(k) {
      x[2 * k + 2] = load(source);
      x[2 * k + 3] = load(source + to_im);
      source += given.layout.pair;
    });
    x[0] = load(source);
    x[1] = load(source + to_im);
    inverse_real_dft<Real, N>(x);
    unroll<N>(ONNX_FFT_STEP(n) {
      if (n < samples) store(out + n * spacing, x[n]);
    });
  }
}

// The functions above for one length.
template <typename Real>
struct LineKernels {
  void (*transform)(DensePairs, const Real*, ptrdiff_t, Pairs<Real>);
  void (*restore)(DensePairs, Pairs<const Real>, Real*, ptrdiff_t, int64_t);
  void (*transform_rows)(const RowWindows<Real>&, const Real*);
  void (*restore_rows)(const RowWindows<const Real>&, Real*, int64_t);
};

// `length` is one of kDenseLengths.
template <typename Real>
ONNX_FFT_INLINE LineKernels<Real> find_line_kernels(int length) {
  LineKernels<Real> found{};
  unroll<sizeof kDenseLengths / sizeof kDenseLengths[0]>(ONNX_FFT_STEP(i) {
    constexpr int N = kDenseLengths[i];
    if (length != N) return;
    found = {transform_lines<Real, N>, restore_lines<Real, N>, transform_rows<Real, N>, restore_rows<Real, N>};
  });
  return found;
}

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
