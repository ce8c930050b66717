// How a convolution is cut into tiles. Plain data: plan.cpp makes it, the engine and, of each tile, the kernels read
// it.
#pragma once

#include <cstdint>
#include <memory>

#include "planner/conv.h"
#include "planner/tile_plan.h"
#include "planner/work.h"

namespace onnx_fft {

inline int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// One axis of a convolution. Its inputs are cut into interleaved sequences, on each of which the convolution has stride
// 1 and dilation 1:
//
//   stride s > 1    polyphase components: output t needs x[t s + k d - pad]; component p holds x[j s + p - pad], takes
//                   the taps with k d = i s + p, and output t is the sum over all p. A component without taps is left
//                   out.
//   dilation d > 1  (stride 1) residues: outputs q d + r need only the sequence x[j d + r - pad], with the taps as they
//                   are. If `split_dilation` is false, the kernel is filled with zeros instead.
//
// An overlap-save tile takes `length` samples of a sequence, `step` further on each time, and gives `step` outputs.
struct AxisPlan {
  int64_t extent = 1, outputs = 1, pad = 0;
  int64_t stride = 1, dilation = 1, kernel = 1;
  bool split_dilation = false;
  int64_t polyphase = 1;       // components of the stride: input sequences that are summed
  int64_t polyphase_step = 1;  // their offsets are 0, polyphase_step, ...
  int64_t residues =
      1;               // output sequences that are computed apart: `dilation`, or as many as there are outputs if less
  int64_t taps = 1;    // of each sequence
  int64_t length = 1;  // samples of a tile: the DFT length T, or what a direct tile holds
  int64_t step = 1;    // outputs of a tile
  int64_t tiles = 1;   // of one output sequence

  int64_t input_step() const { return stride > 1 ? stride : output_step(); }
  int64_t output_step() const { return split_dilation ? dilation : 1; }
  int64_t spacing() const { return dilation / input_step(); }  // from one tap to the next, if polyphase == 1
};

// Bytes that the spectra of inputs and outputs may take at once; more rows than fit are done one part after the other.
constexpr int64_t kStageBytes = 48 << 20;

// Which index runs along the lanes of a vector.
enum class Lanes { kChannels, kTiles };

struct DensePlan;
struct FramesPlan;

struct ConvPlan {
  AxisPlan axes[kMaxRank];
  std::shared_ptr<const TilePlan> tile;
  Lanes lanes = Lanes::kChannels;
  bool direct = false;                                              // summed tap by tap; elementwise plans only
  int64_t batch = 0, group = 1, in_channels = 1, out_channels = 1;  // channels of a group
  int64_t polyphase = 1;                                            // components of all axes together
  int64_t tiles = 1;                                                // of one image
  double seconds = 0;                                               // predicted
  std::shared_ptr<const DensePlan> dense;                           // in place of all this, if it is faster
  std::shared_ptr<const FramesPlan> frames;                         // the same, of weights that are a DFT basis

  // Whether nothing is summed but along the axes: spectra are then multiplied bin by bin.
  bool is_elementwise() const { return in_channels == 1 && out_channels == 1 && polyphase == 1; }
};

// The fastest plan by predicted seconds, for vectors of `lanes` on a machine of these `rates`; if all take too much
// memory, one without a tile, of infinitely many seconds. Shapes are [rank + 2], `in_channels` those of a group;
// leading axes of length 1 fill up to kMaxRank.
ConvPlan plan_convolution(const ConvAttributes& attributes, const int64_t* x_shape, const int64_t* y_shape,
                          int64_t in_channels, int64_t out_channels, int lanes, const Rates& rates);

}  // namespace onnx_fft
