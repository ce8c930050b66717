// DFTs of short lines, one in each lane. The j-th real of every line is one vector, so that a packed line, whose even
// samples are real parts, is complex vectors as it is.
#pragma once

#include "kernels/fft.h"
#include "kernels/fourier_pairs.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

// Reals from the lines of one group to those of the next, for prefetching: lines are rows, all as far apart as the
// first two.
template <typename Real>
ONNX_FFT_INLINE int64_t distance_ahead(const Real* first, const Real* second, int count) {
  const auto step = static_cast<int64_t>(reinterpret_cast<uintptr_t>(second) - reinterpret_cast<uintptr_t>(first));
  return step / static_cast<int64_t>(sizeof(Real)) * count;
}

// --- in -------------------------------------------------------------------------------------------------------------

// `count` vectors `step` reals apart, from lines that are rows.
template <typename Real>
void load_rows(const FourierLines<Real>& lines, int64_t count, int64_t available, Real* to, ptrdiff_t step) {
  constexpr int L = kLanes<Real>;
  const int64_t ahead = distance_ahead<Real>(lines.in[0], lines.in[1], lines.count);
  for (int64_t first = 0; first < count; first += L) {
    unroll<L>(ONNX_FFT_STEP(lane) { prefetch<false>(lines.in[lane], first + ahead); });
    Vec<Real> block[L];
    const int64_t there = clamp(available - first, 0, L);
    if (there == L) {
      unroll<L>(ONNX_FFT_STEP(lane) { block[lane] = load_lanes(lines.in[lane] + first, 0, L); });
    } else {
      for (int lane = 0; lane < L; ++lane) block[lane] = load_lanes(lines.in[lane] + first, 0, there);
    }
    if (lines.window != nullptr) {
      const Vec<Real> factor = load_lanes(lines.window + first, 0, L);
      unroll<L>(ONNX_FFT_STEP(lane) { block[lane] = block[lane] * factor; });
    }
    transpose_samples<Real>(block);
    Real* const target = to + first * step;
    if (count - first >= L) {
      unroll<L>(ONNX_FFT_STEP(i) { store(target + i * step, block[i]); });
    } else {
      for (int i = 0; i < count - first; ++i) store(target + i * step, block[i]);
    }
  }
}

// Sample n of every line, if they do not lie side by side.
template <typename Real>
ONNX_FFT_INLINE Vec<Real> gather(const FourierLines<Real>& lines, int64_t at) {
  alignas(ONNX_FFT_VECTOR_BYTES) Real values[kLanes<Real>] = {};
  for (int lane = 0; lane < lines.count; ++lane) values[lane] = lines.in[lane][at];
  return load(values);
}

template <typename Real>
void load_samples(const FourierLines<Real>& lines, int parts, int64_t available, Real* to, ptrdiff_t step) {
  constexpr int L = kLanes<Real>;
  const bool gathers = lines.layout == LineLayout::kScattered;
  const Real* from = lines.in[0];
  for (int64_t n = 0; n < available; ++n, from += lines.in_step, to += parts * step) {
    const int64_t at = n * lines.in_step;
    if (parts == 1) {
      const Vec<Real> value = gathers ? gather(lines, at) : load_lanes(from, 0, lines.count);
      store(to, lines.window != nullptr ? value * lines.window[n] : value);
      continue;
    }
    const Complex<Real> value = gathers            ? Complex<Real>{gather(lines, at), gather(lines, at + 1)}
                                : lines.count == L ? load_pairs<Real>(from, 2 * L)
                                                   : load_pairs<Real>(from, 2 * lines.count);
    store(to, value.re);
    store(to + step, value.im);
  }
}

template <typename Real>
void load_lines(const FourierPlan<Real>& plan, const FourierLines<Real>& lines, Real* values) {
  constexpr int L = kLanes<Real>;
  const FourierSpec& spec = plan.spec;
  const int parts = spec.form == FourierForm::kReal ? 1 : 2;
  const bool spreads = spec.form == FourierForm::kReal && spec.length % 2 != 0;  // imaginary parts are zero
  const ptrdiff_t step = spreads ? 2 * L : L;
  const int64_t samples = spec.form == FourierForm::kHalf ? spec.length / 2 + 1 : spec.length;
  const int64_t available = clamp(lines.available, 0, samples);
  const Vec<Real> zero = {};
  if (lines.layout == LineLayout::kRows) {
    load_rows(lines, samples * parts, available * parts, values, step);
  } else {
    load_samples(lines, parts, available, values, step);
    for (int64_t i = available * parts; i < samples * parts; ++i) store(values + i * step, zero);
  }
  for (int64_t n = 0; spreads && n < samples; ++n) store(values + n * step + L, zero);
}

// --- out ------------------------------------------------------------------------------------------------------------

ONNX_FFT_INLINE float square_root(float x) { return __builtin_sqrtf(x); }
ONNX_FFT_INLINE double square_root(double x) { return __builtin_sqrt(x); }

// One number of the two parts of a bin.
template <typename Real>
ONNX_FFT_INLINE Vec<Real> join_parts(BinForm form, Vec<Real> re, Vec<Real> im) {
  Vec<Real> power = re * re + im * im;
  if (form == BinForm::kMagnitude) {
    for (int lane = 0; lane < kLanes<Real>; ++lane) power[lane] = square_root(power[lane]);
  }
  return power;
}

template <typename Real>
struct Scales {
  Real even, odd;  // of the vectors, in turn
};

template <typename Real>
void store_rows(const FourierLines<Real>& lines, int64_t count, Scales<Real> scales, const Real* from, ptrdiff_t step) {
  constexpr int L = kLanes<Real>;
  const int64_t ahead = distance_ahead<Real>(lines.out[0], lines.out[1], lines.count);
  for (int64_t first = 0; first < count; first += L) {
    for (int lane = 0; lane < lines.count; ++lane) prefetch<true>(lines.out[lane], first + ahead);
    Vec<Real> block[L];
    const Real* const source = from + first * step;
    unroll<L>(ONNX_FFT_STEP(i) { block[i] = load(source + i * step) * (i % 2 ? scales.odd : scales.even); });
    transpose_samples<Real>(block);
    if (lines.count == L && count - first >= L) {
      unroll<L>(ONNX_FFT_STEP(lane) { store_lanes(lines.out[lane] + first, block[lane], 0, L); });
    } else {
      const int64_t wanted = clamp(count - first, 0, L);
      for (int lane = 0; lane < lines.count; ++lane) store_lanes(lines.out[lane] + first, block[lane], 0, wanted);
    }
  }
}

template <typename Real>
ONNX_FFT_INLINE void scatter(const FourierLines<Real>& lines, int64_t at, Vec<Real> value) {
  for (int lane = 0; lane < lines.count; ++lane) lines.out[lane][at] = value[lane];
}

template <typename Real>
void store_samples(const FourierLines<Real>& lines, int parts, int64_t samples, Scales<Real> scales, const Real* from,
                   ptrdiff_t step) {
  constexpr int L = kLanes<Real>;
  const bool scatters = lines.layout == LineLayout::kScattered;
  Real* to = lines.out[0];
  for (int64_t n = 0; n < samples; ++n, from += parts * step, to += lines.out_step) {
    const int64_t at = n * lines.out_step;
    const Vec<Real> re = load(from) * scales.even;
    if (parts == 1) {
      scatters ? scatter(lines, at, re) : store_lanes(to, re, 0, lines.count);
      continue;
    }
    const Vec<Real> im = load(from + step) * scales.odd;
    if (scatters) {
      scatter(lines, at, re);
      scatter(lines, at + 1, im);
    } else if (lines.count == L) {
      store_pairs<Real>(to, {re, im}, 2 * L);
    } else {
      store_pairs<Real>(to, {re, im}, 2 * lines.count);
    }
  }
}

// Bins become one number each, in place.
template <typename Real>
void join_bins(BinForm form, int64_t bins, Scales<Real> scales, Real* values) {
  constexpr int L = kLanes<Real>;
  for (int64_t k = 0; k < bins; ++k) {
    const Vec<Real> re = load(values + 2 * k * L) * scales.even, im = load(values + (2 * k + 1) * L) * scales.odd;
    store(values + k * L, join_parts<Real>(form, re, im));
  }
}

template <typename Real>
void store_lines(const FourierPlan<Real>& plan, const FourierLines<Real>& lines, Real* values) {
  constexpr int L = kLanes<Real>;
  const FourierSpec& spec = plan.spec;
  const bool is_real = spec.form == FourierForm::kHalf, conjugates = spec.form == FourierForm::kReal && spec.inverse;
  const int parts = is_real ? 1 : 2;
  const ptrdiff_t step = is_real && spec.length % 2 != 0 ? 2 * L : L;
  const int64_t samples = spec.form == FourierForm::kReal && spec.onesided ? spec.length / 2 + 1 : spec.length;
  const Scales<Real> scales = {plan.scale, conjugates ? -plan.scale : plan.scale};
  if (lines.form != BinForm::kParts) {
    join_bins(lines.form, samples, scales, values);
    store_rows(lines, samples, {1, 1}, values, L);
  } else if (lines.layout == LineLayout::kRows) {
    store_rows(lines, samples * parts, scales, values, step);
  } else {
    store_samples(lines, parts, samples, scales, values, step);
  }
}

// --- between --------------------------------------------------------------------------------------------------------

// The DFT of a line in place, by a convolution with a chirp if the plan says so. `work` is that of `scratch_of`.
template <typename Real>
void transform_complex(const FourierPlan<Real>& plan, Line<Real> line, int64_t points, Line<Real> work) {
  const LinePlan& chain = plan.dft.line;
  const Real* const roots = plan.dft.roots.data();
  const Real* const chirp = plan.chirp.data();
  if (chirp == nullptr) return transform_line(chain, roots, line, line, work);
  const Complex<Real> zero = {};
  const Line<Real> padded = work, rest = work.from(chain.length);
  for (int64_t n = 0; n < points; ++n) padded.put(n, multiply_complex(line.get(n), chirp[2 * n], chirp[2 * n + 1]));
  for (int64_t n = points; n < chain.length; ++n) padded.put(n, zero);
  transform_line(chain, roots, padded, padded, rest);
  const Real* const spectrum = plan.chirp_spectrum.data();
  for (int64_t k = 0; k < chain.length; ++k) {
    padded.put(k, multiply_complex(padded.get(k), spectrum[2 * k], spectrum[2 * k + 1]));
  }
  transform_line(chain, roots, padded.swapped(), padded.swapped(), rest);
  for (int64_t k = 0; k < points; ++k) line.put(k, multiply_complex(padded.get(k), chirp[2 * k], chirp[2 * k + 1]));
}

// X[N - k] = conj X[k]
template <typename Real>
void mirror(Line<Real> line, int64_t length) {
  for (int64_t k = 1; 2 * k < length; ++k) {
    const Complex<Real> value = line.get(k);
    line.put(length - k, {value.re, -value.im});
  }
}

// What `load_lines` has put into the scratch memory, in place.
template <typename Real>
void transform_values(const FourierPlan<Real>& plan, Real* scratch) {
  const FourierSpec& spec = plan.spec;
  const int64_t length = spec.length;
  const bool is_packed = spec.form != FourierForm::kComplex && length % 2 == 0;
  const int64_t points = is_packed ? length / 2 : length;
  const int half = static_cast<int>(length / 2);
  const Line<Real> line{scratch}, work = line.from(length + 1 + kLanes<Real>);  // values_of, in kernels/fourier.h
  if (spec.form == FourierForm::kHalf) {
    if (is_packed) {
      join(half, plan.real_roots.data(), line, line);
    } else {
      line.put(0, {line.get(0).re, Vec<Real>{}});
      mirror(line, length);
    }
  }
  const bool swaps = spec.inverse && spec.form != FourierForm::kReal;
  transform_complex(plan, swaps ? line.swapped() : line, points, work);
  if (spec.form == FourierForm::kReal) {
    if (is_packed) separate(half, plan.real_roots.data(), line, line);
    if (!spec.onesided) mirror(line, length);
  }
}

template <typename Real>
void transform_lines(const FourierPlan<Real>& plan, const FourierLines<Real>& lines, Real* scratch) {
  load_lines(plan, lines, scratch);
  transform_values(plan, scratch);
  store_lines(plan, lines, scratch);
}

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
