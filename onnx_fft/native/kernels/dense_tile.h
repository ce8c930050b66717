// The tiles of a dense segment, from rows of a tensor to packed spectra, and back.
//
// Axis 2 is transformed row by row into a slice [row, N2], axis 1 slice by slice into a cube [slice, N1 N2 / 2 pairs],
// axis 0 last. An axis of one sample is left out, and the last axis that is transformed has the spectra as its target.
#pragma once

#include "kernels/dense_lines.h"
#include "kernels/dense_rows.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

// Scratch memory of a segment, see dense_scratch_reals.
template <typename Real>
class DenseScratch {
 public:
  DenseScratch(const DenseSegment& segment, Real* memory)
      : row(memory),
        slices_(memory + (segment.span + 2 * L) * L),
        // a slice of whole pages would put all slices of a cube into the same few sets of the cache
        slice_reals_((segment.length[1] * segment.length[2] + 2) * L),
        cubes_(slices_ + segment.count * slice_reals_),
        cube_reals_(segment.length[0] * slice_reals_) {}

  Real* slice(int window) const { return slices_ + window * slice_reals_; }
  Real* cube(int window) const { return cubes_ + window * cube_reals_; }
  ptrdiff_t slice_reals() const { return slice_reals_; }

  Real* const row;

 private:
  static constexpr int L = kLanes<Real>;
  Real* slices_;
  ptrdiff_t slice_reals_;
  Real* cubes_;
  ptrdiff_t cube_reals_;
};

template <typename Real>
constexpr DenseLayout kPairsInScratch = {2 * kLanes<Real>, kLanes<Real>};

// Elements from the plane's first to row (j0, j1) of the segment; -1 if it is not in the tensor.
ONNX_FFT_INLINE int64_t find_row(const DenseSegment& s, int64_t j0, int64_t j1) {
  const int64_t i0 = s.origin[0] + j0 * s.spacing[0], i1 = s.origin[1] + j1 * s.spacing[1];
  const bool is_inside = i0 >= 0 && i0 < s.extent[0] && i1 >= 0 && i1 < s.extent[1];
  return is_inside ? (i0 * s.extent[1] + i1) * s.extent[2] : -1;
}

// Elements from a row at `offset` to the one that comes kRowsAhead later; 0 if that is none.
ONNX_FFT_INLINE int64_t find_ahead(const DenseSegment& s, int64_t offset, int64_t j0, int64_t j1, int64_t rows) {
  constexpr int64_t kRowsAhead = 2;
  const bool is_below = j1 + kRowsAhead >= rows;
  const int64_t found = find_row(s, is_below ? j0 + 1 : j0, is_below ? j1 + kRowsAhead - rows : j1 + kRowsAhead);
  return found >= 0 ? found - offset : 0;
}

template <typename Real>
ONNX_FFT_INLINE void fill_zeros(Real* p, int64_t vectors) {
  for (int64_t i = 0; i < vectors; ++i) store(p + i * kLanes<Real>, Vec<Real>{});
}

// What forward and inverse have in common. `Value` is const Real on the way back, which only reads spectra.
template <typename Real, typename Value>
class DenseTiles {
 public:
  DenseTiles(const DenseSegment& segment, Real* memory, Value* spectra, DenseLayout layout)
      : s(segment), scratch(segment, memory), spectra_(spectra), layout_(layout) {
    for (int axis = 0; axis < kMaxRank; ++axis) lines[axis] = find_line_kernels<Real>(s.length[axis]);
    for (int w = 0; w < s.count; ++w) rows_[w] = in_slices() ? scratch.slice(w) : cube(w, 0).first;
  }

  Pairs<Value> spectrum(int w) const { return {spectra_ + s.windows[w].spectrum, layout_}; }

  // Slice j0 of the cube, which is the spectrum itself if axis 0 is left out.
  Pairs<Value> cube(int w, int64_t j0) const {
    if (s.length[0] == 1) return spectrum(w);
    return {scratch.cube(w) + j0 * scratch.slice_reals(), kPairsInScratch<Real>};
  }

  // Row j1 of slice j0, for all windows.
  RowWindows<Value> row(int64_t j0, int64_t j1) const {
    const ptrdiff_t offset = in_slices() ? j1 * s.length[2] * kLanes<Real> : j0 * scratch.slice_reals();
    const DenseLayout layout = in_slices() || s.length[0] > 1 ? kPairsInScratch<Real> : layout_;
    return {s.count, s.windows, s.spacing[2], rows_, offset, layout};
  }

  const DenseSegment& s;
  const DenseScratch<Real> scratch;
  LineKernels<Real> lines[kMaxRank];

 private:
  bool in_slices() const { return s.length[1] > 1; }

  Value* const spectra_;
  const DenseLayout layout_;
  Value* rows_[kMostWindows];
};

template <typename Real, typename Storage>
void dense_forward(const DenseSegment& s, const void* x, Real* memory, Real* spectra, DenseLayout layout) {
  const DenseTiles<Real, Real> tiles(s, memory, spectra, layout);
  const DensePairs row_pairs = DensePairs{}.along(s.length[2]), slice_pairs = row_pairs.along(s.length[1]);
  Real* const row = tiles.scratch.row;
  RowReader<Real, Storage> reader(s, x, row);
  for (int64_t j0 = 0; j0 < s.length[0]; ++j0) {
    for (int64_t j1 = 0; j1 < s.length[1]; ++j1) {
      const int64_t offset = find_row(s, j0, j1);
      offset >= 0 ? reader.read(offset, find_ahead(s, offset, j0, j1, s.length[1])) : fill_zeros(row, s.span);
      tiles.lines[2].transform_rows(tiles.row(j0, j1), row);
    }
    for (int w = 0; w < s.count && s.length[1] > 1; ++w) {
      tiles.lines[1].transform(row_pairs, tiles.scratch.slice(w), s.length[2] * kLanes<Real>, tiles.cube(w, j0));
    }
  }
  for (int w = 0; w < s.count && s.length[0] > 1; ++w) {
    tiles.lines[0].transform(slice_pairs, tiles.scratch.cube(w), tiles.scratch.slice_reals(), tiles.spectrum(w));
  }
}

template <typename Real, typename Storage>
void dense_inverse(const DenseSegment& s, const Real* spectra, DenseLayout layout, Real* memory, void* y,
                   const DenseFinish<Real>& finish) {
  const DenseTiles<Real, const Real> tiles(s, memory, spectra, layout);
  const DensePairs row_pairs = DensePairs{}.along(s.length[2]), slice_pairs = row_pairs.along(s.length[1]);
  Real* const row = tiles.scratch.row;
  const RowWriter<Real, Storage> writer(s, finish, row, y);
  for (int w = 0; w < s.count && s.length[0] > 1; ++w) {
    tiles.lines[0].restore(slice_pairs, tiles.spectrum(w), tiles.scratch.cube(w), tiles.scratch.slice_reals(),
                           s.samples[0]);
  }
  for (int64_t j0 = 0; j0 < s.samples[0]; ++j0) {
    for (int w = 0; w < s.count && s.length[1] > 1; ++w) {
      tiles.lines[1].restore(row_pairs, tiles.cube(w, j0), tiles.scratch.slice(w), s.length[2] * kLanes<Real>,
                             s.samples[1]);
    }
    for (int64_t j1 = 0; j1 < s.samples[1]; ++j1) {
      const int64_t offset = find_row(s, j0, j1);
      if (offset < 0) continue;
      tiles.lines[2].restore_rows(tiles.row(j0, j1), row, s.samples[2]);
      writer.write(offset, find_ahead(s, offset, j0, j1, s.samples[1]));
    }
  }
}

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
