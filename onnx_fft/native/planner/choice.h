// The one place where the ways to compute a convolution are compared.
#pragma once

#include <memory>

#include "planner/overlap.h"
#include "planner/plan.h"
#include "planner/transposed.h"
#include "planner/work.h"

namespace onnx_fft {

// Predicted seconds of one core.
struct Choice {
  ConvPlan plan;
  double seconds = 0;         // of `plan`
  double kernel_seconds = 0;  // of ONNX Runtime's Conv, called from within a node of ours
  double model_seconds = 0;   // of the same in a model, where it may be blocked
  double border_seconds = 0;  // what a node in its place costs neighbours in that layout
  Work work;                  // of `plan`
  double flops = 0;           // of the same: as for Work, however that counts them
  double weight_bytes = 0;    // of spectra that are kept
  double scratch_bytes = 0;   // of spectra that pass between the stages of a run

  bool prefers_ort_conv() const { return kernel_seconds < seconds; }
};

// x_shape and y_shape [rank + 2]; `in_channels` are those of a group, `lanes` those of a vector. `basis_length`: that
// of the DFT whose windowed basis the weights are (basis.h), 0 if they are none.
Choice choose_execution(const ConvAttributes& attributes, const int64_t* x_shape, const int64_t* y_shape,
                        int64_t in_channels, int64_t out_channels, int64_t basis_length, int lanes, const Rates& rates);

// Of a transposed convolution; ONNX Runtime's ConvTranspose takes the place of its Conv.
struct TransposedChoice : Choice {
  // Of the equal convolution; or `overlap`, if the weights are a DFT basis. Neither has a tile if both would take
  // gigabytes.
  std::shared_ptr<const OverlapPlan> overlap;
};

// As above, with the channels of the transposed convolution. `basis_length`: of the basis that its weights
// [in_channels * group, *kernel] of one output channel a group are.
TransposedChoice choose_transposed(const TransposedAttributes& attributes, const int64_t* x_shape,
                                   const int64_t* y_shape, int64_t in_channels, int64_t out_channels,
                                   int64_t basis_length, int lanes, const Rates& rates);

}  // namespace onnx_fft
