// DFTs of short, fixed lengths, unrolled at compile time: a whole line is transformed in registers. Real ones are in
// real_codelets.h. Everything is a scalar algorithm on vectors, see vector.h.
//
//   X[k] = sum over n of x[n] w^(n k),  w = exp(-2 pi i / N)
#pragma once

#include "kernels/dft.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

// --- loops whose index is a constant --------------------------------------------------------------------------------

template <int I>
struct Index {
  constexpr operator int() const { return I; }
};

template <int... I>
struct Indices {};

template <int N, int... I>
struct CountUp : CountUp<N - 1, N - 1, I...> {};
template <int... I>
struct CountUp<0, I...> {
  typedef Indices<I...> type;
};

// The body of such a loop: a lambda of its index.
#define ONNX_FFT_STEP(i) [&](auto i) __attribute__((always_inline))

template <typename Body, int... I>
ONNX_FFT_INLINE void unroll_over(Indices<I...>, const Body& body) {
  (body(Index<I>{}), ...);
}

template <int N, typename Body>
ONNX_FFT_INLINE void unroll(const Body& body) {
  unroll_over(typename CountUp<N>::type{}, body);
}

// --- numbers --------------------------------------------------------------------------------------------------------

constexpr double kHalfRoot = 0.70710678118654752440;  // sqrt(1 / 2)

constexpr int power_of_two_in(int n) {
  int power = 1;
  for (; n % 2 == 0; n /= 2) power *= 2;
  return power;
}

// The k < A B with k mod A == a and k mod B == b, for coprime A and B.
constexpr int join_residues(int a, int A, int b, int B) {
  int k = 0;
  while (k % A != a || k % B != b) ++k;
  return k;
}

// --- complex DFTs ---------------------------------------------------------------------------------------------------

// x * exp(-2 pi i K / N)
template <int K, int N, typename Real>
ONNX_FFT_INLINE Complex<Real> turn(Complex<Real> x) {
  constexpr Real half = static_cast<Real>(kHalfRoot);
  if constexpr (K % N == 0) {
    return x;
  } else if constexpr (4 * K == N) {
    return multiply_by_minus_i(x);
  } else if constexpr (8 * K == N) {
    return {(x.re + x.im) * half, (x.im - x.re) * half};
  } else if constexpr (8 * K == 3 * N) {
    return {(x.im - x.re) * half, (x.re + x.im) * -half};
  } else {
    constexpr Root w = unit_root(K, N);
    return multiply_complex<Real>(x, static_cast<Real>(w.cosine), static_cast<Real>(-w.sine));
  }
}

template <typename Real, int N>
ONNX_FFT_INLINE void complex_dft(Complex<Real> (&x)[N]);

// Odd N by the definition. With s = x[n] + x[N - n] and d = x[n] - x[N - n], bins k and N - k share their halves:
// e = x[0] + sum of s cos, f = -i (sum of d sin); X[k] = e + f, X[N - k] = e - f.
template <typename Real, int N>
ONNX_FFT_INLINE void odd_complex_dft(Complex<Real> (&x)[N]) {
  constexpr int H = (N - 1) / 2;
  Complex<Real> s[H], d[H];
  const Complex<Real> first = x[0];
  unroll<H>(ONNX_FFT_STEP(n) {
    s[n] = x[n + 1] + x[N - 1 - n];
    d[n] = x[n + 1] - x[N - 1 - n];
    x[0] = x[0] + s[n];
  });
  unroll<H>(ONNX_FFT_STEP(k) {
    Complex<Real> e = first, f = {};
    unroll<H>(ONNX_FFT_STEP(n) {
      constexpr Root w = unit_root((n + 1) * (k + 1), N);
      constexpr Real c = static_cast<Real>(w.cosine), t = static_cast<Real>(w.sine);
      e = {e.re + s[n].re * c, e.im + s[n].im * c};
      f = n == 0 ? Complex<Real>{d[n].im * t, d[n].re * -t} : Complex<Real>{f.re + d[n].im * t, f.im - d[n].re * t};
    });
    x[k + 1] = e + f;
    x[N - 1 - k] = e - f;
  });
}

// N = A B, coprime (Good, Thomas): with n = B a + A b mod N, and k given by its residues mod A and B, the roots fall
// apart into those of A and those of B, without twiddles.
template <typename Real, int A, int B>
ONNX_FFT_INLINE void coprime_complex_dft(Complex<Real> (&x)[A * B]) {
  Complex<Real> rows[A][B];
  unroll<B>(ONNX_FFT_STEP(b) {
    Complex<Real> column[A];
    unroll<A>(ONNX_FFT_STEP(a) { column[a] = x[(B * a + A * b) % (A * B)]; });
    complex_dft<Real, A>(column);
    unroll<A>(ONNX_FFT_STEP(a) { rows[a][b] = column[a]; });
  });
  unroll<A>(ONNX_FFT_STEP(c) {
    complex_dft<Real, B>(rows[c]);
    unroll<B>(ONNX_FFT_STEP(d) { x[join_residues(c, A, d, B)] = rows[c][d]; });
  });
}

// N = 4 B, a power of two (Cooley, Tukey): n = B a + b, k = c + 4 d; w^(b c) stands between the two.
template <typename Real, int B>
ONNX_FFT_INLINE void radix_4_complex_dft(Complex<Real> (&x)[4 * B]) {
  Complex<Real> rows[4][B];
  unroll<B>(ONNX_FFT_STEP(b) {
    Complex<Real> column[4];
    unroll<4>(ONNX_FFT_STEP(a) { column[a] = x[B * a + b]; });
    complex_dft<Real, 4>(column);
    unroll<4>(ONNX_FFT_STEP(c) { rows[c][b] = turn<b * c, 4 * B>(column[c]); });
  });
  unroll<4>(ONNX_FFT_STEP(c) {
    complex_dft<Real, B>(rows[c]);
    unroll<B>(ONNX_FFT_STEP(d) { x[c + 4 * d] = rows[c][d]; });
  });
}

template <typename Real, int N>
ONNX_FFT_INLINE void complex_dft(Complex<Real> (&x)[N]) {
  constexpr int A = power_of_two_in(N), B = N / A;
  if constexpr (N == 2) {
    const Complex<Real> sum = x[0] + x[1];
    x[1] = x[0] - x[1];
    x[0] = sum;
  } else if constexpr (N == 4) {
    const Complex<Real> a = x[0] + x[2], b = x[0] - x[2], c = x[1] + x[3], d = multiply_by_minus_i(x[1] - x[3]);
    x[0] = a + c;
    x[1] = b + d;
    x[2] = a - c;
    x[3] = b - d;
  } else if constexpr (A > 1 && B > 1) {
    coprime_complex_dft<Real, A, B>(x);
  } else if constexpr (A > 1) {
    radix_4_complex_dft<Real, N / 4>(x);
  } else if constexpr (N > 1) {
    odd_complex_dft<Real, N>(x);
  }
}

// Without the factor 1 / N: a forward one with real and imaginary parts swapped on the way in and out.
template <typename Real, int N>
ONNX_FFT_INLINE void inverse_complex_dft(Complex<Real> (&x)[N]) {
  unroll<N>(ONNX_FFT_STEP(n) { x[n] = {x[n].im, x[n].re}; });
  complex_dft<Real, N>(x);
  unroll<N>(ONNX_FFT_STEP(n) { x[n] = {x[n].im, x[n].re}; });
}

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
