// Moves data between tensors, whose rows run along an axis, and tiles, whose vectors run across the lanes: transposes
// it in blocks, puts zeros outside the input, and finishes the outputs.
#pragma once

#include "kernels/epilogue.h"
#include "kernels/half.h"
#include "kernels/kernels.h"
#include "kernels/tile.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

#define ONNX_FFT_PAIR(a, n) a, a + n
#define ONNX_FFT_PAIRS_4(a, n) ONNX_FFT_PAIR(a, n), ONNX_FFT_PAIR(a + 1, n)
#define ONNX_FFT_PAIRS_8(a, n) ONNX_FFT_PAIRS_4(a, n), ONNX_FFT_PAIRS_4(a + 2, n)
#define ONNX_FFT_PAIRS_16(a, n) ONNX_FFT_PAIRS_8(a, n), ONNX_FFT_PAIRS_8(a + 4, n)

// The lower or the upper halves of a and b, their elements interleaved.
template <bool Upper, typename Real>
ONNX_FFT_INLINE Vec<Real> interleave(Vec<Real> a, Vec<Real> b) {
  constexpr int L = kLanes<Real>, h = Upper ? L / 2 : 0;
  if constexpr (L == 2) {
    return __builtin_shufflevector(a, b, ONNX_FFT_PAIR(h, 2));
  } else if constexpr (L == 4) {
    return __builtin_shufflevector(a, b, ONNX_FFT_PAIRS_4(h, 4));
  } else if constexpr (L == 8) {
    return __builtin_shufflevector(a, b, ONNX_FFT_PAIRS_8(h, 8));
  } else {
    return __builtin_shufflevector(a, b, ONNX_FFT_PAIRS_16(h, 16));
  }
}

// Rows -> columns of a square of vectors: log2(lanes) rounds, each of which interleaves row i with row i + lanes / 2.
template <typename Real>
ONNX_FFT_INLINE void transpose(Vec<Real> (&rows)[kLanes<Real>]) {
  constexpr int L = kLanes<Real>;
  ONNX_FFT_UNROLL
  for (int round = 1; round < L; round *= 2) {
    Vec<Real> next[L];
    ONNX_FFT_UNROLL
    for (int i = 0; i < L / 2; ++i) {
      next[2 * i] = interleave<false, Real>(rows[i], rows[i + L / 2]);
      next[2 * i + 1] = interleave<true, Real>(rows[i], rows[i + L / 2]);
    }
    ONNX_FFT_UNROLL
    for (int i = 0; i < L; ++i) rows[i] = next[i];
  }
}

// Index of sample `j` of a lane along `axis`, or -1 outside.
template <typename Pointer>
ONNX_FFT_INLINE int64_t index_of(const Planes<Pointer>& planes, int lane, int axis, int64_t j) {
  const int64_t index = planes.lanes[lane].origin[axis] + j * planes.step[axis];
  return index >= 0 && index < planes.extent[axis] ? index : -1;
}

ONNX_FFT_INLINE int64_t clamp(int64_t value, int64_t low, int64_t high) {
  return value < low ? low : value > high ? high : value;
}

// How far to prefetch along a single row: chosen by eye on a 2-core AMD EPYC (Zen 4), 2026-11.
constexpr int64_t kElementsAhead = 512;

// How far ahead to prefetch a lane's samples. Each lane is a stream of memory of its own, and there are more of them
// than the hardware prefetches by itself.
template <typename Pointer>
ONNX_FFT_INLINE int64_t distance_ahead(const Planes<Pointer>& planes, int64_t rows) {
  return rows > 1 ? 2 * planes.step[1] * planes.stride[1] : kElementsAhead;
}

// Up to a vector of samples from `first` on along the last axis of one lane's row.
template <typename Real, typename Storage>
ONNX_FFT_INLINE Vec<Real> load_run(const InputPlanes& input, int lane, const Storage* row, int64_t first, int64_t count,
                                   int64_t ahead) {
  constexpr int L = kLanes<Real>;
  const int64_t begin = input.lanes[lane].origin[2] + first * input.step[2];
  prefetch<false>(row, begin + ahead);
  if constexpr (sizeof(Storage) == sizeof(Real)) {
    if (input.step[2] == 1) {
      const int64_t last = clamp(input.extent[2] - begin, 0, count);
      return load_lanes(row + begin, clamp(-begin, 0, last), last);
    }
  }
  alignas(ONNX_FFT_VECTOR_BYTES) Real values[L] = {};
  for (int64_t i = 0; i < count; ++i) {
    const int64_t index = begin + i * input.step[2];
    if (index >= 0 && index < input.extent[2]) values[i] = widen(row[index]);
  }
  return load(values);
}

// Offset of the row of each lane at samples (j0, j1) of the first two axes; -1 outside. Lanes that are channels of one
// tile have the same.
template <typename Pointer>
class Rows {
 public:
  explicit Rows(const Planes<Pointer>& planes) : planes_(planes) {
    for (int lane = 1; lane < planes.count; ++lane) {
      for (int axis = 0; axis < 2; ++axis) {
        if (planes.lanes[lane].origin[axis] != planes.lanes[0].origin[axis]) shared_ = false;
      }
    }
  }

  // Whether any lane has such a row.
  bool seek(int64_t j0, int64_t j1) {
    any_ = false;
    for (int lane = 0; lane < (shared_ ? 1 : planes_.count); ++lane) {
      const int64_t i0 = index_of(planes_, lane, 0, j0), i1 = index_of(planes_, lane, 1, j1);
      const bool inside = i0 >= 0 && i1 >= 0;
      offset_[lane] = inside ? i0 * planes_.stride[0] + i1 * planes_.stride[1] : -1;
      any_ = any_ || inside;
    }
    return any_;
  }

  int64_t operator[](int lane) const { return lane < planes_.count ? offset_[shared_ ? 0 : lane] : -1; }

 private:
  const Planes<Pointer>& planes_;
  bool shared_ = true, any_ = false;
  int64_t offset_[kMaxLanes] = {};
};

// Fills a tile; sample (j0, j1, j2) goes to the sum of its positions.
template <typename Real, typename Storage, typename AnyTile>
void load_tile(const TilePlan& plan, const InputPlanes& input, AnyTile& tile) {
  constexpr int L = kLanes<Real>;
  tile.clear_rows();
  Rows<const void*> rows(input);
  const int64_t ahead = distance_ahead(input, plan.length[1]);
  for (int64_t j0 = 0; j0 < plan.length[0]; ++j0) {
    for (int64_t j1 = 0; j1 < plan.length[1]; ++j1) {
      if (!rows.seek(j0, j1) && tile.skips_rows()) continue;
      const int64_t position = int64_t{plan.position[0].data()[j0]} + plan.position[1].data()[j1];
      tile.mark_row(position);
      Real* target = tile.sample(position);
      for (int64_t first = 0; first < plan.length[2]; first += L) {
        const int64_t count = plan.length[2] - first < L ? plan.length[2] - first : L;
        Vec<Real> block[L];
        for (int lane = 0; lane < L; ++lane) {
          const Storage* plane = static_cast<const Storage*>(input.lanes[lane].data);
          block[lane] =
              rows[lane] < 0 ? Vec<Real>{} : load_run<Real>(input, lane, plane + rows[lane], first, count, ahead);
        }
        transpose<Real>(block);
        for (int i = 0; i < count; ++i) store(target + plan.position[2].data()[first + i] * int64_t{L}, block[i]);
      }
    }
  }
}

// Finishes up to a vector of sums, from output `first` on along the last axis of one lane's row, which is at `offset`.
template <typename Real, typename Storage>
ONNX_FFT_INLINE void store_run(const OutputPlanes<Real>& output, int lane, Vec<Real> sums, int64_t offset,
                               int64_t first, int64_t count, int64_t ahead) {
  constexpr int L = kLanes<Real>;
  const int64_t begin = output.lanes[lane].origin[2] + first * output.step[2], channel = output.channel[lane];
  Storage* row = static_cast<Storage*>(output.lanes[lane].data) + offset;
  const bool adds = output.epilogue->residual != nullptr;
  const Storage* residual = adds ? static_cast<const Storage*>(output.residual[lane]) + offset : row;
  prefetch<true>(row, begin + ahead);
  if (output.step[2] == 1) {
    const int64_t last = clamp(output.extent[2] - begin, 0, count);
    return store_finished<Real>(*output.epilogue, channel, sums, row + begin, residual + begin, last);
  }
  Storage values[L] = {};
  for (int64_t i = 0; adds && i < count; ++i) {
    const int64_t index = begin + i * output.step[2];
    if (index < output.extent[2]) values[i] = residual[index];
  }
  store_finished<Real>(*output.epilogue, channel, sums, values, values, L);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t index = begin + i * output.step[2];
    if (index < output.extent[2]) row[index] = values[i];
  }
}

// Marks the rows that store_tile reads.
template <typename Real>
void mark_outputs(const TilePlan& plan, const OutputPlanes<Real>& output, Tile<Real>& tile) {
  tile.clear_rows();
  for (int64_t t0 = 0; t0 < output.outputs[0]; ++t0) {
    for (int64_t t1 = 0; t1 < output.outputs[1]; ++t1) {
      tile.mark_row(int64_t{plan.position[0].data()[t0]} + plan.position[1].data()[t1]);
    }
  }
}

// Writes the tile's outputs (t0, t1, t2), finished.
template <typename Real, typename Storage, typename AnyTile>
void store_tile(const TilePlan& plan, const OutputPlanes<Real>& output, const AnyTile& tile) {
  constexpr int L = kLanes<Real>;
  Rows<void*> rows(output);
  const int64_t ahead = distance_ahead(output, output.outputs[1]);
  for (int64_t t0 = 0; t0 < output.outputs[0]; ++t0) {
    for (int64_t t1 = 0; t1 < output.outputs[1]; ++t1) {
      if (!rows.seek(t0, t1)) continue;
      const Real* origin = tile.sample(int64_t{plan.position[0].data()[t0]} + plan.position[1].data()[t1]);
      for (int64_t first = 0; first < output.outputs[2]; first += L) {
        const int64_t count = output.outputs[2] - first < L ? output.outputs[2] - first : L;
        Vec<Real> block[L] = {};
        for (int i = 0; i < count; ++i) block[i] = load(origin + plan.position[2].data()[first + i] * int64_t{L});
        transpose<Real>(block);
        for (int lane = 0; lane < L; ++lane) {
          if (rows[lane] >= 0) store_run<Real, Storage>(output, lane, block[lane], rows[lane], first, count, ahead);
        }
      }
    }
  }
}

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
