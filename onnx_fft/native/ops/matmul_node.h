// One FFTMatMul node of a session.
#pragma once

#include <memory>
#include <vector>

#include "engine/convolution.h"
#include "ops/ort.h"

namespace onnx_fft {

// FFTMatMul(X [..., taps], W [taps, rows]) -> [..., rows], as ONNX's MatMul. W is constant, and each of its columns is
// a row of a windowed DFT basis (planner/basis.h): so each row of X is a frame, whose spectrum is a row of the result.
class MatMulNode {
 public:
  static constexpr size_t kWeight = 1;

  // Throws std::invalid_argument for another W; `compute` does for an X that does not fit it.
  MatMulNode(const OrtApi& api, const ort::NodeInfo& node, DType dtype);

  // Safe from several threads at once.
  void compute(OrtKernelContext* context) const;

 private:
  const OrtApi& api_;
  int64_t taps_ = 0, rows_ = 0;
  std::vector<char> basis_;  // [rows, taps]
  std::unique_ptr<const Convolution> convolution_;
};

}  // namespace onnx_fft
