// Weights that are a windowed DFT basis: a Conv of them is an STFT, which a transform of each frame computes.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "planner/conv.h"

namespace onnx_fft {

// A row of the weights, and the output that it makes: a part of a bin, scaled. A row of zeros has no scale.
struct BasisRow {
  int64_t bin = 0;  // at most half of the length
  bool is_imaginary = false;
  double scale = 0;
};

// Row r at tap k is scale * window[k] * cos(angle), or -sin(angle) if it is imaginary, with the angle
// 2 pi bin k / length. The window has as many taps as a row, and no more than the DFT has points.
struct WindowedBasis {
  int64_t length = 0;
  std::vector<double> window;
  std::vector<BasisRow> rows;
};

// No longer DFTs are looked for: groups of frames would leave the caches.
constexpr int64_t kLongestBasis = 1 << 13;

// Whether weights [out_channels, in_channels of a group, *kernel] may be a basis: one input, and taps along one axis,
// or channels in the place of taps.
bool may_be_basis(const ConvAttributes& attributes, int64_t out_channels, int64_t in_channels);

// The basis that weights [rows, taps] are, but for the rounding of the type that they are `stored` in; nullptr if they
// are none.
std::shared_ptr<const WindowedBasis> recognize_basis(const double* weights, int64_t rows, int64_t taps, DType stored);

}  // namespace onnx_fft
