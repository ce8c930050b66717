// What follows a convolution's sums by its definition, in long double, for the test driver.
#pragma once

#include <algorithm>
#include <cmath>

#include "planner/conv.h"

// Comparisons with a NaN are false, which keeps it; of contradictory bounds the greatest value wins, as in ONNX
// Runtime.
inline long double clip_by_definition(long double x, long double low, long double high) {
  const long double raised = x < low ? low : x;
  return raised > high ? high : raised;
}

inline long double activate_by_definition(const onnx_fft::Activation& activation, double slope, long double x) {
  using onnx_fft::ActivationKind;
  switch (activation.kind) {
    case ActivationKind::kNone: break;
    case ActivationKind::kRelu: return x < 0 ? 0 : x;
    case ActivationKind::kLeakyRelu: return x < 0 ? x * activation.alpha : x;
    case ActivationKind::kPRelu: return x < 0 ? x * slope : x;
    case ActivationKind::kClip: return clip_by_definition(x, activation.alpha, activation.beta);
    case ActivationKind::kHardSigmoid: return clip_by_definition(x * activation.alpha + activation.beta, 0, 1);
    case ActivationKind::kHardSwish: return x * clip_by_definition(x / 6 + 0.5L, 0, 1);
    case ActivationKind::kSigmoid: return 1 / (1 + std::exp(-x));
    case ActivationKind::kSwish: return x / (1 + std::exp(-x));
    case ActivationKind::kTanh: return std::tanh(x);
  }
  return x;
}

// Compares every activation of the kernels in use, at special values and at `samples` random ones of any size, with its
// definition, and prints what is wrong; returns how many are.
int check_epilogues(int samples, unsigned seed);
