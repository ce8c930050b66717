#include "planner/transposed.h"

#include <cmath>
#include <stdexcept>
#include <string>

namespace onnx_fft {
namespace {

constexpr double kMostWeights = double(int64_t{1} << 28);

int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }

}  // namespace

int64_t TransposedAttributes::residues() const { return count_elements(conv.strides, conv.rank); }

ConvAttributes equal_conv(const TransposedAttributes& attributes) {
  ConvAttributes equal = attributes.conv;
  for (int axis = 0; axis < equal.rank; ++axis) {
    const int64_t stride = equal.strides[axis], span = equal.span(axis);
    if (stride > 1) {
      equal.kernel[axis] = (span + stride - 1) / stride;
      equal.dilations[axis] = 1;
    }
    equal.strides[axis] = 1;
    const int64_t reach = equal.span(axis) - 1;
    equal.pads_begin[axis] = reach - attributes.conv.pads_begin[axis] / stride;
    equal.pads_end[axis] =
        floor_divide(attributes.output_padding[axis] + span - attributes.conv.pads_end[axis] - 1, stride);
  }
  return equal;
}

double count_weights(const TransposedAttributes& attributes, int64_t out_channels, int64_t in_channels) {
  const ConvAttributes equal = equal_conv(attributes);
  double weights = double(out_channels) * double(in_channels);
  for (int axis = 0; axis < equal.rank; ++axis) {
    weights *= double(attributes.conv.strides[axis]) * double(equal.kernel[axis]);
  }
  return weights;
}

bool has_equal_conv(const TransposedAttributes& attributes, int64_t out_channels, int64_t in_channels) {
  return count_weights(attributes, out_channels, in_channels) <= kMostWeights;
}

std::vector<int64_t> transposed_shape(const TransposedAttributes& attributes, const int64_t* x_shape,
                                      int64_t out_channels) {
  constexpr double kMost = double(int64_t{1} << 48);
  const ConvAttributes& conv = attributes.conv;
  std::vector<int64_t> y_shape{x_shape[0], out_channels};
  const std::string input = "got an input of " + join_lengths(x_shape, conv.rank + 2);
  for (int axis = 0; axis < conv.rank; ++axis) {
    const int64_t extent = x_shape[2 + axis];
    if (extent < 1) throw std::invalid_argument(input + "; expected at least one sample along each axis");
    const int64_t rest =
        attributes.output_padding[axis] + conv.span(axis) - conv.pads_begin[axis] - conv.pads_end[axis];
    const double outputs = double(conv.strides[axis]) * double(extent - 1) + double(rest);
    if (outputs > kMost) throw std::invalid_argument(input + ", whose output is more than any memory holds");
    if (outputs < 1) {
      throw std::invalid_argument(input + ", whose axis " + std::to_string(2 + axis) + " would have " +
                                  std::to_string(static_cast<int64_t>(outputs)) +
                                  " outputs; expected smaller 'pads', which crop what the input makes");
    }
    y_shape.push_back(conv.strides[axis] * (extent - 1) + rest);
  }
  count_elements(y_shape.data(), conv.rank + 2);
  return y_shape;
}

std::vector<int64_t> equal_shape(const TransposedAttributes& attributes, const int64_t* y_shape) {
  const ConvAttributes& conv = attributes.conv;
  std::vector<int64_t> shape{y_shape[0], y_shape[1] * attributes.residues()};
  for (int axis = 0; axis < conv.rank; ++axis) {
    const int64_t stride = conv.strides[axis], first = conv.pads_begin[axis] % stride;
    shape.push_back((first + y_shape[2 + axis] - 1) / stride + 1);
  }
  return shape;
}

Work count_interleave(const TransposedAttributes& attributes, const int64_t* y_shape) {
  Work work;
  if (attributes.residues() == 1) return work;
  double outputs = 1;
  for (int axis = 0; axis < attributes.conv.rank + 2; ++axis) outputs *= double(y_shape[axis]);
  work.of[kBytes] = 2 * 4 * outputs;
  return work;
}

}  // namespace onnx_fft
