#include "ops/steps.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "kernels/half.h"

namespace onnx_fft {
namespace {

[[noreturn]] void refuse(const std::string& what, const ort::Shape& got, const std::string& expected) {
  throw std::invalid_argument("got " + what + " of shape " + ort::describe(got) + "; expected " + expected);
}

template <typename Storage>
std::vector<double> widen_all(const void* data, size_t count) {
  std::vector<double> values(count);
  std::transform(static_cast<const Storage*>(data), static_cast<const Storage*>(data) + count, values.begin(),
                 [](Storage value) { return static_cast<double>(widen(value)); });
  return values;
}

std::vector<double> read_values(const OrtApi& api, DType dtype, const OrtValue* tensor, size_t count) {
  const void* data = ort::tensor_data(api, tensor);
  switch (dtype) {
    case DType::kFloat16: return widen_all<Half>(data, count);
    case DType::kFloat32: return widen_all<float>(data, count);
    case DType::kFloat64: break;
  }
  return widen_all<double>(data, count);
}

// One slope for all channels, or one for each, along the axis of channels.
std::vector<double> read_slope(const OrtApi& api, DType dtype, const OrtValue* tensor, int64_t channels, int rank) {
  const ort::Shape shape = ort::tensor_shape(api, tensor);
  size_t last = shape.size();
  for (int axis = 0; axis < rank && last > 0 && shape[last - 1] == 1; ++axis) --last;
  const bool is_one = std::all_of(shape.begin(), shape.end(), [](int64_t length) { return length == 1; });
  const bool is_each = last + static_cast<size_t>(rank) == shape.size() && last > 0 && shape[last - 1] == channels &&
                       std::all_of(shape.begin(), shape.begin() + static_cast<ptrdiff_t>(last) - 1,
                                   [](int64_t length) { return length == 1; });
  if (!is_one && !is_each) {
    refuse("a slope", shape, "one for all, or one for each of " + std::to_string(channels) + " output channels");
  }
  std::vector<double> slope = read_values(api, dtype, tensor, is_one ? 1 : static_cast<size_t>(channels));
  slope.resize(static_cast<size_t>(channels), slope[0]);
  return slope;
}

}  // namespace

ChannelValues read_channels(const OrtApi& api, const Steps& steps, DType dtype, const OrtValue* const* inputs,
                            int64_t channels, int rank, double epsilon) {
  ChannelValues values;
  if (steps.activation == ActivationKind::kPRelu) {
    values.slope = read_slope(api, dtype, inputs[steps.slope()], channels, rank);
  }
  if (!steps.normalizes) return values;
  const auto read = [&](size_t index) {
    const OrtValue* tensor = inputs[steps.norm() + index];
    const ort::Shape shape = ort::tensor_shape(api, tensor);
    if (shape != ort::Shape{channels}) {
      refuse("an operand of BatchNormalization", shape, std::to_string(channels) + ", the number of output channels");
    }
    return read_values(api, dtype, tensor, static_cast<size_t>(channels));
  };
  values.scale = read(0);
  values.shift = read(1);
  const std::vector<double> mean = read(2), variance = read(3);
  for (size_t channel = 0; channel < mean.size(); ++channel) {
    values.scale[channel] /= std::sqrt(variance[channel] + epsilon);
    values.shift[channel] -= mean[channel] * values.scale[channel];
  }
  return values;
}

void check_residual_shape(const ort::Shape& residual, const ort::Shape& y) {
  if (residual != y) refuse("a residual", residual, ort::describe(y) + ", the shape of the outputs");
}

}  // namespace onnx_fft
