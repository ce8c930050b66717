// Between tensors, whose rows run along an axis, and tiles, whose vectors run across the lanes: block-wise transposition,
// zeros outside the input, bias and activation on the way out.
#pragma once

#include "half.h"
#include "kernels.h"
#include "tile.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

#define ONNX_FFT_PAIR(a, n) a, a + n
#define ONNX_FFT_PAIRS_4(a, n) ONNX_FFT_PAIR(a, n), ONNX_FFT_PAIR(a + 1, n)
#define ONNX_FFT_PAIRS_8(a, n) ONNX_FFT_PAIRS_4(a, n), ONNX_FFT_PAIRS_4(a + 2, n)
#define ONNX_FFT_PAIRS_16(a, n) ONNX_FFT_PAIRS_8(a, n), ONNX_FFT_PAIRS_8(a + 4, n)

// The lower or the upper halves of a and b, element by element in turn.
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

// `L` samples from `first` on along the last axis of one lane's row.
template <typename Real, typename Storage>
ONNX_FFT_INLINE Vec<Real> load_run(const Source& source, int lane, const Storage* row, int64_t first, int64_t count) {
  constexpr int L = kLanes<Real>;
  const int64_t begin = source.lanes[lane].origin[2] + first * source.step[2];
  alignas(ONNX_FFT_VECTOR_BYTES) Real values[L] = {};
  if (source.step[2] == 1 && begin >= 0 && begin + L <= source.extent[2] && count >= L) {
    for (int i = 0; i < L; ++i) values[i] = widen(row[begin + i]);
  } else {
    for (int i = 0; i < L && i < count; ++i) {
      const int64_t index = begin + i * source.step[2];
      if (index >= 0 && index < source.extent[2]) values[i] = widen(row[index * source.stride[2]]);
    }
  }
  return load(values);
}

// Fills a tile; sample (j0, j1, j2) goes to the sum of its positions.
template <typename Real, typename Storage>
void load_tile(const TilePlan& plan, const Source& source, Tile<Real>& tile) {
  constexpr int L = kLanes<Real>;
  tile.clear_rows();
  for (int64_t j0 = 0; j0 < plan.length[0]; ++j0) {
    for (int64_t j1 = 0; j1 < plan.length[1]; ++j1) {
      const Storage* rows[L] = {};
      bool empty = true;
      for (int lane = 0; lane < source.count; ++lane) {
        const int64_t i0 = index_of(source, lane, 0, j0), i1 = index_of(source, lane, 1, j1);
        if (i0 < 0 || i1 < 0) continue;
        rows[lane] = static_cast<const Storage*>(source.lanes[lane].data) + i0 * source.stride[0] + i1 * source.stride[1];
        empty = false;
      }
      const int64_t position = int64_t{plan.position[0].data()[j0]} + plan.position[1].data()[j1];
      if (empty && plan.real_axis == 2) continue;
      tile.mark_row(position);
      Real* target = tile.sample(position);
      for (int64_t first = 0; first < plan.length[2]; first += L) {
        const int64_t count = plan.length[2] - first < L ? plan.length[2] - first : L;
        Vec<Real> block[L];
        for (int lane = 0; lane < L; ++lane) {
          block[lane] = rows[lane] == nullptr ? Vec<Real>{} : load_run<Real>(source, lane, rows[lane], first, count);
        }
        transpose<Real>(block);
        for (int i = 0; i < count; ++i) store(target + plan.position[2].data()[first + i] * int64_t{L}, block[i]);
      }
    }
  }
}

template <typename Real, typename Storage>
ONNX_FFT_INLINE void store_run(const Sink& sink, int lane, Vec<Real> run, Storage* row, int64_t first, int64_t count) {
  constexpr int L = kLanes<Real>;
  const int64_t begin = sink.lanes[lane].origin[2] + first * sink.step[2];
  alignas(ONNX_FFT_VECTOR_BYTES) Real values[L];
  store(values, run);
  if (sink.step[2] == 1 && begin + L <= sink.extent[2] && count >= L) {
    for (int i = 0; i < L; ++i) narrow(values[i], row + begin + i);
  } else {
    for (int i = 0; i < L && i < count; ++i) {
      const int64_t index = begin + i * sink.step[2];
      if (index < sink.extent[2]) narrow(values[i], row + index * sink.stride[2]);
    }
  }
}

// Marks the rows that store_tile reads.
template <typename Real>
void mark_outputs(const TilePlan& plan, const Sink& sink, Tile<Real>& tile) {
  tile.clear_rows();
  for (int64_t t0 = 0; t0 < sink.outputs[0]; ++t0) {
    for (int64_t t1 = 0; t1 < sink.outputs[1]; ++t1) {
      tile.mark_row(int64_t{plan.position[0].data()[t0]} + plan.position[1].data()[t1]);
    }
  }
}

// Writes the tile's outputs (t0, t1, t2), with the bias added. Relu costs nothing here; the other activations, which need
// a library's functions, are left to convolution.cpp.
template <typename Real, typename Storage>
void store_tile(const TilePlan& plan, const Sink& sink, const Tile<Real>& tile) {
  constexpr int L = kLanes<Real>;
  alignas(ONNX_FFT_VECTOR_BYTES) Real bias_values[L] = {};
  for (int lane = 0; lane < sink.count; ++lane) bias_values[lane] = static_cast<Real>(sink.bias[lane]);
  const Vec<Real> bias = load(bias_values);
  const bool rectify = sink.activation.kind == ActivationKind::kRelu;
  for (int64_t t0 = 0; t0 < sink.outputs[0]; ++t0) {
    for (int64_t t1 = 0; t1 < sink.outputs[1]; ++t1) {
      Storage* rows[L] = {};
      for (int lane = 0; lane < sink.count; ++lane) {
        const int64_t i0 = index_of(sink, lane, 0, t0), i1 = index_of(sink, lane, 1, t1);
        if (i0 < 0 || i1 < 0) continue;
        rows[lane] = static_cast<Storage*>(sink.lanes[lane].data) + i0 * sink.stride[0] + i1 * sink.stride[1];
      }
      const Real* origin = tile.sample(int64_t{plan.position[0].data()[t0]} + plan.position[1].data()[t1]);
      for (int64_t first = 0; first < sink.outputs[2]; first += L) {
        const int64_t count = sink.outputs[2] - first < L ? sink.outputs[2] - first : L;
        Vec<Real> block[L] = {};
        for (int i = 0; i < count; ++i) {
          block[i] = load(origin + plan.position[2].data()[first + i] * int64_t{L}) + bias;
          if (rectify) block[i] = block[i] < Vec<Real>{} ? Vec<Real>{} : block[i];
        }
        transpose<Real>(block);
        for (int lane = 0; lane < L; ++lane) {
          if (rows[lane] != nullptr) store_run<Real>(sink, lane, block[lane], rows[lane], first, count);
        }
      }
    }
  }
}

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
