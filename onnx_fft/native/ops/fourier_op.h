// The Fourier operators as ONNX Runtime sees them.
#pragma once

#include <vector>

#include "ops/common_op.h"

namespace onnx_fft {

struct FourierOp : OrtCustomOp {
  NamedType type;
};

// DFT, STFT and FFTMatMul, for each element type.
std::vector<FourierOp> list_fourier_ops();

}  // namespace onnx_fft
