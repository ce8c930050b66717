#include "planner/ort_cost.h"

#include <algorithm>
#include <cmath>

namespace onnx_fft {
namespace {

constexpr int kLeastBlock = 8;     // narrower vectors have no blocked layout
constexpr int64_t kAligned = 4;    // input channels must be so many, or fewer than a block
constexpr int64_t kFilterSet = 4;  // blocks of filters that one pass over the input computes

// What a pass with 1, 2, 3 or 4 blocks of filters takes, in those of a full one: with few, it waits for its loads.
constexpr double kSetCost[kFilterSet] = {2.0, 2.7, 3.4, 4.0};

double fill(double count, double block) { return std::ceil(count / block) * block; }

double taps(const ConvShape& shape) {
  double product = 1;
  for (int axis = 0; axis < shape.attributes.rank; ++axis) product *= double(shape.attributes.kernel[axis]);
  return product;
}

double elements(const int64_t* shape, int rank) {
  double product = 1;
  for (int axis = 0; axis < rank + 2; ++axis) product *= double(shape[axis]);
  return product;
}

// Of all images, for one channel.
double output_points(const ConvShape& shape) {
  return elements(shape.y, shape.attributes.rank) / double(std::max<int64_t>(1, shape.y[1]));
}

double tensor_bytes(const ConvShape& shape) {
  return 4 * (elements(shape.x, shape.attributes.rank) + elements(shape.y, shape.attributes.rank));
}

bool is_depthwise(const ConvShape& shape) {
  return shape.in_channels == 1 && shape.out_channels == shape.attributes.group && shape.attributes.group > 1;
}

// Part of the kernel's rows that lie on the input, in the mean over outputs: the blocked depthwise kernel skips others.
double rows_inside(const ConvShape& shape) {
  const ConvAttributes& a = shape.attributes;
  const int64_t outputs = shape.y[2], extent = shape.x[2], step = std::max<int64_t>(1, outputs / 256);
  double inside = 0, all = 0;
  for (int64_t output = 0; output < outputs; output += step) {
    for (int64_t tap = 0; tap < a.kernel[0]; ++tap, ++all) {
      const int64_t row = output * a.strides[0] - a.pads_begin[0] + tap * a.dilations[0];
      inside += row >= 0 && row < extent;
    }
  }
  return all > 0 ? inside / all : 1;
}

// Filters of one group, as full passes count.
double filled_filters(double filters, double block) {
  const double blocks = std::ceil(filters / block), rest = std::fmod(blocks, double(kFilterSet));
  return block * (blocks - rest + (rest > 0 ? kSetCost[int(rest) - 1] : 0));
}

bool is_pointwise(const ConvShape& shape) {
  for (int axis = 0; axis < shape.attributes.rank; ++axis) {
    const ConvAttributes& a = shape.attributes;
    if (a.kernel[axis] > 1 || a.strides[axis] > 1 || a.pads_begin[axis] > 0 || a.pads_end[axis] > 0) return false;
  }
  return true;
}

}  // namespace

bool is_blocked(const ConvShape& shape, int lanes) {
  if (shape.attributes.rank != 2 || lanes < kLeastBlock) return false;
  if (is_depthwise(shape)) return shape.out_channels % kAligned == 0;
  if (shape.attributes.group == 1) return shape.in_channels < lanes || shape.in_channels % kAligned == 0;
  return shape.in_channels % lanes == 0 && shape.out_channels / shape.attributes.group % lanes == 0;
}

Work count_kernel_conv(const ConvShape& shape) {
  const double group = double(shape.attributes.group), outputs = double(shape.out_channels) / group;
  const double unfolded = output_points(shape) * group * double(shape.in_channels) * taps(shape);
  const auto* strides = shape.attributes.strides;
  const bool is_strided = std::any_of(strides, strides + shape.attributes.rank, [](int64_t s) { return s > 1; });
  Work work;
  work.of[kGemmFlops] = 2 * unfolded * outputs;
  if (!is_pointwise(shape)) work.of[is_strided ? kUnfoldedStrided : kUnfolded] = unfolded;
  work.of[kBytes] = tensor_bytes(shape);
  work.of[kConvCalls] = 1;
  return work;
}

Work count_model_conv(const ConvShape& shape, int lanes) {
  if (!is_blocked(shape, lanes)) return count_kernel_conv(shape);
  const double group = double(shape.attributes.group), outputs = double(shape.out_channels) / group;
  const double points = output_points(shape), block = lanes;
  Work work;
  work.of[kConvCalls] = 1;
  work.of[kBlockedBytes] = tensor_bytes(shape);
  if (is_depthwise(shape)) {
    work.of[kDepthwiseFlops] = 2 * points * fill(group, block) * taps(shape) * rows_inside(shape);
    return work;
  }
  const double inputs = double(shape.in_channels), filled = inputs < block ? inputs : fill(inputs, block);
  work.of[kBlockedFlops] = 2 * points * group * filled * taps(shape) * filled_filters(outputs, block);
  return work;
}

Work count_transposed_conv(const ConvShape& shape) {
  // A plain product takes less by the flop than that of an unfolded input; its weights are turned in every run. Results
  // that no cache holds wait for memory before they are added, by one thread, while the others wait, too; in three
  // dimensions that takes as long as scattered reads. Fitted to 17 shapes on a 2-core AMD EPYC (Zen 3) on one thread:
  // within a fifth of most, and rather below; on two threads most take two to four times as long as predicted
  // (scripts/bench/calibrate_frames.py, 2-core Intel Xeon). ONNX Runtime 1.32, 2026-11.
  constexpr double kPlain = 0.65, kTurned = 0.4, kAlone = 1.5, kCached = 16 << 20;
  const double group = double(shape.attributes.group), outputs = double(shape.out_channels) / group;
  const double points = elements(shape.x, shape.attributes.rank) / double(std::max<int64_t>(1, shape.x[1]));
  const double folded = points * group * outputs * taps(shape);
  Work work;
  work.of[kGemmFlops] = kPlain * 2 * folded * double(shape.in_channels);
  work.of[kUnfolded] = kTurned * double(shape.x[0] * shape.in_channels) * outputs * group * taps(shape);
  work.of[shape.attributes.rank == 3 ? kUnfoldedStrided : kUnfolded] += kAlone * folded;
  work.of[kBytes] = tensor_bytes(shape);
  if (folded / group / double(std::max<int64_t>(1, shape.x[0])) > kCached) work.of[kBytes] += 8 * folded;
  work.of[kConvCalls] = 1;
  return work;
}

}  // namespace onnx_fft
