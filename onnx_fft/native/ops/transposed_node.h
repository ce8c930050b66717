// One FFTConvTranspose node of a session.
#pragma once

#include <memory>
#include <mutex>

#include "engine/transposed.h"
#include "ops/ort.h"
#include "ops/ort_conv.h"

namespace onnx_fft {

// FFTConvTranspose(X [batch, in_channels, *extents], W [in_channels, out_channels / group, *kernel], B [out_channels]),
// as ONNX's ConvTranspose; B may be missing.
class TransposedNode {
 public:
  static constexpr size_t kInputs = 3;

  // Throws std::invalid_argument for attributes and shapes that do not fit, as far as they are known by now.
  TransposedNode(const OrtApi& api, const OrtKernelInfo* info, DType dtype);

  // Safe from several threads at once.
  void compute(OrtKernelContext* context) const;

 private:
  struct Inputs;

  Inputs read_inputs(const OrtKernelContext* context) const;
  std::shared_ptr<const TransposedConvolution> convolution_for(const ort::Shape& w_shape) const;
  void create_ort_op(const OrtKernelInfo* info, size_t input_count);
  void prepare(const ort::NodeInfo& node) const;

  const OrtApi& api_;
  DType dtype_;
  TransposedAttributes attributes_;
  std::unique_ptr<const OrtConv> ort_op_;  // nullptr if ORT's ConvTranspose cannot compute this node
  bool constant_weights_ = false;
  // If weights come at run time, these are of the last call, and mutex_ guards them.
  mutable std::mutex mutex_;
  mutable ort::Shape w_shape_;
  mutable std::shared_ptr<const TransposedConvolution> convolution_;
};

}  // namespace onnx_fft
