// A tile's DFT and its inverse, in scratch memory: complex vectors [plan.bins], then the work area of a line, then a
// flag for each real line, so that lines without input and lines without wanted outputs are skipped.
#pragma once

#include "kernels/fft.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

template <typename Real>
class Tile {
 public:
  Tile(const TilePlan& plan, Real* scratch)
      : plan_(plan),
        tables_(plan.tables<Real>()),
        values_(scratch),
        work_(scratch + plan.bins * kPair<Real>),
        flags_(reinterpret_cast<uint8_t*>(work_ + plan.work * kPair<Real>)) {}

  // Marks none or all of the real lines, or those of one row of samples along the last axis.
  void clear_rows() { __builtin_memset(flags_, 0, static_cast<size_t>(rows())); }
  void mark_all() { __builtin_memset(flags_, 1, static_cast<size_t>(rows())); }
  bool skips_rows() const { return plan_.real_axis == kMaxRank - 1; }
  void mark_row(int64_t position) {
    if (!skips_rows()) return mark_all();
    __builtin_memset(flags_ + position / (2 * half()), 1, static_cast<size_t>(plan_.columns));
  }

  Real* sample(int64_t position) const { return values_ + position * kLanes<Real>; }

  // Samples -> spectrum, twice as large.
  void forward(Real* spectrum, int64_t bin_stride) {
    const Line<Real> out = {spectrum, bin_stride};
    if (plan_.passes.empty()) return forward_row(0, out);
    forward_inner();
    for_each_line(last(), [&](int64_t line, ptrdiff_t begin, const Real* twiddles) {
      forward_line(last(), number_of_last(), begin, twiddles, out.from(line * last().line.length));
    });
  }

  // Spectrum -> samples.
  void inverse(const Real* spectrum, int64_t bin_stride) {
    const Line<Real> in = {const_cast<Real*>(spectrum), bin_stride};
    if (plan_.passes.empty()) return inverse_row(0, in);
    for_each_line(last(), [&](int64_t line, ptrdiff_t begin, const Real* twiddles) {
      inverse_line(last(), number_of_last(), begin, twiddles, in.from(line * last().line.length));
    });
    inverse_inner();
  }

  // Samples -> samples, multiplied in the frequency domain line by line: `multiply(first_bin, count, values)`. Between
  // the two real DFTs `mark()` may mark other lines.
  template <typename Mark, typename Multiply>
  void filter(const Mark& mark, const Multiply& multiply) {
    Real* buffer = work_ + (plan_.work - line_length()) * kPair<Real>;
    const Line<Real> bins = {buffer};
    if (plan_.passes.empty()) {
      forward_row(0, bins);
      mark();
      multiply(0, plan_.bins, buffer);
      return inverse_row(0, bins);
    }
    forward_inner();
    mark();
    for_each_line(last(), [&](int64_t line, ptrdiff_t begin, const Real* twiddles) {
      const int length = last().line.length;
      forward_line(last(), number_of_last(), begin, twiddles, bins);
      multiply(line * length, length, buffer);
      inverse_line(last(), number_of_last(), begin, twiddles, bins);
    });
    inverse_inner();
  }

 private:
  ptrdiff_t half() const { return plan_.real_length / 2 + 1; }
  ptrdiff_t rows() const { return static_cast<ptrdiff_t>(plan_.bins) / half(); }
  const Pass& last() const { return plan_.passes.data()[number_of_last()]; }
  int number_of_last() const { return static_cast<int>(plan_.passes.size()) - 1; }
  ptrdiff_t line_length() const {
    return plan_.passes.empty() ? static_cast<ptrdiff_t>(plan_.bins) : last().line.length;
  }
  Line<Real> work() const { return {work_}; }
  Line<Real> line(ptrdiff_t begin, ptrdiff_t stride) const {
    return {values_ + begin * kPair<Real>, stride * kPair<Real>};
  }

  template <typename Body>
  void for_each_line(const Pass& pass, const Body& body) {
    const Real* twiddles = tables_.twiddles.data()[&pass - plan_.passes.data()].data();
    int64_t line = 0;
    for (ptrdiff_t o = 0; o < pass.outer; ++o) {
      for (ptrdiff_t i = 0; i < pass.inner; ++i, ++line) {
        const bool has_twiddles = !pass.twiddles.empty();
        body(line, o * pass.line.length * pass.stride + i,
             has_twiddles ? twiddles + 2 * i * pass.line.length : nullptr);
      }
    }
  }

  void forward_line(const Pass& pass, int number, ptrdiff_t begin, const Real* twiddles, Line<Real> out) {
    const Line<Real> in = line(begin, pass.stride);
    if (twiddles != nullptr) apply_twiddles(pass, twiddles, in, in);
    transform_line(pass.line, tables_.line_roots.data()[number + 1].data(), in, out, work());
  }

  void inverse_line(const Pass& pass, int number, ptrdiff_t begin, const Real* twiddles, Line<Real> in) {
    const Line<Real> out = line(begin, pass.stride).swapped();
    transform_line(pass.line, tables_.line_roots.data()[number + 1].data(), in.swapped(), out, work());
    if (twiddles != nullptr) apply_twiddles(pass, twiddles, out, out);
  }

  // In swapped parts this multiplies by the conjugate, as the inverse needs.
  void apply_twiddles(const Pass& pass, const Real* twiddles, Line<Real> in, Line<Real> out) {
    for (int n = 1; n < pass.line.length; ++n)
      out.put(n, multiply_complex(in.get(n), twiddles[2 * n], twiddles[2 * n + 1]));
  }

  void forward_inner() {
    for (ptrdiff_t row = 0; row < rows(); ++row) forward_row(row, line(row * half(), 1));
    for (int number = 0; number < number_of_last(); ++number) {
      const Pass& pass = plan_.passes.data()[number];
      for_each_line(pass, [&](int64_t, ptrdiff_t begin, const Real* twiddles) {
        forward_line(pass, number, begin, twiddles, line(begin, pass.stride));
      });
    }
  }

  void inverse_inner() {
    for (int number = number_of_last() - 1; number >= 0; --number) {
      const Pass& pass = plan_.passes.data()[number];
      for_each_line(pass, [&](int64_t, ptrdiff_t begin, const Real* twiddles) {
        inverse_line(pass, number, begin, twiddles, line(begin, pass.stride));
      });
    }
    for (ptrdiff_t row = 0; row < rows(); ++row) inverse_row(row, line(row * half(), 1));
  }

  // `real_length` real vectors are half as many complex ones.
  void forward_row(ptrdiff_t row, Line<Real> out) {
    if (!flags_[row]) {
      for (ptrdiff_t k = 0; k < half(); ++k) out.put(k, {Vec<Real>{}, Vec<Real>{}});
      return;
    }
    const Line<Real> in = line(row * half(), 1);
    const Line<Real> z = work().from(plan_.real_length);
    transform_line(plan_.real_line, tables_.line_roots.data()[0].data(), in, z, work());
    separate(plan_.real_length / 2, tables_.real_roots.data(), z, out);
  }

  void inverse_row(ptrdiff_t row, Line<Real> in) {
    if (!flags_[row]) return;
    const Line<Real> out = line(row * half(), 1);
    const Line<Real> z = work().from(plan_.real_length);
    join(plan_.real_length / 2, tables_.real_roots.data(), in, z);
    transform_line(plan_.real_line, tables_.line_roots.data()[0].data(), z.swapped(), out.swapped(), work());
  }

  const TilePlan& plan_;
  const TileTables<Real>& tables_;
  Real* values_;
  Real* work_;
  uint8_t* flags_;
};

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
