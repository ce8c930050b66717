// DFTs of short lines, one in each lane. The j-th real of every line is one vector, so that a packed line, whose even
// samples are real parts, is complex vectors as it is.
#pragma once

#include "kernels/fft.h"
#include "kernels/fourier_pairs.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

// What comes next of lines that are rows, all as far apart as the first two: the lines of the next group. The
// first-level cache has room for those of short lines.
template <bool Write, typename Real>
class NextRows {
 public:
  NextRows(const Real* first, const Real* second, int lines, int64_t reals)
      : reals_((reinterpret_cast<intptr_t>(second) - reinterpret_cast<intptr_t>(first)) / kRealBytes * lines),
        are_near_(reals * ONNX_FFT_VECTOR_BYTES <= kNearBytes) {}

  ONNX_FFT_INLINE void fetch(const Real* line, int64_t at) const {
    are_near_ ? prefetch<Write, kFirstLevel>(line, at + reals_) : prefetch<Write>(line, at + reals_);
  }

 private:
  static constexpr int64_t kRealBytes = sizeof(Real), kNearBytes = 10 << 10;
  int64_t reals_;  // further on
  bool are_near_;
};

// The vectors behind `parts` of them: what the next lines have there, of those that lie side by side. Every sample is a
// row of memory of its own, too many for the hardware to foresee.
template <bool Write, typename Real>
ONNX_FFT_INLINE void prefetch_next(const Real* p, int parts) {
  for (int i = 0; i < parts; ++i) prefetch<Write>(p, (parts + i) * kLanes<Real>);
}

// --- in -------------------------------------------------------------------------------------------------------------

// `count` vectors `step` reals apart, from lines that are rows.
template <typename Real>
void load_rows(const FourierLines<Real>& lines, int64_t count, int64_t available, Real* to, ptrdiff_t step) {
  constexpr int L = kLanes<Real>;
  const NextRows<false, Real> next(lines.in[0], lines.in[1], lines.count, count);
  for (int64_t first = 0; first < count; first += L) {
    unroll<L>(ONNX_FFT_STEP(lane) { next.fetch(lines.in[lane], first); });
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
    if (!gathers) prefetch_next<false>(from, parts);
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
ONNX_FFT_INLINE void scatter(const FourierLines<Real>& lines, int64_t at, Vec<Real> value) {
  for (int lane = 0; lane < lines.count; ++lane) lines.out[lane][at] = value[lane];
}

// So few reals of each line are stored one by one: it takes less than to transpose a block.
constexpr int64_t kFewReals = 2;

// Reals before vector i of those that come out: two of each place, or one.
template <bool AreTwo, typename Real>
ONNX_FFT_INLINE ptrdiff_t find_vector(const FourierPlan<Real>& plan, int64_t i) {
  const ptrdiff_t place = plan.places.data()[AreTwo ? i / 2 : i];
  return (2 * place + (AreTwo ? i % 2 : 0)) * kLanes<Real>;
}

template <bool AreTwo, typename Real>
void store_rows(const FourierPlan<Real>& plan, const FourierLines<Real>& lines, int64_t count, Scales<Real> scales,
                const Real* values) {
  constexpr int L = kLanes<Real>;
  const NextRows<true, Real> next(lines.out[0], lines.out[1], lines.count, count);
  const auto read = [&](int64_t i) __attribute__((always_inline)) {
    return load(values + find_vector<AreTwo>(plan, i)) * (i % 2 ? scales.odd : scales.even);
  };
  for (int64_t first = 0; first < count; first += L) {
    const int64_t wanted = clamp(count - first, 0, L);
    if (wanted <= kFewReals) {  // the last bin of a line of even length
      for (int64_t i = 0; i < wanted; ++i) scatter(lines, first + i, read(first + i));
      continue;
    }
    Vec<Real> block[L];
    unroll<L>(ONNX_FFT_STEP(i) { block[i] = read(first + i); });
    transpose_samples<Real>(block);
    if (lines.count == L && wanted == L) {
      unroll<L>(ONNX_FFT_STEP(lane) {
        next.fetch(lines.out[lane], first);
        store_lanes(lines.out[lane] + first, block[lane], 0, L);
      });
    } else {
      for (int lane = 0; lane < lines.count; ++lane) store_lanes(lines.out[lane] + first, block[lane], 0, wanted);
    }
  }
}

template <typename Real>
void store_reals(const FourierPlan<Real>& plan, const FourierLines<Real>& lines, int64_t samples, const Real* values) {
  Real* to = lines.out[0];
  for (int64_t n = 0; n < samples; ++n, to += lines.out_step) {
    const ptrdiff_t vector = plan.spec.is_packed() ? find_vector<true>(plan, n) : find_vector<false>(plan, n);
    const Vec<Real> value = load(values + vector) * plan.scale;
    lines.layout == LineLayout::kScattered ? scatter(lines, n * lines.out_step, value)
                                           : store_lanes(to, value, 0, lines.count);
  }
}

template <typename Real>
void store_bins(const FourierPlan<Real>& plan, const FourierLines<Real>& lines, int64_t samples, Scales<Real> scales,
                const Real* values) {
  constexpr int L = kLanes<Real>;
  Real* to = lines.out[0];
  for (int64_t n = 0; n < samples; ++n, to += lines.out_step) {
    const int64_t at = n * lines.out_step;
    const Real* const from = values + find_vector<false>(plan, n);
    const Vec<Real> re = load(from) * scales.even, im = load(from + L) * scales.odd;
    if (lines.layout == LineLayout::kScattered) {
      scatter(lines, at, re);
      scatter(lines, at + 1, im);
    } else if (lines.count == L) {
      prefetch_next<true>(to, 2);
      store_pairs<Real>(to, {re, im}, 2 * L);
    } else {
      store_pairs<Real>(to, {re, im}, 2 * lines.count);
    }
  }
}

// Bins become one number each, in place of their real parts.
template <typename Real>
void join_bins(const FourierPlan<Real>& plan, BinForm form, int64_t bins, Scales<Real> scales, Real* values) {
  for (int64_t k = 0; k < bins; ++k) {
    Real* const bin = values + find_vector<false>(plan, k);
    store(bin, join_parts<Real>(form, load(bin) * scales.even, load(bin + kLanes<Real>) * scales.odd));
  }
}

template <typename Real>
void store_lines(const FourierPlan<Real>& plan, const FourierLines<Real>& lines, Real* values) {
  const FourierSpec& spec = plan.spec;
  const bool is_real = spec.form == FourierForm::kHalf, conjugates = spec.form == FourierForm::kReal && spec.inverse;
  const int64_t samples = spec.out_samples();
  const Scales<Real> scales = {plan.scale, conjugates ? -plan.scale : plan.scale};
  if (lines.form != BinForm::kParts) {
    join_bins(plan, lines.form, samples, scales, values);
    store_rows<false, Real>(plan, lines, samples, {1, 1}, values);
  } else if (lines.layout != LineLayout::kRows) {
    is_real ? store_reals(plan, lines, samples, values) : store_bins(plan, lines, samples, scales, values);
  } else if (is_real && !spec.is_packed()) {
    store_rows<false>(plan, lines, samples, scales, values);
  } else {
    store_rows<true>(plan, lines, samples * spec.out_parts(), scales, values);
  }
}

// --- between --------------------------------------------------------------------------------------------------------

// The DFT of a line in place, by a convolution with a chirp if the plan says so; bins come out at `plan.places`.
template <typename Real>
void transform_complex(const FourierPlan<Real>& plan, Line<Real> line, int64_t points, Line<Real> work) {
  const LinePlan& chain = plan.dft.line;
  const Real* const roots = plan.dft.roots.data();
  const Real* const chirp = plan.chirp.data();
  if (chirp == nullptr) return transform_in_place(chain, roots, line);
  const Complex<Real> zero = {};
  const Line<Real> padded = work, product = work.from(chain.length);
  const int32_t* const places = plan.dft.places.data();
  for (int64_t n = 0; n < points; ++n) padded.put(n, multiply_complex(line.get(n), chirp[2 * n], chirp[2 * n + 1]));
  for (int64_t n = points; n < chain.length; ++n) padded.put(n, zero);
  transform_in_place(chain, roots, padded);
  const Real* const spectrum = plan.chirp_spectrum.data();
  for (int64_t k = 0; k < chain.length; ++k) {
    product.put(k, multiply_complex(padded.get(places[k]), spectrum[2 * k], spectrum[2 * k + 1]));
  }
  transform_in_place(chain, roots, product.swapped());
  for (int64_t k = 0; k < points; ++k) {
    line.put(k, multiply_complex(product.get(places[k]), chirp[2 * k], chirp[2 * k + 1]));
  }
}

// X[N - k] = conj X[k]
template <typename AnyLine>
void mirror(AnyLine line, int64_t length) {
  for (int64_t k = 1; 2 * k < length; ++k) {
    const auto value = line.get(k);
    line.put(length - k, {value.re, -value.im});
  }
}

// What `load_lines` has put into the scratch memory, in place: number k comes out at plan.places[k].
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
    const PlacedLine<Real> placed{line, plan.places.data()};
    if (is_packed) separate(half, plan.real_roots.data(), placed, placed);
    if (!spec.onesided) mirror(placed, length);
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
