// ORT's own Conv, called from within a kernel: for shapes where the direct sum is faster.
#pragma once

#include <cstddef>

#include "abi.h"
#include "convolution.h"

namespace onnx_fft {

class DirectConv {
 public:
  // float32, with as many inputs as the node has. Throws ort::Error where ORT has no such kernel to offer.
  DirectConv(const OrtApi& api, const OrtKernelInfo* info, const ConvAttributes& attributes, size_t input_count);
  ~DirectConv();
  DirectConv(const DirectConv&) = delete;
  DirectConv& operator=(const DirectConv&) = delete;

  size_t input_count() const { return input_count_; }
  // Everything but the activation. `inputs` [input_count]; `y` has its shape.
  void run(const OrtKernelContext* context, const OrtValue* const* inputs, OrtValue* y) const;

 private:
  const OrtApi& api_;
  size_t input_count_;
  OrtOp* op_ = nullptr;
};

}  // namespace onnx_fft
