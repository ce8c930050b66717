// What a transposed convolution asks of the kernels, beside those of the convolution that it equals.
#pragma once

#include "kernels/kernels.h"

namespace onnx_fft {

// Groups of frames whose spectra are read together: a row of so many is a few whole cache lines.
constexpr int kFrameGroups = 8;

// A row of inputs, which is a part of one bin.
template <typename Real>
struct SpectrumRow {
  int64_t position;  // of the vector that it is, in reals
  Real scale;
  bool adds;  // to a row before it, which is the same part of the same bin
};

// Frames that are computed from their spectra, one in each lane of a group: rows of `x`, of which each is a part of one
// bin, the frames side by side.
template <typename Real>
struct OverlapFrames {
  const SpectrumRow<Real>* rows;
  int64_t row_count;
  const int64_t* zeros;  // positions that no row sets
  int64_t zero_count;
  const void* x;   // the first frame of the first row
  int64_t x_step;  // from one row to the next, in elements
  int64_t count;   // frames; no more than the lanes of all groups
  const Real* window;
  int64_t taps;
  Real* sums;      // where the first frame begins
  int64_t stride;  // from one frame to the next
};

template <typename Real>
struct OverlapKernels {
  // Adds frames to the sums.
  void (*add)(const FourierPlan<Real>&, const OverlapFrames<Real>&, Real* scratch);
};

// Complex vectors of scratch memory: the values of all groups, and what one convolves with a chirp. That lies behind
// the group's values, where others have theirs: the last group is the first to be transformed.
template <typename Real>
int64_t scratch_of_groups(const FourierPlan<Real>& plan) {
  return (kFrameGroups - 1) * values_of(plan) + scratch_of(plan);
}

// Rows of one output row's residues, of which the outputs [first, first + count) are every `stride`-th.
struct Residues {
  const void* rows;  // sample 0 of residue 0
  int64_t step;      // from one residue to the next, in elements
  int64_t stride;
  int64_t first, count;
};

struct TransposedTable {
  // by the type of the elements in memory
  OverlapKernels<float> f16, f32;
  OverlapKernels<double> f64;
  // by the bytes of an element: 2, 4, 8
  void (*interleave[3])(const Residues&, void* y);
};

}  // namespace onnx_fft
