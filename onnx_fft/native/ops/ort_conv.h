// ORT's own Conv or ConvTranspose, called from within a kernel of ours: for shapes that it computes faster.
#pragma once

#include <cstddef>

#include "ops/abi.h"
#include "planner/conv.h"
#include "planner/transposed.h"

namespace onnx_fft {

class OrtConv {
 public:
  // float32, with as many inputs as the node has. Throws ort::Error if ORT has no such kernel.
  OrtConv(const OrtApi& api, const OrtKernelInfo* info, const ConvAttributes& attributes, size_t input_count);
  // The same of a ConvTranspose.
  OrtConv(const OrtApi& api, const OrtKernelInfo* info, const TransposedAttributes& attributes, size_t input_count);
  ~OrtConv();
  OrtConv(const OrtConv&) = delete;
  OrtConv& operator=(const OrtConv&) = delete;

  size_t input_count() const { return input_count_; }
  // Everything but the activation. `inputs` [input_count]; `y` has its shape.
  void run(const OrtKernelContext* context, const OrtValue* const* inputs, OrtValue* y) const;

 private:
  OrtConv(const OrtApi& api, const OrtKernelInfo* info, const ConvAttributes& conv, const int64_t* output_padding,
          size_t input_count);

  const OrtApi& api_;
  size_t input_count_;
  OrtOp* op_ = nullptr;
};

}  // namespace onnx_fft
