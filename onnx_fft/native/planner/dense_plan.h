// How the dense engine cuts a convolution: into tiles whose DFTs are compiled, segments of tiles side by side, and
// blocks of tiles that stay in the second-level cache from the samples to the outputs.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "planner/dense_tile.h"
#include "planner/plan.h"

namespace onnx_fft {

struct DensePlan {
  AxisPlan axes[kMaxRank];  // length: of the DFT, 1 if nothing is summed along the axis
  int64_t batch = 0, group = 1, in_channels = 1, out_channels = 1;  // channels of a group
  int64_t polyphase = 1;                                            // components of all axes together
  DenseForm form = DenseForm::kComplex;                             // of the products of complex bins
  int64_t segment = 1;     // tiles along the last axis, each with all its residues
  int64_t block = 1;       // tiles that are transformed, multiplied and transformed back at once
  bool is_shared = false;  // all threads work on one block, instead of each on its own
  Work work;
  double seconds = 0;  // predicted

  int64_t inputs() const { return in_channels * polyphase; }

  DensePairs pairs() const {
    const int length[kMaxRank] = {static_cast<int>(axes[0].length), static_cast<int>(axes[1].length),
                                  static_cast<int>(axes[2].length)};
    return dense_pairs(length);
  }

  // Tiles side by side, and the number of such lines.
  int64_t line_tiles() const { return axes[2].tiles * axes[2].residues; }
  int64_t lines() const { return batch * axes[0].tiles * axes[0].residues * axes[1].tiles * axes[1].residues; }
};

// Every way to cut a convolution whose axes are these `sequences`, with its predicted seconds; none if the dense engine
// cannot compute it: along the last axis something must be summed, and a stride and a dilation exclude each other.
// Vectors have `lanes`, the machine these `rates`.
std::vector<DensePlan> cut_densely(const ConvPlan& conv, const AxisPlan* sequences, int lanes, const Rates& rates);

// The fastest whose spectra are not too large; nullptr if there is none.
std::shared_ptr<const DensePlan> plan_dense(const ConvPlan& conv, const AxisPlan* sequences, int lanes,
                                            const Rates& rates);

// 2.5 T log2 T for a real DFT of T points, 8 for a product of two bins, 6 by Gauss' form.
double count_flops(const DensePlan& plan);

// What the spectra of its weights take, in float32.
double spectra_bytes(const DensePlan& plan, int lanes);

}  // namespace onnx_fft
