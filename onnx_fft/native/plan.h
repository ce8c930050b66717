// How a tile is transformed, and how a convolution is cut into tiles. Plain data: the kernels read it, tile_plan.cpp
// and plan.cpp make it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "convolution.h"

namespace onnx_fft {

inline int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// One axis of a convolution. Its inputs are cut into interleaved sequences, on each of which the convolution has stride
// 1 and dilation 1:
//
//   stride s > 1    polyphase: output t needs x[t s + k d - pad]; sequence p holds x[j s + p - pad], taps w with
//                   k d = i s + p, and output t is the sum over all p. Sequences without taps are left out.
//   dilation d > 1  (stride 1) outputs q d + r need the sequence x[j d + r - pad] alone, with the taps as they are.
//                   Where `split_dilation` is false, the kernel is filled with zeros instead.
//
// An overlap-save tile takes `length` samples of a sequence, `step` further on each time, and gives `step` outputs.
struct AxisPlan {
  int64_t extent = 1, outputs = 1, pad = 0;
  int64_t stride = 1, dilation = 1, kernel = 1;
  bool split_dilation = false;
  int64_t phases = 1;      // input sequences that are summed
  int64_t phase_step = 1;  // their offsets are 0, phase_step, ...
  int64_t residues = 1;    // output sequences that are computed apart: `dilation`, or as many as there are outputs
  int64_t taps = 1;        // of each sequence
  int64_t length = 1;      // samples of a tile: the DFT length T, or what a sliding tile holds
  int64_t step = 1;        // outputs of a tile
  int64_t tiles = 1;       // of one output sequence

  int64_t input_step() const { return stride > 1 ? stride : output_step(); }
  int64_t output_step() const { return split_dilation ? dilation : 1; }
  int64_t spacing() const { return dilation / input_step(); }  // from one tap to the next, where phases == 1
};

// A DFT along one line as a chain of short ones (Stockham): while n > 1, radix r takes elements apart by n / r.
struct LinePlan {
  struct Step {
    int radix;
    int count;       // butterflies with a twiddle of their own: n / r
    int stride;      // butterflies that share it
    size_t twiddle;  // where its twiddles begin: w_n^(p k), k = 1 .. r - 1, for each p < count
  };
  int length = 1;
  std::vector<Step> steps;
  std::vector<double> roots;  // re, im
};

// The DFT of a real tile, dimension by dimension. The samples of the real axis (the last one that is transformed) lie
// as `columns` sequences n mod columns, each of `real_length` = T / columns; where columns > 1, a twiddle w_T^(n k) and
// a DFT along the columns follow. The array is [other axes..., columns, real_length / 2 + 1] complex vectors.
struct Pass {
  LinePlan line;
  ptrdiff_t stride;              // between elements, in complex vectors
  ptrdiff_t outer, inner;        // lines: index o * length * stride + i for o < outer, i < inner (= stride)
  std::vector<double> twiddles;  // [inner, length] re, im; empty without
};

// The arrays a kernel reads, cast to its precision.
template <typename Real>
struct TileTables {
  std::vector<std::vector<Real>> line_roots;  // for the real line, then for each pass
  std::vector<std::vector<Real>> twiddles;    // for each pass
  std::vector<Real> real_roots;               // exp(-2 pi i k / real_length) for k <= real_length / 4
};

struct TilePlan {
  int64_t length[kMaxRank] = {1, 1, 1};
  std::vector<int32_t> position[kMaxRank];  // of each sample, in real vectors from the tile's begin

  size_t bins = 0;  // complex vectors of scratch: the spectrum's, or as many as hold the samples

  // Of a sliding tile, which is convolved as it is: taps along each axis, and samples from one to the next. None where
  // it is transformed; what follows is for that.
  int64_t taps[kMaxRank] = {}, spacing[kMaxRank] = {};
  int real_axis = 0;
  int real_length = 2;
  int columns = 1;
  LinePlan real_line;        // complex, of real_length / 2
  std::vector<Pass> passes;  // in forward order
  size_t work = 0;           // complex vectors of scratch a line needs
  TileTables<float> single;
  TileTables<double> twofold;

  bool is_sliding() const { return taps[0] > 0; }
  template <typename Real>
  const TileTables<Real>& tables() const;
};

template <>
inline const TileTables<float>& TilePlan::tables<float>() const {
  return single;
}
template <>
inline const TileTables<double>& TilePlan::tables<double>() const {
  return twofold;
}

// Longest real line that stays in the first-level cache with its scratch; a longer one is cut into columns.
constexpr int kLongestLine = 320;

// The shortest DFT of at least so many points: 2^a 3^b 5^c 7^d.
int64_t next_length(int64_t least, bool even);

std::shared_ptr<const TilePlan> plan_tile(const int64_t* length, int real_axis);
std::shared_ptr<const TilePlan> plan_sliding_tile(const AxisPlan* axes);

// Which index runs along the lanes of a vector.
enum class Lanes { kChannels, kTiles };

struct ConvPlan {
  AxisPlan axes[kMaxRank];
  std::shared_ptr<const TilePlan> tile;
  Lanes lanes = Lanes::kChannels;
  bool sliding = false;  // taps are summed one by one; elementwise plans only
  int64_t batch = 0, group = 1, in_channels = 1, out_channels = 1;  // of a group
  int64_t phases = 1;                                               // of all axes together
  int64_t tiles = 1;                                                // of one image
  double seconds = 0;                                               // predicted

  // Whether nothing is summed but along the axes; of spectra, a product bin by bin.
  bool is_elementwise() const { return in_channels == 1 && out_channels == 1 && phases == 1; }
};

// The fastest plan by predicted seconds, for vectors of `lanes`. Shapes are [rank + 2], `in_channels` those of a group;
// leading axes of length 1 fill up to kMaxRank.
ConvPlan plan_convolution(const ConvAttributes& attributes, const int64_t* x_shape, const int64_t* y_shape,
                          int64_t in_channels, int64_t out_channels, int lanes);

// Predicted seconds of the direct sum in ONNX Runtime.
double direct_seconds(const ConvPlan& plan);

}  // namespace onnx_fft
