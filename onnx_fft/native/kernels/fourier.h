// What the Fourier operators ask of the kernels. Plain data, filled by engine/fourier.h.
#pragma once

#include <cstdint>

#include "planner/fourier_plan.h"

namespace onnx_fft {

constexpr int kMostLines = 16;  // lanes of the widest vector
constexpr int kNeighbours = 4;  // vectors of columns, or of rows, of a long line that are computed together

// How the samples of the lines of one group lie in memory.
enum class LineLayout {
  kRows,       // one sample of a line after the other
  kLanes,      // one line after the other, for each sample
  kScattered,  // neither
};

// Lines that are transformed together, one in each lane. Lanes from `count` on are read as the first one, and not
// written. Steps are from one sample to the next, in reals.
template <typename Real>
struct FourierLines {
  const Real* in[kMostLines];
  Real* out[kMostLines];
  int count;
  LineLayout layout;
  int64_t in_step, out_step;
  int64_t in_ahead, out_ahead;  // of kLanes: reals to where the next group's lines are
  int64_t available;            // samples of the input that there are; those behind them are zero
  const Real*
      window;  // a factor for each real of the input, filled up to a vector, or nullptr; not of complex ones by samples
  BinForm form;  // of what comes out; others than kParts with kRows only
};

// The samples of one long line, one after the other: complex ones, or real ones in the place of those.
template <typename Real>
struct LongInput {
  const Real* data;
  int64_t reals;    // that there are; those behind them are zero
  bool is_real;     // imaginary parts are not there, and zero
  bool is_swapped;  // real and imaginary parts are exchanged
};

template <typename Real>
struct LongOutput {
  Real* data;
  int64_t samples;  // to be written; those behind them are not
  bool is_real;     // imaginary parts are not written
  bool is_swapped;
  Real re_scale, im_scale;
};

// `scratch` and `between` are memory aligned to vectors. Ranges are [first, last).
template <typename Real>
struct FourierKernels {
  // Lines that are short.
  void (*transform)(const FourierPlan<Real>&, const FourierLines<Real>&, Real* scratch);
  // A long line's columns, `lanes` at a time, to `between`, and its rows, as many at a time, from there.
  void (*columns)(const ComplexDft<Real>&, const LongInput<Real>&, int64_t first, int64_t last, Real* between,
                  Real* scratch);
  void (*rows)(const ComplexDft<Real>&, const Real* between, const LongOutput<Real>&, int64_t first, int64_t last,
               Real* scratch);
  // What makes a half-spectrum of the packed line's DFT, in place, and the reverse of it: for k = 1 + lanes * first ...
  // and their mirror images; the range that begins at 0 has the ends, too.
  void (*separate)(const FourierPlan<Real>&, const LongOutput<Real>&, int64_t first, int64_t last);
  void (*join)(const FourierPlan<Real>&, const LongInput<Real>&, Real* out, int64_t first, int64_t last);
  // Samples times a table of complex numbers.
  void (*multiply)(const LongInput<Real>&, const Real* table, const LongOutput<Real>&, int64_t first, int64_t last);
};

struct FourierTable {
  FourierKernels<float> f32;
  FourierKernels<double> f64;
};

// Complex vectors of scratch memory: the values of a group, which transposing in blocks may read a little beyond, and
// what is convolved with a chirp; of a long line, the lines that are computed together and the work area of one.
template <typename Real>
int64_t values_of(const FourierPlan<Real>& plan) {
  return plan.spec.length + 1 + plan.lanes;
}
template <typename Real>
int64_t scratch_of(const ComplexDft<Real>& dft) {
  const int64_t longest = dft.line.length > dft.row_line.length ? dft.line.length : dft.row_line.length;
  return (kNeighbours + 2) * longest;
}
template <typename Real>
int64_t scratch_of(const FourierPlan<Real>& plan) {
  return values_of(plan) + (plan.has_chirp() ? 2 * plan.dft.line.length : 0);
}

}  // namespace onnx_fft
