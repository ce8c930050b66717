// What the dense engine asks of the kernels. Plain data, filled by engine/dense.h.
//
// A tile of N0 x N1 x N2 samples has a packed spectrum of as many reals: pairs of vectors, first of all those of a
// complex bin [re, im], then those of two bins that are real both; 2^axes bins are, of those with k = 0 or N / 2 along
// every axis. Axes of N = 1 are not transformed. The lanes of a vector are channels.
#pragma once

#include <cstddef>
#include <cstdint>

#include "planner/dense_tile.h"

namespace onnx_fft {

// One tile of a segment: where along the segment's rows it begins, and where its spectrum lies, in reals.
struct DenseWindow {
  int64_t start, spectrum;
};

// A segment: tiles side by side along the last axis, of up to a vector of channels. Each of its rows is transposed
// once, into a buffer of one vector a sample; each tile picks its samples from that, `spacing` apart.
struct DenseSegment {
  int length[kMaxRank];       // of the DFTs; the last is not 1
  int64_t extent[kMaxRank];   // of the tensor
  int64_t origin[kMaxRank];   // index of the first sample, which may lie outside the tensor
  int64_t spacing[kMaxRank];  // from one sample of a tile to the next
  int64_t samples[kMaxRank];  // of a tile: length for inputs, the outputs that are wanted otherwise
  int64_t span;               // samples of a row, from the first of the first tile on
  int64_t plane;              // elements from one channel to the next
  int channels;               // lanes in use
  int count;                  // of the windows
  DenseWindow windows[kMostWindows];
};

// Where a spectrum lies: pair i of a window at window.spectrum + i * pair, its second vector `to_im` after the first.
struct DenseLayout {
  ptrdiff_t pair, to_im;
};

template <typename Real>
struct Epilogue;

// What becomes of a segment's sums before they are stored.
template <typename Real>
struct DenseFinish {
  const Epilogue<Real>& epilogue;
  int64_t channel;       // of the first lane
  const void* residual;  // where the segment's outputs lie in it; nullptr if none is added
};

// Reals of scratch that forward and inverse take, with vectors of `lanes`.
inline int64_t dense_scratch_reals(const DenseSegment& s, int64_t lanes) {
  const int64_t slice = int64_t{s.length[1]} * s.length[2] + 2;
  return lanes * (s.span + 2 * lanes + s.count * slice * (s.length[0] > 1 ? 1 + s.length[0] : 1));
}

// For one pair of bins, C [rows, outputs] = A [rows, inputs] B [inputs, outputs], in blocks of one vector of outputs.
// A row of A is [re of all inputs][im of all inputs]. B lies as it is read, in chains of kDenseChain inputs:
//
//   complex, real   [chain][block][input in the chain][re, im]
//   Gauss           [chain][two blocks][re, im - re, re + im][input in the chain][two vectors]
//
// C is [row][block][re, im]. In a pair of two real bins, re and im stand for one each. Gauss' form takes an even number
// of blocks.
template <typename Real>
struct DenseProduct {
  DenseForm form;
  const Real* a;
  ptrdiff_t a_row, a_to_im;
  const Real* b;
  Real* c;
  ptrdiff_t c_row;
  int64_t rows, inputs, blocks;
  Real* scratch;  // for Gauss: dense_product_reals(rows, lanes)
};

inline int64_t dense_product_reals(int64_t rows, int64_t lanes) { return rows * (kDenseChain + lanes); }

// By the type of the elements in memory; `Real` is what is computed in. Scratch memory is aligned to a vector.
template <typename Real>
struct DenseKernels {
  void (*forward)(const DenseSegment&, const void* x, Real* scratch, Real* spectra, DenseLayout);
  void (*inverse)(const DenseSegment&, const Real* spectra, DenseLayout, Real* scratch, void* y,
                  const DenseFinish<Real>&);
};

template <typename Real>
struct DenseSpectrumKernels {
  void (*transform_weights)(const DenseSegment&, const void* weights, Real* scratch, Real* spectra, DenseLayout);
  void (*multiply)(const DenseProduct<Real>&);
};

// The dense kernels of one instruction set, by the type of the elements in memory.
struct DenseTable {
  DenseKernels<float> f16, f32;
  DenseKernels<double> f64;
  DenseSpectrumKernels<float> f32_spectra;
  DenseSpectrumKernels<double> f64_spectra;
};

}  // namespace onnx_fft
