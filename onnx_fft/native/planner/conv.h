// A convolution as every room knows it: its attributes, the type of its elements, and what is applied to its sums.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace onnx_fft {

// The most spatial axes. A convolution of fewer has axes of one sample and one tap in front.
constexpr int kMaxRank = 3;

enum class DType { kFloat16, kFloat32, kFloat64 };

inline size_t element_bytes(DType dtype) { return dtype == DType::kFloat16 ? 2 : dtype == DType::kFloat32 ? 4 : 8; }

enum class ActivationKind {
  kNone,
  kRelu,
  kLeakyRelu,
  kPRelu,
  kClip,
  kHardSigmoid,
  kHardSwish,
  kSigmoid,
  kSwish,
  kTanh
};

// alpha and beta as in ONNX; for Clip they are the least and the greatest value. Swish is x * Sigmoid(x).
struct Activation {
  ActivationKind kind = ActivationKind::kNone;
  float alpha = 0;
  float beta = 0;
};

// SAME: the pads depend on the input's extents; an odd zero goes to the end (upper) or to the beginning (lower).
enum class AutoPad { kNone, kSameUpper, kSameLower };

// Conv's attributes; `rank` is the number of spatial axes. All counts are positive, pads may be negative. With
// `auto_pad` the pads are 0 here, see resolve_padding.
struct ConvAttributes {
  int rank = 0;
  int64_t group = 1;
  int64_t kernel[kMaxRank] = {1, 1, 1};
  int64_t strides[kMaxRank] = {1, 1, 1};
  int64_t dilations[kMaxRank] = {1, 1, 1};
  int64_t pads_begin[kMaxRank] = {0, 0, 0};
  int64_t pads_end[kMaxRank] = {0, 0, 0};
  AutoPad auto_pad = AutoPad::kNone;
  Activation activation;

  int64_t span(int axis) const { return dilations[axis] * (kernel[axis] - 1) + 1; }
};

// The attributes for an input of these extents: `auto_pad` becomes the zeros that make ceil(extent / stride) outputs.
inline ConvAttributes resolve_padding(ConvAttributes attributes, const int64_t* extents) {
  if (attributes.auto_pad == AutoPad::kNone) return attributes;
  for (int axis = 0; axis < attributes.rank; ++axis) {
    const int64_t stride = attributes.strides[axis], outputs = (extents[axis] + stride - 1) / stride;
    const int64_t needed = (outputs - 1) * stride + attributes.span(axis) - extents[axis],
                  total = needed < 0 ? 0 : needed;
    attributes.pads_begin[axis] = attributes.auto_pad == AutoPad::kSameUpper ? total / 2 : total - total / 2;
    attributes.pads_end[axis] = total - attributes.pads_begin[axis];
  }
  attributes.auto_pad = AutoPad::kNone;
  return attributes;
}

inline std::string join_lengths(const int64_t* lengths, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += (i > 0 ? "x" : "") + std::to_string(lengths[i]);
  return text;
}

// Elements of a tensor of this shape; no length is negative. Throws std::invalid_argument for more than any memory
// holds, with which products of lengths would overflow.
inline int64_t count_elements(const int64_t* shape, int rank) {
  constexpr double kMost = double(int64_t{1} << 48);
  double count = 1;
  for (int axis = 0; axis < rank; ++axis) count *= double(shape[axis]);
  if (count <= kMost) return static_cast<int64_t>(count);
  throw std::invalid_argument("got a tensor of " + join_lengths(shape, rank) + ", which is more than any memory holds");
}

}  // namespace onnx_fft
