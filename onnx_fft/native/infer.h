// A node's output shape from its input's, while ORT loads a model: later nodes can be planned by it.
#pragma once

#include "abi.h"

namespace onnx_fft {

// Sets the shape where all of it is known, as numbers or by names that the input's dimensions have; else does nothing.
void infer_output_shape(const OrtApi& api, OrtShapeInferContext* context);

}  // namespace onnx_fft
