// A node's output shape, inferred while ORT loads a model, so that the nodes after it know their input shapes.
#pragma once

#include "ops/abi.h"

namespace onnx_fft {

// Sets the shape if all of it is known, as numbers or by names of the input's dimensions; else does nothing.
void infer_output_shape(const OrtApi& api, OrtShapeInferContext* context);

// The same of a ConvTranspose.
void infer_transposed_shape(const OrtApi& api, OrtShapeInferContext* context);

}  // namespace onnx_fft
