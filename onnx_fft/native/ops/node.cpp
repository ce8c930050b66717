#include "ops/node.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "ops/attributes.h"

namespace onnx_fft {
namespace {

// Whether `perm` turns [batch, bins, frames] to [batch, frames, bins].
bool read_turn(const ort::NodeInfo& node) {
  const std::vector<int64_t> perm = node.integers("perm");
  if (perm == std::vector<int64_t>{0, 2, 1}) return true;
  if (perm != std::vector<int64_t>{0, 1, 2})
    throw std::invalid_argument("got another 'perm'; expected 0, 1, 2 or 0, 2, 1");
  return false;
}

}  // namespace

struct FftConvNode::Inputs {
  const OrtValue* values[Steps::kMostInputs] = {};  // X, W, B, then what the steps read; B may be nullptr
  ort::Shape x_shape, w_shape;
};

FftConvNode::FftConvNode(const OrtApi& api, const OrtKernelInfo* info, DType dtype, const Steps& steps,
                         bool pads_itself)
    : api_(api), dtype_(dtype), steps_(steps) {
  const ort::NodeInfo node(api, info);
  attributes_ = read_attributes(node, steps.activation, pads_itself);
  if (steps.bins != BinForm::kParts) form_ = {steps.bins, read_turn(node)};
  if (steps.normalizes) epsilon_ = static_cast<double>(node.real("epsilon"));
  const OrtValue* weights = node.constant_input(1);
  std::optional<ort::Shape> w_shape = node.input_shape(1);
  if (weights != nullptr) w_shape = ort::tensor_shape(api, weights);
  if (w_shape) {
    check_weight_shape(attributes_, *w_shape);
    if (const auto x_shape = node.input_shape(0)) check_input_shape(attributes_, *x_shape, *w_shape);
  }
  if (form_.bins == BinForm::kParts) create_ort_conv(info, std::min(node.input_count(), Steps::kResidual));
  if (weights == nullptr) return;
  constant_weights_ = true;
  w_shape_ = *w_shape;
  convolution_ = std::make_shared<const Convolution>(attributes_, dtype, w_shape_[0], w_shape_[1],
                                                     ort::tensor_data(api, weights), form_);
  prepare_channels(node);
  prepare(node);
}

void FftConvNode::create_ort_conv(const OrtKernelInfo* info, size_t input_count) {
  const auto is_negative = [](int64_t pad) { return pad < 0; };
  const bool crops = std::any_of(attributes_.pads_begin, attributes_.pads_begin + attributes_.rank, is_negative) ||
                     std::any_of(attributes_.pads_end, attributes_.pads_end + attributes_.rank, is_negative);
  if (dtype_ != DType::kFloat32 || crops) return;  // ORT's Conv on the CPU takes float32, and pads of at least 0
  try {
    ort_conv_ = std::make_unique<const OrtConv>(api_, info, attributes_, input_count);
  } catch (const ort::Error&) {
    // This build of ORT has no such kernel: the library computes every shape.
  }
}

void FftConvNode::prepare(const ort::NodeInfo& node) const {
  const auto x_shape = node.input_shape(0);
  if (!x_shape || !ort::is_fixed(*x_shape)) return;
  const auto execution = convolution_->execution_for(x_shape->data());
  if (!(ort_conv_ && execution->prefers_ort_conv)) convolution_->prepare(*execution);
}

void FftConvNode::prepare_channels(const ort::NodeInfo& node) {
  const OrtValue* inputs[Steps::kMostInputs] = {};
  for (size_t i = steps_.slope(); i < steps_.input_count(); ++i) {
    inputs[i] = node.constant_input(i);
    if (inputs[i] == nullptr) return;
  }
  constant_values_ = read_channels(inputs, w_shape_[0]);
}

ChannelValues FftConvNode::read_channels(const OrtValue* const* inputs, int64_t channels) const {
  return onnx_fft::read_channels(api_, steps_, dtype_, inputs, channels, attributes_.rank, epsilon_);
}

FftConvNode::Inputs FftConvNode::read_inputs(const OrtKernelContext* context) const {
  Inputs inputs;
  size_t count = 0;
  ort::check(api_, ort::kernel_context_get_input_count(api_, context, &count));
  for (size_t i = 0; i < std::min(count, Steps::kMostInputs); ++i) {
    ort::check(api_, ort::kernel_context_get_input(api_, context, i, &inputs.values[i]));
  }
  inputs.x_shape = ort::tensor_shape(api_, inputs.values[0]);
  inputs.w_shape = ort::tensor_shape(api_, inputs.values[1]);
  check_weight_shape(attributes_, inputs.w_shape);
  check_input_shape(attributes_, inputs.x_shape, inputs.w_shape);
  if (inputs.values[2] != nullptr) check_bias_shape(ort::tensor_shape(api_, inputs.values[2]), inputs.w_shape[0]);
  return inputs;
}

std::shared_ptr<const Convolution> FftConvNode::convolution_for(const ort::Shape& w_shape) const {
  if (constant_weights_) return convolution_;
  const std::lock_guard lock(mutex_);
  if (!convolution_ || w_shape_ != w_shape) {
    convolution_ = std::make_shared<const Convolution>(attributes_, dtype_, w_shape[0], w_shape[1], nullptr, form_);
    w_shape_ = w_shape;
  }
  return convolution_;
}

void FftConvNode::compute(OrtKernelContext* context) const {
  const Inputs inputs = read_inputs(context);
  const std::shared_ptr<const Convolution> convolution = convolution_for(inputs.w_shape);
  const std::shared_ptr<const Execution> execution = convolution->execution_for(inputs.x_shape.data());
  const ort::Shape& y_shape = execution->y_shape;
  OrtValue* y = nullptr;
  ort::check(api_, ort::kernel_context_get_output(api_, context, 0, y_shape.data(), y_shape.size(), &y));
  if (execution->outputs == 0) return;
  const auto data = [&](const OrtValue* value) { return value ? ort::tensor_data(api_, value) : nullptr; };
  EpilogueOperands operands;
  if (steps_.adds) {
    check_residual_shape(ort::tensor_shape(api_, inputs.values[Steps::kResidual]), y_shape);
    operands.residual = data(inputs.values[Steps::kResidual]);
  }
  const ChannelValues read = constant_values_ ? ChannelValues{} : read_channels(inputs.values, y_shape[1]);
  const ChannelValues& values = constant_values_ ? *constant_values_ : read;
  const auto numbers = [](const std::vector<double>& each) { return each.empty() ? nullptr : each.data(); };
  operands.slope = numbers(values.slope);
  operands.scale = numbers(values.scale);
  operands.shift = numbers(values.shift);
  ort::Pool pool{api_, context};
  if (execution->prefers_ort_conv && run_ort_conv(context, inputs, y)) {
    return convolution->finish(y_shape.data(), operands, data(y), pool.executor());
  }
  operands.bias = data(inputs.values[2]);
  convolution->run(*execution, data(inputs.values[0]), data(inputs.values[1]), operands, data(y), pool.executor());
}

bool FftConvNode::run_ort_conv(OrtKernelContext* context, const Inputs& inputs, OrtValue* y) const {
  const size_t given = inputs.values[2] != nullptr ? 3 : 2;
  if (!ort_conv_ || ort_conv_->input_count() != given) return false;
  ort_conv_->run(context, inputs.values, y);
  return true;
}

}  // namespace onnx_fft
