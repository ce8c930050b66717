// The samples of short lines, one line in each lane, from a tensor to scratch memory and back: the j-th real of every
// line is one vector, so that a packed line, whose even samples are real parts, is complex vectors as it is.
#pragma once

#include "kernels/fourier_pairs.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

// Lines that are rows of a tensor, all as far apart as the first two.
template <bool Write, typename Real>
class LineRows {
 public:
  LineRows(const Real* first, const Real* second, int lines, int64_t reals)
      : step_(reinterpret_cast<intptr_t>(second) - reinterpret_cast<intptr_t>(first)),
        ahead_(step_ / static_cast<int64_t>(sizeof(Real)) * lines),
        are_short_(reals * ONNX_FFT_VECTOR_BYTES <= kShortBytes) {}

  // What the same line of the next group has there. The first-level cache has room for those of short lines.
  ONNX_FFT_INLINE void prefetch_next(const Real* line, int64_t at) const {
    are_short_ ? prefetch<Write, kFirstLevel>(line, at + ahead_) : prefetch<Write>(line, at + ahead_);
  }

  bool are_pages_apart() const { return step_ >= kPageBytes; }

 private:
  static constexpr int64_t kShortBytes = 10 << 10, kPageBytes = 4 << 10;
  int64_t step_;   // bytes
  int64_t ahead_;  // reals
  bool are_short_;
};

// Whether the samples of lines that lie side by side are rows of memory too far apart for the hardware to foresee.
template <typename Real>
ONNX_FFT_INLINE bool are_far_apart(int64_t step) {
  constexpr int64_t kFarBytes = 1024;
  return step * static_cast<int64_t>(sizeof(Real)) >= kFarBytes;
}

// What the next lines have where these have `parts` vectors.
template <bool Write, typename Real>
ONNX_FFT_INLINE void prefetch_next(const Real* p, int parts, int64_t ahead) {
  for (int i = 0; i < parts; ++i) prefetch<Write>(p, ahead + i * kLanes<Real>);
}

// --- in -------------------------------------------------------------------------------------------------------------

// `count` vectors `step` reals apart, from lines that are rows.
template <typename Real>
void load_rows(const FourierLines<Real>& lines, int64_t count, int64_t available, Real* to, ptrdiff_t step) {
  constexpr int L = kLanes<Real>;
  const LineRows<false, Real> rows(lines.in[0], lines.in[1], lines.count, count);
  for (int64_t first = 0; first < count; first += L) {
    unroll<L>(ONNX_FFT_STEP(lane) { rows.prefetch_next(lines.in[lane], first); });
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
  const bool is_far = !gathers && are_far_apart<Real>(lines.in_step);
  const Real* from = lines.in[0];
  for (int64_t n = 0; n < available; ++n, from += lines.in_step, to += parts * step) {
    const int64_t at = n * lines.in_step;
    if (is_far) prefetch_next<false>(from, parts, lines.in_ahead);
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

// Vectors [first, first + L) of those that come out, as rows of the lines.
template <bool AreTwo, typename Real>
ONNX_FFT_INLINE void read_block(const FourierPlan<Real>& plan, Scales<Real> scales, const Real* values, int64_t first,
                                Vec<Real> (&block)[kLanes<Real>]) {
  unroll<kLanes<Real>>(ONNX_FFT_STEP(i) {
    block[i] = load(values + find_vector<AreTwo>(plan, first + i)) * (i % 2 ? scales.odd : scales.even);
  });
  transpose_samples<Real>(block);
}

// Blocks that are stored together, line by line: if 16 lines are pages apart, those are more pages than a core has at
// hand, and one store to each in turn waits for them every time (AVX-512: 7 to 13% of 1,024 points and more; nothing is
// won with 8 lines).
constexpr int kBlocksTogether = 8, kMostPages = 8;

template <bool AreTwo, typename Real>
void store_blocks(const FourierPlan<Real>& plan, const FourierLines<Real>& lines, int64_t first, Scales<Real> scales,
                  const Real* values, const LineRows<true, Real>& rows) {
  constexpr int L = kLanes<Real>;
  alignas(ONNX_FFT_VECTOR_BYTES) Real blocks[L][kBlocksTogether * L];
  for (int part = 0; part < kBlocksTogether * L; part += L) {
    Vec<Real> block[L];
    read_block<AreTwo>(plan, scales, values, first + part, block);
    unroll<L>(ONNX_FFT_STEP(lane) { store(&blocks[lane][part], block[lane]); });
  }
  for (int lane = 0; lane < L; ++lane) {
    unroll<kBlocksTogether>(ONNX_FFT_STEP(part) {
      rows.prefetch_next(lines.out[lane], first + part * L);
      store_lanes(lines.out[lane] + first + part * L, load(&blocks[lane][part * L]), 0, L);
    });
  }
}

template <bool AreTwo, typename Real>
void store_rows(const FourierPlan<Real>& plan, const FourierLines<Real>& lines, int64_t count, Scales<Real> scales,
                const Real* values) {
  constexpr int L = kLanes<Real>;
  const LineRows<true, Real> rows(lines.out[0], lines.out[1], lines.count, count);
  int64_t first = 0;
  if (L > kMostPages && lines.count == L && rows.are_pages_apart()) {
    for (; first + kBlocksTogether * L <= count; first += kBlocksTogether * L) {
      store_blocks<AreTwo>(plan, lines, first, scales, values, rows);
    }
  }
  for (; first < count; first += L) {
    const int64_t wanted = clamp(count - first, 0, L);
    if (wanted <= kFewReals) {  // the last bin of a line of even length
      for (int64_t i = first; i < count; ++i) {
        scatter(lines, i, load(values + find_vector<AreTwo>(plan, i)) * (i % 2 ? scales.odd : scales.even));
      }
      continue;
    }
    Vec<Real> block[L];
    read_block<AreTwo>(plan, scales, values, first, block);
    if (lines.count == L && wanted == L) {
      unroll<L>(ONNX_FFT_STEP(lane) {
        rows.prefetch_next(lines.out[lane], first);
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
  const bool is_far = are_far_apart<Real>(lines.out_step);
  Real* to = lines.out[0];
  for (int64_t n = 0; n < samples; ++n, to += lines.out_step) {
    const int64_t at = n * lines.out_step;
    const Real* const from = values + find_vector<false>(plan, n);
    const Vec<Real> re = load(from) * scales.even, im = load(from + L) * scales.odd;
    if (lines.layout == LineLayout::kScattered) {
      scatter(lines, at, re);
      scatter(lines, at + 1, im);
    } else if (lines.count == L) {
      if (is_far) prefetch_next<true>(to, 2, lines.out_ahead);
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

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
