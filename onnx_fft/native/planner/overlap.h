// How a ConvTranspose whose weights are an inverse windowed DFT basis is computed: each sample of its input along the
// one axis is a spectrum, whose inverse DFT is a frame, and frames that overlap are added.
#pragma once

#include <cstdint>
#include <memory>

#include "planner/transposed.h"
#include "planner/work.h"

namespace onnx_fft {

struct OverlapPlan {
  int64_t signals = 1;  // of the batch, and of the groups
  int64_t rows = 1;     // of inputs that a signal has
  int64_t frames = 1, taps = 1, stride = 1;
  int64_t first = 0, outputs = 1;  // samples that are cut off in front, and that are left
  int64_t length = 1;              // of the DFT
  int64_t range = 1;               // outputs of a task, whose frames it computes on its own
  Work work;
};

// The plan for a basis of this length; nullptr if there is a dilation, or another axis than that of the signal, of more
// than one sample. Shapes are [rank + 2].
std::shared_ptr<const OverlapPlan> plan_overlap(const TransposedAttributes& attributes, const int64_t* x_shape,
                                                const int64_t* y_shape, int64_t length, int lanes);

}  // namespace onnx_fft
