// The nodes of the Fourier operators in a session. What a node computes is known once its inputs are: lengths are
// values, and shapes may change from run to run.
#pragma once

#include "engine/fourier.h"
#include "ops/ort.h"

namespace onnx_fft {

// DFT(X [..., length, ..., 1 or 2], dft_length) along `axis`, as ONNX's.
class DftNode {
 public:
  static constexpr size_t kLength = 1;

  // Throws std::invalid_argument for attributes that do not fit, as every other function here does for inputs.
  DftNode(const OrtApi& api, const ort::NodeInfo& node, DType dtype);

  // Safe from several threads at once.
  void compute(OrtKernelContext* context) const;

 private:
  FourierSpec read_spec(const ort::Shape& x_shape, int64_t length) const;

  const OrtApi& api_;
  DType dtype_;
  int64_t axis_;
  bool inverse_, onesided_;
  FourierEngine engine_;
};

// STFT(signal [batch, length, 1 or 2], frame_step, window [frame_length], frame_length), as ONNX's; of another form the
// result is [batch, frames, bins].
class StftNode {
 public:
  static constexpr size_t kStep = 1, kWindow = 2, kLength = 3;

  StftNode(const OrtApi& api, const ort::NodeInfo& node, DType dtype, BinForm form);

  void compute(OrtKernelContext* context) const;

 private:
  struct Inputs;
  Inputs read_inputs(const OrtKernelContext* context) const;

  const OrtApi& api_;
  DType dtype_;
  bool onesided_;
  BinForm form_;
  FourierEngine engine_;
};

}  // namespace onnx_fft
