// What an operator does after the sum, and what it reads for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/convolution.h"
#include "ops/ort.h"
#include "planner/frames.h"

namespace onnx_fft {

// The steps in their order, and the places of what they read behind X, W and B: a residual, the slope of PRelu, and
// scale, shift, mean and variance of BatchNormalization.
struct Steps {
  bool adds = false;
  ActivationKind activation = ActivationKind::kNone;
  bool normalizes = false;
  BinForm bins = BinForm::kParts;  // of an STFT, see planner/frames.h; then there is no other step

  static constexpr size_t kResidual = 3, kMostInputs = 9;
  size_t slope() const { return kResidual + (adds ? 1 : 0); }
  size_t norm() const { return slope() + (activation == ActivationKind::kPRelu ? 1 : 0); }
  size_t input_count() const { return norm() + (normalizes ? 4 : 0); }
};

// What the steps read for each output channel; empty without the step.
struct ChannelValues {
  std::vector<double> slope, scale, shift;
};

// `inputs` [steps.input_count()] hold `dtype`; the convolution has `channels` outputs and `rank` spatial axes. Throws
// std::invalid_argument for shapes that do not fit.
ChannelValues read_channels(const OrtApi& api, const Steps& steps, DType dtype, const OrtValue* const* inputs,
                            int64_t channels, int rank, double epsilon);

// Throws std::invalid_argument unless the residual has the shape of the outputs.
void check_residual_shape(const ort::Shape& residual, const ort::Shape& y);

}  // namespace onnx_fft
