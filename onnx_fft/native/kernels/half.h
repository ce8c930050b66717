// IEEE half precision, for storage only: computation is in float. Always inline, so that kernels.cpp may include it.
#pragma once

#include <cstdint>

namespace onnx_fft {

struct Half {
  uint16_t bits;
};

inline __attribute__((always_inline)) float bits_to_float(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

inline __attribute__((always_inline)) uint32_t float_to_bits(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
}

template <typename Real>
inline __attribute__((always_inline)) Real widen(Real value) {
  return value;
}

// A half's exponent and mantissa, shifted into a float's place, are too small by 2^112.
inline __attribute__((always_inline)) float widen(Half half) {
  const uint32_t sign = (half.bits & 0x8000u) << 16, magnitude = (half.bits & 0x7fffu) << 13;
  if (magnitude >= 0x0f800000u) return bits_to_float(sign | magnitude | 0x7f800000u);  // infinity, NaN
  return bits_to_float(sign | float_to_bits(bits_to_float(magnitude) * 0x1p112f));
}

template <typename Real>
inline __attribute__((always_inline)) void narrow(Real value, Real* out) {
  *out = value;
}

// Rounds to nearest even. Below 2^-14 halves are spaced evenly by 2^-24, which is what adding 0.5f does to a float.
inline __attribute__((always_inline)) void narrow(float value, Half* out) {
  const uint32_t bits = float_to_bits(value), magnitude = bits & 0x7fffffffu, sign = (bits >> 16) & 0x8000u;
  uint32_t half;
  if (magnitude > 0x7f800000u) {
    half = 0x7e00u;
  } else if (magnitude >= 0x477ff000u) {  // rounds to 65536 or more
    half = 0x7c00u;
  } else if (magnitude < 0x38800000u) {
    half = float_to_bits(bits_to_float(magnitude) + 0.5f) - float_to_bits(0.5f);
  } else {
    half = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  }
  out->bits = static_cast<uint16_t>(sign | half);
}

}  // namespace onnx_fft
