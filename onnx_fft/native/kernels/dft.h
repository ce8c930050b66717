// DFTs of a few points, in registers. A length with factors is the Cooley-Tukey composition of shorter ones, made at
// compile time: with N = A B, n = B a + b, k = c + A d,
//
//     X[c + A d] = sum_b w_N^(b c) w_B^(b d) (sum_a w_A^(a c) x[B a + b])
#pragma once

#include "kernels/vector.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

// cos and sin of 2 pi numerator / denominator by their series, since <cmath> is not constexpr in C++17. The angle is
// brought to [-pi/4, pi/4] first; twelve terms are then exact in double.
struct Root {
  double cosine, sine;
};

constexpr Root series(double angle) {
  double cosine = 0, sine = 0, term = 1;
  for (int n = 0; n < 24; ++n) {
    const double sign = (n / 2) % 2 ? -1 : 1;
    (n % 2 ? sine : cosine) += sign * term;
    term *= angle / (n + 1);
  }
  return {cosine, sine};
}

constexpr Root unit_root(int numerator, int denominator) {
  const int eighths = (8 * (numerator % denominator) + denominator / 2) / denominator;  // nearest multiple of pi / 4
  const double rest = (8.0 * (numerator % denominator) - eighths * static_cast<double>(denominator)) / denominator;
  const Root r = series(rest * 0.78539816339744830961566);
  constexpr double h = 0.70710678118654752440084;
  constexpr Root turns[8] = {{1, 0}, {h, h}, {0, 1}, {-h, h}, {-1, 0}, {-h, -h}, {0, -1}, {h, -h}};
  const Root t = turns[eighths % 8];
  return {r.cosine * t.cosine - r.sine * t.sine, r.cosine * t.sine + r.sine * t.cosine};
}

constexpr int first_factor(int n) {
  return n % 4 == 0 && n > 4 ? 4 : n % 2 == 0 && n > 2 ? 2 : n % 3 == 0 && n > 3 ? 3 : n % 5 == 0 && n > 5 ? 5 : n;
}

// exp(-2 pi i k / N)
template <typename Real, int N>
struct Table {
  Real re[N], im[N];
  constexpr Table() : re{}, im{} {
    for (int k = 0; k < N; ++k) {
      re[k] = static_cast<Real>(unit_root(k, N).cosine);
      im[k] = static_cast<Real>(-unit_root(k, N).sine);
    }
  }
};

// Primes and 4 have their own forms; any other N goes through the composition above.
template <typename Real, int N, int A = first_factor(N)>
struct Dft {
  static ONNX_FFT_INLINE void run(Complex<Real> (&x)[N]) {
    constexpr int B = N / A;
    Complex<Real> columns[B][A];
    ONNX_FFT_UNROLL
    for (int b = 0; b < B; ++b) {
      ONNX_FFT_UNROLL
      for (int a = 0; a < A; ++a) columns[b][a] = x[B * a + b];
      Dft<Real, A>::run(columns[b]);
    }
    ONNX_FFT_UNROLL
    for (int c = 0; c < A; ++c) {
      Complex<Real> row[B];
      ONNX_FFT_UNROLL
      for (int b = 0; b < B; ++b) row[b] = twiddle<B>(columns[b][c], b * c);
      Dft<Real, B>::run(row);
      ONNX_FFT_UNROLL
      for (int d = 0; d < B; ++d) x[c + A * d] = row[d];
    }
  }

 private:
  template <int B>
  static ONNX_FFT_INLINE Complex<Real> twiddle(Complex<Real> value, int exponent) {
    constexpr Table<Real, N> table;
    const int k = exponent % N;
    if (k == 0) return value;
    if (4 * k == N) return multiply_by_minus_i(value);
    return multiply_complex(value, table.re[k], table.im[k]);
  }
};

template <typename Real>
struct Dft<Real, 1, 1> {
  static ONNX_FFT_INLINE void run(Complex<Real> (&)[1]) {}
};

template <typename Real>
struct Dft<Real, 2, 2> {
  static ONNX_FFT_INLINE void run(Complex<Real> (&x)[2]) {
    const Complex<Real> sum = x[0] + x[1];
    x[1] = x[0] - x[1];
    x[0] = sum;
  }
};

template <typename Real>
struct Dft<Real, 4, 4> {
  static ONNX_FFT_INLINE void run(Complex<Real> (&x)[4]) {
    const Complex<Real> a = x[0] + x[2], b = x[0] - x[2], c = x[1] + x[3], d = multiply_by_minus_i(x[1] - x[3]);
    x[0] = a + c;
    x[1] = b + d;
    x[2] = a - c;
    x[3] = b - d;
  }
};

// Odd primes: with s_j = x[j] + x[N-j] and d_j = x[j] - x[N-j], both X[k] and X[N-k] are
// x[0] + sum_j cos(2 pi j k / N) s_j -/+ i sum_j sin(2 pi j k / N) d_j.
template <typename Real, int N>
struct Dft<Real, N, N> {
  static ONNX_FFT_INLINE void run(Complex<Real> (&x)[N]) {
    constexpr int H = (N - 1) / 2;
    constexpr Table<Real, N> table;
    Complex<Real> sums[H], differences[H];
    const Complex<Real> origin = x[0];
    ONNX_FFT_UNROLL
    for (int j = 0; j < H; ++j) {
      sums[j] = x[j + 1] + x[N - 1 - j];
      differences[j] = multiply_by_minus_i(x[j + 1] - x[N - 1 - j]);
      x[0] = x[0] + sums[j];
    }
    ONNX_FFT_UNROLL
    for (int k = 1; k <= H; ++k) {
      Complex<Real> even = origin, odd = {Vec<Real>{}, Vec<Real>{}};
      ONNX_FFT_UNROLL
      for (int j = 1; j <= H; ++j) {
        const Real cosine = table.re[j * k % N], sine = -table.im[j * k % N];
        even = {even.re + cosine * sums[j - 1].re, even.im + cosine * sums[j - 1].im};
        odd = {odd.re + sine * differences[j - 1].re, odd.im + sine * differences[j - 1].im};
      }
      x[k] = even + odd;
      x[N - k] = even - odd;
    }
  }
};

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
