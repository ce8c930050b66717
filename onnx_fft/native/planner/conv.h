// A convolution as every room knows it: its attributes, the type of its elements, and what is applied to its sums.
#pragma once

#include <cstddef>
#include <cstdint>

namespace onnx_fft {

// The most spatial axes. A convolution of fewer has axes of one sample and one tap in front.
constexpr int kMaxRank = 3;

enum class DType { kFloat16, kFloat32, kFloat64 };

inline size_t element_bytes(DType dtype) { return dtype == DType::kFloat16 ? 2 : dtype == DType::kFloat32 ? 4 : 8; }

enum class ActivationKind { kNone, kRelu, kLeakyRelu, kClip, kHardSigmoid };

// alpha and beta as in ONNX; for Clip they are the least and the greatest value.
struct Activation {
  ActivationKind kind = ActivationKind::kNone;
  float alpha = 0;
  float beta = 0;
};

// Conv's attributes, auto_pad resolved; `rank` is the number of spatial axes. All counts are positive, pads may be
// negative.
struct ConvAttributes {
  int rank = 0;
  int64_t group = 1;
  int64_t kernel[kMaxRank] = {1, 1, 1};
  int64_t strides[kMaxRank] = {1, 1, 1};
  int64_t dilations[kMaxRank] = {1, 1, 1};
  int64_t pads_begin[kMaxRank] = {0, 0, 0};
  int64_t pads_end[kMaxRank] = {0, 0, 0};
  Activation activation;
};

}  // namespace onnx_fft
