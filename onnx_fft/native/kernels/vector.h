// A vector of real numbers, and complex numbers on top of it. Every transform is a scalar algorithm on this type: its
// lanes are channels or tiles, which never mix, so that only loading and storing tiles needs shuffles.
//
// Included by kernels.cpp only, which is compiled once per instruction set within a namespace of that name. Nothing
// here may use inline functions of the standard library: the linker would keep one copy of them, compiled for any of
// the sets.
#pragma once

#include <cstddef>
#include <cstdint>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define ONNX_FFT_VECTOR_BYTES 64
#elif defined(__AVX__)
#define ONNX_FFT_VECTOR_BYTES 32
#else
#define ONNX_FFT_VECTOR_BYTES 16
#endif

#define ONNX_FFT_UNROLL _Pragma("GCC unroll 16")
#define ONNX_FFT_INLINE inline __attribute__((always_inline))

namespace onnx_fft {
namespace ONNX_FFT_ISA {

template <typename Real>
struct VectorOf {
  typedef Real type __attribute__((vector_size(ONNX_FFT_VECTOR_BYTES)));
};

template <typename Real>
using Vec = typename VectorOf<Real>::type;

template <typename Real>
constexpr int kLanes = ONNX_FFT_VECTOR_BYTES / sizeof(Real);

template <typename Real>
ONNX_FFT_INLINE Vec<Real> load(const Real* p) {
  return *reinterpret_cast<const Vec<Real>*>(p);
}

template <typename Real>
ONNX_FFT_INLINE void store(Real* p, Vec<Real> v) {
  *reinterpret_cast<Vec<Real>*>(p) = v;
}

// Levels of the cache, as __builtin_prefetch numbers them.
constexpr int kSecondLevel = 2, kFirstLevel = 3;

// Brings the cache line that holds p[index] into the cache; p[index] need not be in the array. The first level seldom
// has room for it.
template <bool Write, int Level = kSecondLevel, typename T>
ONNX_FFT_INLINE void prefetch(const T* p, int64_t index) {
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(p) + index * sizeof(T)), Write, Level);
}

template <typename Real>
ONNX_FFT_INLINE Vec<Real> broadcast(Real value) {
  return value - Vec<Real>{};
}

// Loads or stores only lanes [first, last): no other memory is touched. The other lanes are loaded as zero.
#if defined(__AVX512F__)
ONNX_FFT_INLINE uint32_t lane_mask(int64_t first, int64_t last) { return (1u << last) - (1u << first); }

ONNX_FFT_INLINE Vec<float> load_lanes(const float* p, int64_t first, int64_t last) {
  return (Vec<float>)_mm512_maskz_loadu_ps(static_cast<__mmask16>(lane_mask(first, last)), p);
}
ONNX_FFT_INLINE Vec<double> load_lanes(const double* p, int64_t first, int64_t last) {
  return (Vec<double>)_mm512_maskz_loadu_pd(static_cast<__mmask8>(lane_mask(first, last)), p);
}
ONNX_FFT_INLINE void store_lanes(float* p, Vec<float> v, int64_t first, int64_t last) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>(lane_mask(first, last)), (__m512)v);
}
ONNX_FFT_INLINE void store_lanes(double* p, Vec<double> v, int64_t first, int64_t last) {
  _mm512_mask_storeu_pd(p, static_cast<__mmask8>(lane_mask(first, last)), (__m512d)v);
}
#else
template <typename Real>
ONNX_FFT_INLINE Vec<Real> load_lanes(const Real* p, int64_t first, int64_t last) {
  Vec<Real> v = {};
  if (last - first == kLanes<Real>) {
    __builtin_memcpy(&v, p, sizeof v);
  } else {
    for (int64_t i = first; i < last; ++i) v[i] = p[i];
  }
  return v;
}
template <typename Real>
ONNX_FFT_INLINE void store_lanes(Real* p, Vec<Real> v, int64_t first, int64_t last) {
  if (last - first == kLanes<Real>) {
    __builtin_memcpy(p, &v, sizeof v);
  } else {
    for (int64_t i = first; i < last; ++i) p[i] = v[i];
  }
}
#endif

template <typename Real>
struct Complex {
  Vec<Real> re, im;
};

template <typename Real>
ONNX_FFT_INLINE Complex<Real> operator+(Complex<Real> a, Complex<Real> b) {
  return {a.re + b.re, a.im + b.im};
}

template <typename Real>
ONNX_FFT_INLINE Complex<Real> operator-(Complex<Real> a, Complex<Real> b) {
  return {a.re - b.re, a.im - b.im};
}

// a * (re + i im)
template <typename Real>
ONNX_FFT_INLINE Complex<Real> multiply_complex(Complex<Real> a, Real re, Real im) {
  return {a.re * re - a.im * im, a.im * re + a.re * im};
}

// a * -i
template <typename Real>
ONNX_FFT_INLINE Complex<Real> multiply_by_minus_i(Complex<Real> a) {
  return {a.im, -a.re};
}

// Reals of a complex vector in memory, which is a [re, im] pair of vectors.
template <typename Real>
constexpr ptrdiff_t kPair = 2 * kLanes<Real>;

// Complex vectors `stride` reals apart. An inverse DFT is a forward one with real and imaginary parts swapped on the
// way in and on the way out, so a line knows which way it is to the imaginary part. Loops walk along pointers: index
// times stride for every vector costs more instructions than the arithmetic.
template <typename Real>
struct Line {
  Real* re;
  ptrdiff_t stride = kPair<Real>;
  ptrdiff_t to_im = kLanes<Real>;

  ONNX_FFT_INLINE Complex<Real> get(ptrdiff_t index) const { return read(re + index * stride); }
  ONNX_FFT_INLINE void put(ptrdiff_t index, Complex<Real> value) const { write(re + index * stride, value); }
  ONNX_FFT_INLINE Complex<Real> read(const Real* at) const { return {load(at), load(at + to_im)}; }
  ONNX_FFT_INLINE void write(Real* at, Complex<Real> value) const {
    store(at, value.re);
    store(at + to_im, value.im);
  }
  Line from(ptrdiff_t index) const { return {re + index * stride, stride, to_im}; }
  Line swapped() const { return {re + to_im, stride, -to_im}; }
};

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
