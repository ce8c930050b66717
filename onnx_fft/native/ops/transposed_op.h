// FFTConvTranspose as ONNX Runtime sees it.
#pragma once

#include <vector>

#include "ops/common_op.h"

namespace onnx_fft {

struct TransposedOp : OrtCustomOp {
  NamedType type;
  const OrtApi* api;
};

// For each element type. `infers_shapes`: whether ORT may be told the shape of the output while it loads a model.
std::vector<TransposedOp> list_transposed_ops(const OrtApi& api, bool infers_shapes);

}  // namespace onnx_fft
