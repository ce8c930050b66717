// What the planner and the kernels of the dense engine both know of its tiles.
#pragma once

#include <cstdint>

#include "planner/conv.h"

namespace onnx_fft {

// The lengths of DFTs that are compiled, shortest first.
constexpr int kDenseLengths[] = {8, 10, 12, 16, 18, 20, 24, 32, 48};

// The most tiles of a segment, counted with their polyphase components.
constexpr int kMostWindows = 32;

// Pairs of vectors of a spectrum whose first `complex` ones are complex bins; the others are two real bins each.
struct DensePairs {
  int64_t complex = 0, reals = 1;  // of a single sample

  int64_t count() const { return complex + reals / 2; }

  // After a DFT of even length along one more axis: a real line has 2 real bins and length / 2 - 1 complex ones. Always
  // inline, because kernels call it.
  __attribute__((always_inline)) DensePairs along(int length) const {
    return length == 1 ? *this : DensePairs{complex * length + reals * (length / 2 - 1), 2 * reals};
  }
};

inline DensePairs dense_pairs(const int* length) {
  DensePairs pairs;
  for (int axis = kMaxRank - 1; axis >= 0; --axis) pairs = pairs.along(length[axis]);
  return pairs;
}

// How the bins of a pair are multiplied: as complex numbers, as two real ones, or as complex ones by three products.
enum class DenseForm { kComplex, kReal, kGauss };

// Terms that are summed in one chain. Longer sums are made of partial ones, so that rounding errors grow with the root
// of far fewer terms: with 128 the error of 256 channels was twice that of ONNX Runtime's Conv, with 64 it is 1.6
// times.
constexpr int64_t kDenseChain = 64;

}  // namespace onnx_fft
