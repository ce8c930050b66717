// A node's attributes and the shapes of its inputs, checked.
#pragma once

#include "ops/ort.h"
#include "planner/conv.h"
#include "planner/transposed.h"

namespace onnx_fft {

// Throw std::invalid_argument with a sentence: what was got, what was expected. An operator that `pads_itself` has
// 'auto_pad' in place of 'pads'.
ConvAttributes read_attributes(const ort::NodeInfo& node, ActivationKind activation, bool pads_itself);

// `x` and `w` [rank + 2], with -1 for what is not known yet.
void check_weight_shape(const ConvAttributes& attributes, const ort::Shape& w);
void check_input_shape(const ConvAttributes& attributes, const ort::Shape& x, const ort::Shape& w);
void check_bias_shape(const ort::Shape& bias, int64_t out_channels);

// The same of a ConvTranspose, whose weights are [in_channels, out_channels / group, *kernel].
TransposedAttributes read_transposed_attributes(const ort::NodeInfo& node);
void check_transposed_weight_shape(const TransposedAttributes& attributes, const ort::Shape& w);
void check_transposed_input_shape(const TransposedAttributes& attributes, const ort::Shape& x, const ort::Shape& w);

}  // namespace onnx_fft
