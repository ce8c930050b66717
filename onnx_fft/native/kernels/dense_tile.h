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

template <typename Real>
ONNX_FFT_INLINE void fill_zeros(Real* p, int64_t vectors) {
  for (int64_t i = 0; i < vectors; ++i) store(p + i * kLanes<Real>, Vec<Real>{});
}

template <typename Real, typename Storage>
void dense_forward(const DenseSegment& s, const void* x, Real* memory, Real* spectra, DenseLayout layout) {
  constexpr int L = kLanes<Real>;
  const DenseScratch<Real> scratch(s, memory);
  const DensePairs row_pairs = DensePairs{}.along(s.length[2]), slice_pairs = row_pairs.along(s.length[1]);
  RowReader<Real, Storage> reader(s, x, scratch.row);
  const auto in_spectra = [&](int w) { return Pairs<Real>{spectra + s.windows[w].spectrum, layout}; };
  const auto in_cube = [&](int w, int64_t j0) {
    Real* slice = scratch.cube(w) + j0 * scratch.slice_reals();
    return s.length[0] == 1 ? in_spectra(w) : Pairs<Real>{slice, kPairsInScratch<Real>};
  };
  for (int64_t j0 = 0; j0 < s.length[0]; ++j0) {
    for (int64_t j1 = 0; j1 < s.length[1]; ++j1) {
      const int64_t offset = find_row(s, j0, j1);
      offset >= 0 ? reader.read(offset) : fill_zeros(scratch.row, s.span);
      for (int w = 0; w < s.count; ++w) {
        Real* row = scratch.slice(w) + j1 * s.length[2] * L;
        transform_lines<Real>(s.length[2], {}, scratch.row + s.windows[w].start * L, s.spacing[2] * L,
                              s.length[1] == 1 ? in_cube(w, j0) : Pairs<Real>{row, kPairsInScratch<Real>});
      }
    }
    for (int w = 0; w < s.count && s.length[1] > 1; ++w) {
      transform_lines<Real>(s.length[1], row_pairs, scratch.slice(w), s.length[2] * L, in_cube(w, j0));
    }
  }
  for (int w = 0; w < s.count && s.length[0] > 1; ++w) {
    transform_lines<Real>(s.length[0], slice_pairs, scratch.cube(w), scratch.slice_reals(), in_spectra(w));
  }
}

template <typename Real, typename Storage>
void dense_inverse(const DenseSegment& s, const Real* spectra, DenseLayout layout, Real* memory, void* y,
                   const DenseFinish<Real>& finish) {
  constexpr int L = kLanes<Real>;
  const DenseScratch<Real> scratch(s, memory);
  const DensePairs row_pairs = DensePairs{}.along(s.length[2]), slice_pairs = row_pairs.along(s.length[1]);
  const RowWriter<Real, Storage> writer(s, finish, scratch.row, y);
  const auto in_spectra = [&](int w) { return Pairs<const Real>{spectra + s.windows[w].spectrum, layout}; };
  const auto in_cube = [&](int w, int64_t j0) {
    const Real* slice = scratch.cube(w) + j0 * scratch.slice_reals();
    return s.length[0] == 1 ? in_spectra(w) : Pairs<const Real>{slice, kPairsInScratch<Real>};
  };
  for (int w = 0; w < s.count && s.length[0] > 1; ++w) {
    restore_lines<Real>(s.length[0], slice_pairs, in_spectra(w), scratch.cube(w), scratch.slice_reals(), s.samples[0]);
  }
  for (int64_t j0 = 0; j0 < s.samples[0]; ++j0) {
    for (int w = 0; w < s.count && s.length[1] > 1; ++w) {
      restore_lines<Real>(s.length[1], row_pairs, in_cube(w, j0), scratch.slice(w), s.length[2] * L, s.samples[1]);
    }
    for (int64_t j1 = 0; j1 < s.samples[1]; ++j1) {
      const int64_t offset = find_row(s, j0, j1);
      if (offset < 0) continue;
      for (int w = 0; w < s.count; ++w) {
        const Real* row = scratch.slice(w) + j1 * s.length[2] * L;
        restore_lines<Real>(s.length[2], {},
                            s.length[1] == 1 ? in_cube(w, j0) : Pairs<const Real>{row, kPairsInScratch<Real>},
                            scratch.row + s.windows[w].start * L, s.spacing[2] * L, s.samples[2]);
      }
      writer.write(offset);
    }
  }
}

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
