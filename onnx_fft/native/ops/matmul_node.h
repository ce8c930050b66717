// One FFTMatMul node of a session.
#pragma once

#include <memory>
#include <vector>

#include "engine/convolution.h"
#include "ops/ort.h"

namespace onnx_fft {

// FFTMatMul(X [..., taps], W [taps, rows]) -> [..., rows], or FFTMatMul(W [rows, taps], X [..., taps, frames]) ->
// [..., rows, frames], as ONNX's MatMul. W is constant, and its rows (or columns, if it stands behind X) are those of a
// windowed DFT basis (planner/basis.h): so each row or column of X is a frame, whose spectrum is one of the result.
class MatMulNode {
 public:
  // Throws std::invalid_argument for another W; `compute` does for an X that does not fit it.
  MatMulNode(const OrtApi& api, const ort::NodeInfo& node, DType dtype);

  // Safe from several threads at once.
  void compute(OrtKernelContext* context) const;

 private:
  // The dimension of X, of this rank, that the taps lie along.
  size_t taps_axis(size_t rank) const { return in_columns_ && rank > 1 ? rank - 2 : rank - 1; }

  const OrtApi& api_;
  bool in_columns_ = false;  // whether frames are, and W comes first
  int64_t taps_ = 0, rows_ = 0;
  std::vector<char> turned_;  // W as [rows, taps], if it is not
  std::unique_ptr<const Convolution> convolution_;
};

}  // namespace onnx_fft
