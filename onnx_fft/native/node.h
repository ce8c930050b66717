// One FFTConv node of a session.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "convolution.h"
#include "direct.h"
#include "ort.h"

namespace onnx_fft {

class FftConvNode {
 public:
  // Throws std::invalid_argument for attributes and shapes that do not fit, as far as they are known by now.
  FftConvNode(const OrtApi& api, const OrtKernelInfo* info, DType dtype, ActivationKind activation);

  // Safe from several threads at once.
  void compute(OrtKernelContext* context) const;

 private:
  struct Inputs;

  Inputs read_inputs(const OrtKernelContext* context) const;
  std::shared_ptr<const Convolution> convolution_for(const ort::Shape& w_shape) const;
  bool run_direct(OrtKernelContext* context, const Inputs& inputs, OrtValue* y, size_t count) const;
  void create_direct(const OrtKernelInfo* info, size_t input_count);
  void prepare(const ort::NodeInfo& node) const;

  const OrtApi& api_;
  DType dtype_;
  ConvAttributes attributes_;
  std::unique_ptr<const DirectConv> direct_;  // nullptr where ORT's Conv cannot stand in
  bool constant_weights_ = false;
  // With weights that come at run time: for those of the last call. Guarded by mutex_ then.
  mutable std::mutex mutex_;
  mutable ort::Shape w_shape_;
  mutable std::shared_ptr<const Convolution> convolution_;
};

}  // namespace onnx_fft
