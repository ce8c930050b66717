// What kernels.cpp offers in each of its compilations, for the engine to call.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/dense.h"
#include "kernels/fourier.h"
#include "planner/tile_plan.h"

namespace onnx_fft {

constexpr int kMaxLanes = 16;

// The planes a tile's lanes are read from or written to. Sample j of an axis lies at `origin + j * step`; outside
// [0, extent) inputs read zero and outputs are not written. Lanes from `count` on are read as zero and not written.
template <typename Pointer>
struct Planes {
  struct Lane {
    Pointer data;
    int64_t origin[kMaxRank];
  };
  Lane lanes[kMaxLanes];
  int count = 0;
  int64_t extent[kMaxRank], step[kMaxRank], stride[kMaxRank];  // stride in elements

  // Of rows that lie one after the other, as they do in a tensor.
  void set_strides() {
    int64_t next = 1;
    for (int axis = kMaxRank - 1; axis >= 0; --axis) {
      stride[axis] = next;
      next *= extent[axis];
    }
  }
};

using InputPlanes = Planes<const void*>;

// What follows the sums, in this order: a bias, a residual, an activation, a scale and a shift. Arrays hold a value for
// each output channel, and are nullptr for a step that is not taken.
template <typename Real>
struct Epilogue {
  Activation activation;
  const Real* bias = nullptr;
  const void* residual = nullptr;  // laid out as the outputs, of their element type
  const Real* slope = nullptr;     // of PRelu
  const Real* scale = nullptr;     // there if shift is
  const Real* shift = nullptr;
};

template <typename Real>
struct OutputPlanes : Planes<void*> {
  int64_t outputs[kMaxRank];  // of the tile, along each axis
  const Epilogue<Real>* epilogue;
  int64_t channel[kMaxLanes];
  const void* residual[kMaxLanes];  // each lane's plane of it, if there is one
};

// A row of outputs that a group of frames gets: a part of one bin.
template <typename Real>
struct BinRow {
  int64_t position;  // of the vector that it is, in reals
  Real scale;
};

// Where the rows of a group of frames go. Steps are in elements, and one of the two is 1: either frames lie side by
// side, or rows do.
template <typename Real>
struct BinOutput {
  const BinRow<Real>* rows;
  int64_t count;         // of outputs of a frame; of other forms than kParts, row r and row r + count make one
  void* y;               // the group's first frame of the first row
  const void* residual;  // the same in there, if there is one
  int64_t row_step, frame_step;
  int64_t channel;  // of the first row; each has its own
  BinForm form;
  const Epilogue<Real>* epilogue;
};

// What a tile is convolved with, each lane its own, or for lane >= 0 that one for all: the bins of its spectrum,
// complex vectors, or its taps, real ones.
template <typename Real>
struct Factor {
  const Real* values;
  int lane;
};

// For each bin, a complex matrix product C [rows, columns] = A [rows, inner] B [inner, columns], columns in blocks of
// one vector. A is planar in blocks as well: element k of a row is lane k mod lanes of block k / lanes, counted from
// `a_first` on.
template <typename Real>
struct Product {
  const Real* a;
  const Real* b;
  Real* c;
  int64_t rows, inner, blocks;
  int64_t a_first, a_row, b_block, c_row, c_block;  // in reals
};

// One element type's kernels; `Real` is what is computed in. A `tile` is scratch memory, as much as
// `scratch_bytes` says, aligned to a vector. Spectra lie as [re, im] vectors `bin_stride` reals apart.
template <typename Real>
struct Kernels {
  void (*forward)(const TilePlan&, const InputPlanes&, Real* tile, Real* spectrum, int64_t bin_stride);
  void (*inverse)(const TilePlan&, const Real* spectrum, int64_t bin_stride, Real* tile, const OutputPlanes<Real>&);
  void (*convolve)(const TilePlan&, const InputPlanes&, Factor<Real>, Real* tile, const OutputPlanes<Real>&);
  // The epilogue of sums computed elsewhere, in place: `count` of one channel, and as much of the residual.
  void (*finish)(const Epilogue<Real>&, int64_t channel, void* y, const void* residual, int64_t count);
  // The spectra of a group of frames, which are lines of a real signal, row by row.
  void (*frames)(const FourierPlan<Real>&, const FourierLines<Real>&, Real* scratch, const BinOutput<Real>&);
};

// Bytes of scratch memory that a kernel needs for one tile, with vectors of `lanes`; the last term is a flag for each
// real line.
template <typename Real>
size_t scratch_bytes(const TilePlan& tile, int64_t lanes) {
  return (tile.bins + tile.work) * static_cast<size_t>(2 * lanes) * sizeof(Real) + tile.bins;
}

template <typename Real>
struct SpectrumKernels {
  // conj(spectrum) * scale of a tile whose samples are already in place
  void (*transform_weights)(const TilePlan&, Real scale, Real* tile, Real* spectrum, int64_t bin_stride);
  void (*multiply)(const Product<Real>&);
};

// The kernels of one instruction set, by the type of the elements in memory.
struct KernelTable {
  const char* name;
  int vector_bytes;
  Kernels<float> f16, f32;
  Kernels<double> f64;
  SpectrumKernels<float> f32_spectra;
  SpectrumKernels<double> f64_spectra;
  const DenseTable* dense;
  const FourierTable* fourier;
};

}  // namespace onnx_fft
