// What the test drivers draw, and how they store it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "kernels/half.h"

using Random = std::mt19937;

inline int64_t pick(Random& random, int64_t least, int64_t most) {
  return std::uniform_int_distribution<int64_t>(least, most)(random);
}

inline std::vector<double> draw_values(Random& random, size_t size) {
  std::normal_distribution<double> normal;
  std::vector<double> values(size);
  for (double& value : values) value = static_cast<float>(normal(random));
  return values;
}

// The values as they are stored; `values` are rounded likewise.
template <typename Storage>
std::vector<Storage> store(std::vector<double>& values) {
  using Real = decltype(onnx_fft::widen(Storage{}));
  std::vector<Storage> stored(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    onnx_fft::narrow(static_cast<Real>(values[i]), &stored[i]);
    values[i] = onnx_fft::widen(stored[i]);
  }
  return stored;
}
