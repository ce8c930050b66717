#include "ops/fourier_node.h"

#include <stdexcept>
#include <string>

#include "planner/conv.h"

namespace onnx_fft {
namespace {

[[noreturn]] void refuse(const std::string& got, const std::string& expected) {
  throw std::invalid_argument("got " + got + "; expected " + expected);
}

bool read_flag(const ort::NodeInfo& node, const char* name) {
  const int64_t value = node.integer(name);
  if (value != 0 && value != 1) refuse("'" + std::string(name) + "' " + std::to_string(value), "0 or 1");
  return value == 1;
}

const OrtValue* read_input(const OrtApi& api, const OrtKernelContext* context, size_t index) {
  const OrtValue* value = nullptr;
  ort::check(api, ort::kernel_context_get_input(api, context, index, &value));
  if (value == nullptr) refuse("no input " + std::to_string(index), "all inputs");
  return value;
}

// One positive number.
int64_t read_length(const OrtApi& api, const OrtKernelContext* context, size_t index, const std::string& name) {
  const OrtValue* const value = read_input(api, context, index);
  const ort::Shape shape = ort::tensor_shape(api, value);
  if (count_elements(shape.data(), static_cast<int>(shape.size())) != 1) {
    refuse("'" + name + "' of shape " + ort::describe(shape), "one number");
  }
  const int64_t length = *static_cast<const int64_t*>(ort::tensor_data(api, value));
  if (length < 1) refuse("'" + name + "' " + std::to_string(length), "at least 1");
  return length;
}

int read_parts(const std::string& what, const ort::Shape& shape) {
  if (!shape.empty() && (shape.back() == 1 || shape.back() == 2)) return static_cast<int>(shape.back());
  refuse(what + " of shape " + ort::describe(shape), "a last dimension of 1, for real numbers, or 2, for complex ones");
}

// A tensor of this shape for the result, unless it is larger than any memory.
void* make_output(const OrtApi& api, OrtKernelContext* context, const ort::Shape& shape) {
  count_elements(shape.data(), static_cast<int>(shape.size()));
  OrtValue* y = nullptr;
  ort::check(api, ort::kernel_context_get_output(api, context, 0, shape.data(), shape.size(), &y));
  return ort::tensor_data(api, y);
}

int64_t product(const ort::Shape& shape, int64_t first, int64_t last) {
  return count_elements(shape.data() + first, static_cast<int>(last - first));
}

}  // namespace

DftNode::DftNode(const OrtApi& api, const ort::NodeInfo& node, DType dtype)
    : api_(api),
      dtype_(dtype),
      axis_(node.integer("axis")),
      inverse_(read_flag(node, "inverse")),
      onesided_(read_flag(node, "onesided")) {
  if (axis_ < 0) refuse("'axis' " + std::to_string(axis_), "at least 0, counted from the front");
}

FourierSpec DftNode::read_spec(const ort::Shape& x_shape, int64_t length) const {
  const int parts = read_parts("an input", x_shape);
  if (axis_ + 1 >= static_cast<int64_t>(x_shape.size())) {
    refuse("'axis' " + std::to_string(axis_) + " for an input of shape " + ort::describe(x_shape),
           "an axis before the last dimension");
  }
  if (onesided_ && inverse_) {
    if (parts == 1)
      refuse("a real input of shape " + ort::describe(x_shape) + " for 'onesided' and 'inverse'",
             "complex numbers, the half-spectrum of a real signal");
    return {length, FourierForm::kHalf, true, true};
  }
  if (onesided_ && parts == 2) {
    refuse("a complex input of shape " + ort::describe(x_shape) + " for 'onesided'",
           "real numbers, or 'inverse' with it, or all bins");
  }
  return {length, parts == 1 ? FourierForm::kReal : FourierForm::kComplex, inverse_, onesided_};
}

void DftNode::compute(OrtKernelContext* context) const {
  const OrtValue* const x = read_input(api_, context, 0);
  const ort::Shape x_shape = ort::tensor_shape(api_, x);
  const FourierSpec spec = read_spec(x_shape, read_length(api_, context, kLength, "dft_length"));
  const size_t axis = static_cast<size_t>(axis_);
  ort::Shape y_shape = x_shape;
  y_shape[axis] = spec.out_samples();
  y_shape.back() = spec.out_parts();
  void* const y = make_output(api_, context, y_shape);
  const int64_t outer = product(x_shape, 0, axis_), rank = static_cast<int64_t>(x_shape.size());
  const FourierLayout layout =
      lay_out_axis(outer, x_shape[axis], product(x_shape, axis_ + 1, rank - 1), spec.in_parts());
  ort::Pool pool{api_, context};
  engine_.run(spec, dtype_, layout, ort::tensor_data(api_, x), product(x_shape, 0, rank), nullptr, y, pool.executor());
}

struct StftNode::Inputs {
  const OrtValue *signal, *window;
  ort::Shape shape;  // of the signal
  int parts;
  int64_t step, frame_length;

  int64_t frames() const { return (shape[1] - frame_length) / step + 1; }
};

StftNode::StftNode(const OrtApi& api, const ort::NodeInfo& node, DType dtype, BinForm form)
    : api_(api), dtype_(dtype), onesided_(read_flag(node, "onesided")), form_(form) {}

StftNode::Inputs StftNode::read_inputs(const OrtKernelContext* context) const {
  Inputs inputs{read_input(api_, context, 0), read_input(api_, context, kWindow), {}, 1, 0, 0};
  inputs.shape = ort::tensor_shape(api_, inputs.signal);
  if (inputs.shape.size() != 3) {
    refuse("a signal of shape " + ort::describe(inputs.shape), "3 dimensions: batch, length, and 1 or 2");
  }
  inputs.parts = read_parts("a signal", inputs.shape);
  inputs.step = read_length(api_, context, kStep, "frame_step");
  inputs.frame_length = read_length(api_, context, kLength, "frame_length");
  const ort::Shape window = ort::tensor_shape(api_, inputs.window);
  if (window.size() != 1 || window[0] != inputs.frame_length) {
    refuse("a window of shape " + ort::describe(window), std::to_string(inputs.frame_length) + ", as 'frame_length'");
  }
  if (inputs.frame_length > inputs.shape[1]) {
    refuse("'frame_length' " + std::to_string(inputs.frame_length) + " for a signal of shape " +
               ort::describe(inputs.shape),
           "at most " + std::to_string(inputs.shape[1]));
  }
  if (onesided_ && inputs.parts == 2) {
    refuse("a complex signal of shape " + ort::describe(inputs.shape) + " for 'onesided'", "real numbers, or all bins");
  }
  return inputs;
}

void StftNode::compute(OrtKernelContext* context) const {
  const Inputs inputs = read_inputs(context);
  const FourierForm form = inputs.parts == 1 ? FourierForm::kReal : FourierForm::kComplex;
  const FourierSpec spec{inputs.frame_length, form, false, onesided_};
  const int64_t frames = inputs.frames(), batch = inputs.shape[0];
  ort::Shape y_shape{batch, frames, spec.out_samples()};
  if (form_ == BinForm::kParts) y_shape.push_back(2);
  void* const y = make_output(api_, context, y_shape);
  const FourierLayout layout =
      lay_out_frames(batch, inputs.shape[1], inputs.parts, frames, inputs.step, inputs.frame_length, form_);
  ort::Pool pool{api_, context};
  engine_.run(spec, dtype_, layout, ort::tensor_data(api_, inputs.signal), product(inputs.shape, 0, 3),
              ort::tensor_data(api_, inputs.window), y, pool.executor());
}

}  // namespace onnx_fft
