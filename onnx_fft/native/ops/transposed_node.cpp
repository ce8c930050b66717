#include "ops/transposed_node.h"

#include <algorithm>
#include <optional>

#include "ops/attributes.h"

namespace onnx_fft {

struct TransposedNode::Inputs {
  const OrtValue* values[kInputs] = {};  // B may be nullptr
  ort::Shape x_shape, w_shape;

  size_t given() const { return values[2] != nullptr ? 3 : 2; }
};

TransposedNode::TransposedNode(const OrtApi& api, const OrtKernelInfo* info, DType dtype) : api_(api), dtype_(dtype) {
  const ort::NodeInfo node(api, info);
  attributes_ = read_transposed_attributes(node);
  const OrtValue* weights = node.constant_input(1);
  std::optional<ort::Shape> w_shape = node.input_shape(1);
  if (weights != nullptr) w_shape = ort::tensor_shape(api, weights);
  if (w_shape) {
    check_transposed_weight_shape(attributes_, *w_shape);
    if (const auto x_shape = node.input_shape(0)) check_transposed_input_shape(attributes_, *x_shape, *w_shape);
  }
  create_ort_op(info, std::min(node.input_count(), kInputs));
  if (weights == nullptr) return;
  constant_weights_ = true;
  w_shape_ = *w_shape;
  convolution_ = std::make_shared<const TransposedConvolution>(attributes_, dtype, w_shape_[0], w_shape_[1],
                                                               ort::tensor_data(api, weights));
  prepare(node);
}

void TransposedNode::create_ort_op(const OrtKernelInfo* info, size_t input_count) {
  const ConvAttributes& conv = attributes_.conv;
  for (int axis = 0; axis < conv.rank; ++axis) {
    if (attributes_.output_padding[axis] >= conv.strides[axis]) return;  // ORT refuses what a dilation would allow
  }
  if (dtype_ != DType::kFloat32) return;
  try {
    ort_op_ = std::make_unique<const OrtConv>(api_, info, attributes_, input_count);
  } catch (const ort::Error&) {
    // This build of ORT has no such kernel: the library computes every shape.
  }
}

void TransposedNode::prepare(const ort::NodeInfo& node) const {
  const auto x_shape = node.input_shape(0);
  if (!x_shape || !ort::is_fixed(*x_shape)) return;
  const auto execution = convolution_->execution_for(x_shape->data());
  if (!(ort_op_ && execution->prefers_ort)) convolution_->prepare(*execution);
}

TransposedNode::Inputs TransposedNode::read_inputs(const OrtKernelContext* context) const {
  Inputs inputs;
  size_t count = 0;
  ort::check(api_, ort::kernel_context_get_input_count(api_, context, &count));
  for (size_t i = 0; i < std::min(count, kInputs); ++i) {
    ort::check(api_, ort::kernel_context_get_input(api_, context, i, &inputs.values[i]));
  }
  inputs.x_shape = ort::tensor_shape(api_, inputs.values[0]);
  inputs.w_shape = ort::tensor_shape(api_, inputs.values[1]);
  check_transposed_weight_shape(attributes_, inputs.w_shape);
  check_transposed_input_shape(attributes_, inputs.x_shape, inputs.w_shape);
  if (inputs.values[2] != nullptr) {
    check_bias_shape(ort::tensor_shape(api_, inputs.values[2]), inputs.w_shape[1] * attributes_.conv.group);
  }
  return inputs;
}

std::shared_ptr<const TransposedConvolution> TransposedNode::convolution_for(const ort::Shape& w_shape) const {
  if (constant_weights_) return convolution_;
  const std::lock_guard lock(mutex_);
  if (!convolution_ || w_shape_ != w_shape) {
    convolution_ = std::make_shared<const TransposedConvolution>(attributes_, dtype_, w_shape[0], w_shape[1], nullptr);
    w_shape_ = w_shape;
  }
  return convolution_;
}

void TransposedNode::compute(OrtKernelContext* context) const {
  const Inputs inputs = read_inputs(context);
  const auto convolution = convolution_for(inputs.w_shape);
  const auto execution = convolution->execution_for(inputs.x_shape.data());
  const ort::Shape& y_shape = execution->y_shape;
  OrtValue* y = nullptr;
  ort::check(api_, ort::kernel_context_get_output(api_, context, 0, y_shape.data(), y_shape.size(), &y));
  if (execution->outputs == 0) return;
  if (execution->prefers_ort && ort_op_ && ort_op_->input_count() == inputs.given()) {
    return ort_op_->run(context, inputs.values, y);
  }
  const auto data = [&](const OrtValue* value) { return value ? ort::tensor_data(api_, value) : nullptr; };
  ort::Pool pool{api_, context};
  convolution->run(*execution, data(inputs.values[0]), data(inputs.values[1]), data(inputs.values[2]), data(y),
                   pool.executor());
}

}  // namespace onnx_fft
