// DFTs of real lines of fixed length, and back. A half-spectrum takes no more room than its samples; it is packed as
//
//   even N   X[0], X[N / 2], re X[1], im X[1], re X[2], ...
//   odd N    X[0], re X[1], im X[1], ...
//
// An inverse is written down from the forward one, step by step in reverse, without the factor 1 / N.
#pragma once

#include "kernels/codelets.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

// Where the real part of bin k <= N / 2 lies.
template <int N>
constexpr int place_of(int k) {
  return k == 0 ? 0 : N % 2 == 1 ? 2 * k - 1 : 2 * k == N ? 1 : 2 * k;
}

template <typename Real, int N>
ONNX_FFT_INLINE void real_dft(Vec<Real> (&x)[N]);
template <typename Real, int N>
ONNX_FFT_INLINE void inverse_real_dft(Vec<Real> (&x)[N]);

// --- odd N, by the definition: X[k] = x[0] + sum of (x[n] + x[N - n]) cos - i sum of (x[n] - x[N - n]) sin
// ------------

template <typename Real, int N>
ONNX_FFT_INLINE void odd_real_dft(Vec<Real> (&x)[N]) {
  constexpr int H = (N - 1) / 2;
  Vec<Real> s[H], d[H];
  const Vec<Real> first = x[0];
  unroll<H>(ONNX_FFT_STEP(n) {
    s[n] = x[n + 1] + x[N - 1 - n];
    d[n] = x[N - 1 - n] - x[n + 1];
    x[0] = x[0] + s[n];
  });
  unroll<H>(ONNX_FFT_STEP(k) {
    Vec<Real> re = first, im = {};
    unroll<H>(ONNX_FFT_STEP(n) {
      constexpr Root w = unit_root((n + 1) * (k + 1), N);
      re = re + s[n] * static_cast<Real>(w.cosine);
      im = n == 0 ? d[n] * static_cast<Real>(w.sine) : im + d[n] * static_cast<Real>(w.sine);
    });
    x[2 * k + 1] = re;
    x[2 * k + 2] = im;
  });
}

// x[n] = X[0] + 2 sum of (re cos - im sin); x[N - n] has the other sign.
template <typename Real, int N>
ONNX_FFT_INLINE void odd_inverse_real_dft(Vec<Real> (&x)[N]) {
  constexpr int H = (N - 1) / 2;
  Vec<Real> re[H], im[H];
  const Vec<Real> first = x[0];
  unroll<H>(ONNX_FFT_STEP(k) {
    re[k] = x[2 * k + 1];
    im[k] = x[2 * k + 2];
    x[0] = x[0] + re[k] * Real(2);
  });
  unroll<H>(ONNX_FFT_STEP(n) {
    Vec<Real> even = first, odd = {};
    unroll<H>(ONNX_FFT_STEP(k) {
      constexpr Root w = unit_root((n + 1) * (k + 1), N);
      even = even + re[k] * static_cast<Real>(2 * w.cosine);
      odd = k == 0 ? im[k] * static_cast<Real>(2 * w.sine) : odd + im[k] * static_cast<Real>(2 * w.sine);
    });
    x[n + 1] = even - odd;
    x[N - 1 - n] = even + odd;
  });
}

// --- N = A B, coprime, A a power of two: real DFTs of B first, then for bin 0 of B a real DFT of A, for each of the
// others a complex one. Bin (c mod A, d mod B) may lie in the upper half: then its conjugate, N - k, is kept.
// -----------

template <int A, int B>
struct CoprimeBin {
  int k;  // <= N / 2
  bool is_conjugate;
  constexpr CoprimeBin(int c, int d) : k(join_residues(c, A, d, B)), is_conjugate(2 * k > A * B) {
    if (is_conjugate) k = A * B - k;
  }
};

template <typename Real, int A, int B>
ONNX_FFT_INLINE void coprime_real_dft(Vec<Real> (&x)[A * B]) {
  constexpr int N = A * B;
  Vec<Real> rows[A][B], zero[A];
  unroll<A>(ONNX_FFT_STEP(a) {
    unroll<B>(ONNX_FFT_STEP(b) { rows[a][b] = x[(B * a + A * b) % N]; });
    real_dft<Real, B>(rows[a]);
    zero[a] = rows[a][0];
  });
  real_dft<Real, A>(zero);
  unroll<A / 2 + 1>(ONNX_FFT_STEP(c) {
    constexpr CoprimeBin<A, B> bin(c, 0);
    constexpr int to = place_of<N>(bin.k), from = place_of<A>(c);
    x[to] = zero[from];
    if constexpr (c > 0 && 2 * c < A) x[to + 1] = bin.is_conjugate ? -zero[from + 1] : zero[from + 1];
  });
  unroll<(B - 1) / 2>(ONNX_FFT_STEP(d) {
    Complex<Real> column[A];
    unroll<A>(ONNX_FFT_STEP(a) { column[a] = {rows[a][2 * d + 1], rows[a][2 * d + 2]}; });
    complex_dft<Real, A>(column);
    unroll<A>(ONNX_FFT_STEP(c) {
      constexpr CoprimeBin<A, B> bin(c, d + 1);
      constexpr int to = place_of<N>(bin.k);
      x[to] = column[c].re;
      x[to + 1] = bin.is_conjugate ? -column[c].im : column[c].im;
    });
  });
}

template <typename Real, int A, int B>
ONNX_FFT_INLINE void coprime_inverse_real_dft(Vec<Real> (&x)[A * B]) {
  constexpr int N = A * B;
  Vec<Real> rows[A][B], zero[A];
  unroll<A / 2 + 1>(ONNX_FFT_STEP(c) {
    constexpr CoprimeBin<A, B> bin(c, 0);
    constexpr int from = place_of<N>(bin.k), to = place_of<A>(c);
    zero[to] = x[from];
    if constexpr (c > 0 && 2 * c < A) zero[to + 1] = bin.is_conjugate ? -x[from + 1] : x[from + 1];
  });
  inverse_real_dft<Real, A>(zero);
  unroll<(B - 1) / 2>(ONNX_FFT_STEP(d) {
    Complex<Real> column[A];
    unroll<A>(ONNX_FFT_STEP(c) {
      constexpr CoprimeBin<A, B> bin(c, d + 1);
      constexpr int from = place_of<N>(bin.k);
      column[c] = {x[from], bin.is_conjugate ? -x[from + 1] : x[from + 1]};
    });
    inverse_complex_dft<Real, A>(column);
    unroll<A>(ONNX_FFT_STEP(a) {
      rows[a][2 * d + 1] = column[a].re;
      rows[a][2 * d + 2] = column[a].im;
    });
  });
  unroll<A>(ONNX_FFT_STEP(a) {
    rows[a][0] = zero[a];
    inverse_real_dft<Real, B>(rows[a]);
    unroll<B>(ONNX_FFT_STEP(b) { x[(B * a + A * b) % N] = rows[a][b]; });
  });
}

// --- N a power of two: E and O, the DFTs of the even and the odd samples, give X[k] = E[k] + w^k O[k], and
// X[N / 2 - k] = conj(E[k] - w^k O[k]). w^k O = c (1 - i t) O with c = cos, t = tan: two multiplications fewer.
// ---------

template <typename Real, int N>
ONNX_FFT_INLINE void radix_2_real_dft(Vec<Real> (&x)[N]) {
  constexpr int H = N / 2, Q = N / 4;
  Vec<Real> even[H], odd[H];
  unroll<H>(ONNX_FFT_STEP(n) {
    even[n] = x[2 * n];
    odd[n] = x[2 * n + 1];
  });
  real_dft<Real, H>(even);
  real_dft<Real, H>(odd);
  x[0] = even[0] + odd[0];
  x[1] = even[0] - odd[0];
  x[2 * Q] = even[1];
  x[2 * Q + 1] = -odd[1];
  unroll<Q - 1>(ONNX_FFT_STEP(i) {
    constexpr int k = i + 1;
    constexpr Root w = unit_root(k, N);
    constexpr Real c = static_cast<Real>(w.cosine), t = static_cast<Real>(w.sine / w.cosine);
    const Vec<Real> re = odd[2 * k] + odd[2 * k + 1] * t, im = odd[2 * k + 1] - odd[2 * k] * t;
    x[2 * k] = even[2 * k] + re * c;
    x[2 * k + 1] = even[2 * k + 1] + im * c;
    x[2 * (H - k)] = even[2 * k] - re * c;
    x[2 * (H - k) + 1] = im * c - even[2 * k + 1];
  });
}

// 2 E[k] = X[k] + conj(X[N / 2 - k]), 2 O[k] = w^-k (X[k] - conj(X[N / 2 - k])).
template <typename Real, int N>
ONNX_FFT_INLINE void radix_2_inverse_real_dft(Vec<Real> (&x)[N]) {
  constexpr int H = N / 2, Q = N / 4;
  Vec<Real> even[H], odd[H];
  even[0] = x[0] + x[1];
  odd[0] = x[0] - x[1];
  even[1] = x[2 * Q] * Real(2);
  odd[1] = x[2 * Q + 1] * Real(-2);
  unroll<Q - 1>(ONNX_FFT_STEP(i) {
    constexpr int k = i + 1;
    constexpr Root w = unit_root(k, N);
    constexpr Real c = static_cast<Real>(w.cosine), s = static_cast<Real>(w.sine);
    even[2 * k] = x[2 * k] + x[2 * (H - k)];
    even[2 * k + 1] = x[2 * k + 1] - x[2 * (H - k) + 1];
    const Vec<Real> re = x[2 * k] - x[2 * (H - k)], im = x[2 * k + 1] + x[2 * (H - k) + 1];
    odd[2 * k] = re * c - im * s;
    odd[2 * k + 1] = im * c + re * s;
  });
  inverse_real_dft<Real, H>(even);
  inverse_real_dft<Real, H>(odd);
  unroll<H>(ONNX_FFT_STEP(n) {
    x[2 * n] = even[n];
    x[2 * n + 1] = odd[n];
  });
}

// --- all of them ----------------------------------------------------------------------------------------------------

template <typename Real, int N>
ONNX_FFT_INLINE void real_dft(Vec<Real> (&x)[N]) {
  constexpr int A = power_of_two_in(N), B = N / A;
  if constexpr (N == 2) {
    const Vec<Real> sum = x[0] + x[1];
    x[1] = x[0] - x[1];
    x[0] = sum;
  } else if constexpr (N == 4) {
    const Vec<Real> a = x[0] + x[2], b = x[1] + x[3];
    x[2] = x[0] - x[2];
    x[3] = x[3] - x[1];
    x[0] = a + b;
    x[1] = a - b;
  } else if constexpr (A > 1 && B > 1) {
    coprime_real_dft<Real, A, B>(x);
  } else if constexpr (A > 1) {
    radix_2_real_dft<Real, N>(x);
  } else if constexpr (N > 1) {
    odd_real_dft<Real, N>(x);
  }
}

template <typename Real, int N>
ONNX_FFT_INLINE void inverse_real_dft(Vec<Real> (&x)[N]) {
  constexpr int A = power_of_two_in(N), B = N / A;
  if constexpr (N == 2) {
    real_dft<Real, 2>(x);
  } else if constexpr (N == 4) {
    const Vec<Real> a = x[0] + x[1], b = x[0] - x[1], re = x[2] * Real(2), im = x[3] * Real(2);
    x[0] = a + re;
    x[1] = b - im;
    x[2] = a - re;
    x[3] = b + im;
  } else if constexpr (A > 1 && B > 1) {
    coprime_inverse_real_dft<Real, A, B>(x);
  } else if constexpr (A > 1) {
    radix_2_inverse_real_dft<Real, N>(x);
  } else if constexpr (N > 1) {
    odd_inverse_real_dft<Real, N>(x);
  }
}

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
