// How a Conv whose weights are a windowed DFT basis is computed: each of its outputs along the one axis is a frame of
// the signal, whose spectrum is a whole column of outputs.
#pragma once

#include <cstdint>
#include <memory>

#include "planner/conv.h"
#include "planner/fourier_plan.h"
#include "planner/work.h"

namespace onnx_fft {

// What such a Conv's rows become, [batch, rows, frames] as they are. Of another form, row r and row r + rows / 2 make
// one. Outputs may be turned to [batch, frames, outputs].
struct FrameForm {
  BinForm bins = BinForm::kParts;
  bool turns = false;

  bool joins() const { return bins != BinForm::kParts; }
  bool is_plain() const { return !joins() && !turns; }
  int64_t outputs(int64_t rows) const { return joins() ? rows / 2 : rows; }
};

struct FramesPlan {
  int64_t signals = 1;  // of the batch, and of the groups
  int64_t extent = 1, taps = 1, frames = 1;
  int64_t stride = 1, dilation = 1, pad = 0;
  int64_t tap_step = 1;  // as many as there are frames if the taps are channels: then frames lie side by side
  int64_t length = 1;    // of the DFT
  int64_t rows = 1;      // of outputs that a signal gets
  Work work;
  double seconds = 0;  // predicted
};

// The plan for a basis of this length, whose taps lie along an axis, or are the channels of a Conv that has one tap
// everywhere; nullptr if there is another axis than that of the signal, of more than one sample, or if such a Conv has
// strides or pads. Shapes are [rank + 2].
std::shared_ptr<const FramesPlan> plan_frames(const ConvAttributes& attributes, const int64_t* x_shape,
                                              const int64_t* y_shape, int64_t length, int lanes, const Rates& rates);

}  // namespace onnx_fft
