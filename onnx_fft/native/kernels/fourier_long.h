// The DFT of one long line: lanes run across its columns, then across its rows; and what is done to all of its samples.
#pragma once

#include "kernels/fft.h"
#include "kernels/fourier_pairs.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

// Turns L bins of each of `count` columns, of which `there` exist, and lays them out across the lanes. A full block has
// L of both.
template <bool Full, typename Real>
ONNX_FFT_INLINE void turn_bins(const Real* roots, const Real* lane_roots, const Real* values, int64_t there,
                               int64_t count, Real* to) {
  constexpr int L = kLanes<Real>;
  Vec<Real> re[L] = {}, im[L] = {};
  const auto turn = ONNX_FFT_STEP(i) {
    const Real* const across = lane_roots + i * 2 * L;
    const Complex<Real> factor = multiply_complex<Real>({load_lanes(across, 0, L), load_lanes(across + L, 0, L)},
                                                        roots[2 * i], roots[2 * i + 1]);
    const Complex<Real> value =
        multiply_vectors<Real>({load(values + i * 2 * L), load(values + i * 2 * L + L)}, factor);
    re[i] = value.re;
    im[i] = value.im;
  };
  if constexpr (Full) {
    unroll<L>(turn);
  } else {
    for (int64_t i = 0; i < there; ++i) turn(i);
  }
  transpose_samples<Real>(re);
  transpose_samples<Real>(im);
  const auto lay = ONNX_FFT_STEP(i) {
    store(to + i * 2 * L, re[i]);
    store(to + i * 2 * L + L, im[i]);
  };
  if constexpr (Full) {
    unroll<L>(lay);
  } else {
    for (int64_t i = 0; i < count; ++i) lay(i);
  }
}

// Turns the bins of some columns and lays them out across the lanes of `between` [A / lanes, B] complex vectors.
template <typename Real>
void turn_columns(const ComplexDft<Real>& dft, int64_t block, int64_t count, const Real* values, Real* between) {
  constexpr int L = kLanes<Real>;
  const int64_t length = dft.line.length, rows = dft.rows;
  const Real *const roots = dft.block_roots.data() + 2 * block * length, *const lane_roots = dft.lane_roots.data();
  for (int64_t first = 0; first < length; first += L) {
    const int64_t there = clamp(length - first, 0, L);
    Real* const to = between + (first / L * rows + block * L) * 2 * L;
    const auto turn = there == L && count == L ? turn_bins<true, Real> : turn_bins<false, Real>;
    turn(roots + 2 * first, lane_roots + 2 * L * first, values + 2 * L * first, there, count, to);
  }
}

// Neighbours are read, and written, together: a vector of one row alone is less than the memory's bursts.
template <typename Real>
void transform_columns(const ComplexDft<Real>& dft, const LongInput<Real>& in, int64_t first, int64_t last,
                       Real* between, Real* scratch) {
  constexpr int L = kLanes<Real>;
  const int64_t length = dft.line.length, rows = dft.rows;
  const Line<Real> lines{scratch}, work = lines.from(kNeighbours * length);
  const Line<Real> read = in.is_swapped ? lines.swapped() : lines;
  for (int64_t block = first; block < last; block += kNeighbours) {
    const int64_t there = clamp(last - block, 0, kNeighbours), end = (block + kNeighbours) * L;
    const bool is_full = there == kNeighbours && end <= rows && !in.is_real;
    for (int64_t a = 0; a < length; ++a) {
      if (is_full && 2 * (rows * a + end) <= in.reals) {
        const Real* const from = in.data + 2 * (rows * a + block * L);
        unroll<kNeighbours>(ONNX_FFT_STEP(i) { read.put(i * length + a, load_pairs<Real>(from + i * 2 * L, 2 * L)); });
        continue;
      }
      for (int64_t i = 0; i < there; ++i) {
        const int64_t column = (block + i) * L;
        lines.put(i * length + a, read_long(in, rows * a + column, clamp(rows - column, 0, L)));
      }
    }
    for (int64_t i = 0; i < there; ++i) {
      const Line<Real> line = lines.from(i * length);
      transform_line(dft.line, dft.roots.data(), line, line, work);
      turn_columns(dft, block + i, clamp(rows - (block + i) * L, 0, L), line.re, between);
    }
  }
}

template <typename Real>
void transform_rows(const ComplexDft<Real>& dft, const Real* between, const LongOutput<Real>& out, int64_t first,
                    int64_t last, Real* scratch) {
  constexpr int L = kLanes<Real>;
  const int64_t length = dft.line.length, rows = dft.rows;
  const Line<Real> lines{scratch}, work = lines.from(kNeighbours * rows), in{const_cast<Real*>(between)};
  const Line<Real> written = out.is_swapped ? lines.swapped() : lines;
  for (int64_t block = first; block < last; block += kNeighbours) {
    const int64_t there = clamp(last - block, 0, kNeighbours), end = (block + kNeighbours) * L;
    for (int64_t i = 0; i < there; ++i) {
      transform_line(dft.row_line, dft.row_roots.data(), in.from((block + i) * rows), lines.from(i * rows), work);
    }
    const bool is_full = there == kNeighbours && end <= length && !out.is_real;
    for (int64_t d = 0; d < rows; ++d) {
      if (is_full && end + length * d <= out.samples) {
        Real* const to = out.data + 2 * (block * L + length * d);
        unroll<kNeighbours>(ONNX_FFT_STEP(i) {
          const Complex<Real> value = written.get(i * rows + d);
          store_pairs<Real>(to + i * 2 * L, {value.re * out.re_scale, value.im * out.im_scale}, 2 * L);
        });
        continue;
      }
      for (int64_t i = 0; i < there; ++i) {
        const int64_t column = (block + i) * L;
        write_long(out, column + length * d, lines.get(i * rows + d), clamp(length - column, 0, L));
      }
    }
  }
}

// One pair of bins after the other, with lanes across k: `pair(a, b, w)` makes of Z[k] and Z[h - k] what is written in
// their places. Neither side is real or swapped.
template <typename Real, typename Pair>
ONNX_FFT_INLINE void for_pairs(const FourierPlan<Real>& plan, const LongInput<Real>& in, const LongOutput<Real>& out,
                               int64_t first, int64_t last, const Pair& pair) {
  constexpr int L = kLanes<Real>;
  const int64_t half = plan.spec.length / 2;
  const bool is_full = in.reals >= 2 * half && out.samples >= half;
  const auto write = [&](int64_t n, Complex<Real> value) __attribute__((always_inline)) {
    store_pairs<Real>(out.data + 2 * n, {value.re * out.re_scale, value.im * out.im_scale}, 2 * L);
  };
  for (int64_t block = first; block < last; ++block) {
    const int64_t k = 1 + block * L, count = clamp(half / 2 + 1 - k, 0, L), mirrored = half - k - (L - 1);
    const Real* const roots = plan.real_roots.data() + block * 2 * L;
    const Complex<Real> w = {load_lanes(roots, 0, L), load_lanes(roots + L, 0, L)};
    if (mirrored > k + L - 1 && is_full) {
      Complex<Real> a = load_pairs<Real>(in.data + 2 * k, 2 * L);
      Complex<Real> b = reverse(load_pairs<Real>(in.data + 2 * mirrored, 2 * L));
      pair(a, b, w);
      write(k, a);
      write(mirrored, reverse(b));
      continue;
    }
    for (int64_t i = 0; i < count; ++i) {  // where both ends meet, or the input ends: one at a time, in the first lane
      Complex<Real> a = read_long(in, k + i, 1), b = read_long(in, half - k - i, 1);
      pair(a, b, Complex<Real>{broadcast(roots[i]), broadcast(roots[i + L])});
      write_long(out, k + i, a, 1);
      write_long(out, half - k - i, b, 1);
    }
  }
}

// See `separate` and `join` in fft.h.
template <typename Real>
void separate_long(const FourierPlan<Real>& plan, const LongOutput<Real>& out, int64_t first, int64_t last) {
  const int64_t half = plan.spec.length / 2;
  const LongInput<Real> in = {out.data, 2 * half, false, false};
  const Vec<Real> zero = {};
  if (first == 0) {
    const Complex<Real> z = read_long(in, 0, 1);
    write_long<Real>(out, 0, {Real(2) * (z.re + z.im), zero}, 1);
    write_long<Real>(out, half, {Real(2) * (z.re - z.im), zero}, 1);
  }
  for_pairs(plan, in, out, first, last,
            [](Complex<Real>& a, Complex<Real>& b, Complex<Real> w) __attribute__((always_inline)) {
              const Complex<Real> even = {a.re + b.re, a.im - b.im};
              const Complex<Real> odd =
                  multiply_vectors<Real>(multiply_by_minus_i(Complex<Real>{a.re - b.re, a.im + b.im}), w);
              a = even + odd;
              b = {even.re - odd.re, odd.im - even.im};
            });
}

template <typename Real>
void join_long(const FourierPlan<Real>& plan, const LongInput<Real>& in, Real* to, int64_t first, int64_t last) {
  const int64_t half = plan.spec.length / 2;
  const LongOutput<Real> out = {to, half, false, false, Real(1), Real(1)};
  if (first == 0) {
    const Vec<Real> low = read_long(in, 0, 1).re, high = read_long(in, half, 1).re;
    write_long<Real>(out, 0, {low + high, low - high}, 1);
  }
  for_pairs(plan, in, out, first, last,
            [](Complex<Real>& a, Complex<Real>& b, Complex<Real> w) __attribute__((always_inline)) {
              const Complex<Real> even = {a.re + b.re, a.im - b.im};
              const Complex<Real> odd =
                  multiply_by_minus_i(multiply_vectors<Real>({a.re - b.re, a.im + b.im}, {w.re, -w.im}));
              a = even - odd;
              b = {even.re + odd.re, -even.im - odd.im};
            });
}

template <typename Real>
void multiply_samples(const LongInput<Real>& in, const Real* table, const LongOutput<Real>& out, int64_t first,
                      int64_t last) {
  constexpr int L = kLanes<Real>;
  for (int64_t n = first; n < last; n += L) {
    const int64_t count = clamp(last - n, 0, L);
    const Complex<Real> factor = load_pairs<Real>(table + 2 * n, 2 * count);
    write_long(out, n, multiply_vectors(read_long(in, n, count), factor), count);
  }
}

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
