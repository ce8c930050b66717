// One FFTConv node of a session.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/convolution.h"
#include "ops/ort.h"
#include "ops/ort_conv.h"
#include "ops/steps.h"

namespace onnx_fft {

class FftConvNode {
 public:
  // Throws std::invalid_argument for attributes and shapes that do not fit, as far as they are known by now.
  FftConvNode(const OrtApi& api, const OrtKernelInfo* info, DType dtype, const Steps& steps, bool pads_itself);

  // Safe from several threads at once.
  void compute(OrtKernelContext* context) const;

 private:
  struct Inputs;

  Inputs read_inputs(const OrtKernelContext* context) const;
  std::shared_ptr<const Convolution> convolution_for(const ort::Shape& w_shape) const;
  ChannelValues read_channels(const OrtValue* const* inputs, int64_t channels) const;
  bool run_ort_conv(OrtKernelContext* context, const Inputs& inputs, OrtValue* y) const;
  void create_ort_conv(const OrtKernelInfo* info, size_t input_count);
  void prepare(const ort::NodeInfo& node) const;
  void prepare_channels(const ort::NodeInfo& node);

  const OrtApi& api_;
  DType dtype_;
  Steps steps_;
  FrameForm form_;
  ConvAttributes attributes_;
  double epsilon_ = 0;                            // of BatchNormalization
  std::optional<ChannelValues> constant_values_;  // nothing if they come at run time
  std::unique_ptr<const OrtConv> ort_conv_;       // nullptr if ORT's Conv cannot compute this node
  bool constant_weights_ = false;
  // If weights come at run time, these are of the last call, and mutex_ guards them.
  mutable std::mutex mutex_;
  mutable ort::Shape w_shape_;
  mutable std::shared_ptr<const Convolution> convolution_;
};

}  // namespace onnx_fft
