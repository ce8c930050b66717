// Complex matrix products, one for each bin.
#pragma once

#include "kernels/kernels.h"
#include "kernels/vector.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

// Rows of C that fit into registers: two accumulators each, beside the vectors of B and the broadcast parts of A. Of
// Arm's 32, ten hold what `multiply_block` reads.
#if defined(__AVX512F__)
constexpr int kMaxRows = 12;
#elif defined(__aarch64__)
constexpr int kMaxRows = 10;
#else
constexpr int kMaxRows = 5;
#endif

// Terms summed in one chain. Longer sums are made of partial ones, so that rounding errors grow with the root of far
// fewer terms: 1,024 channels in one chain gave a relative L2 error of 8e-7; a transform alone has 2e-7.
constexpr int64_t kChain = 128;

#if defined(__aarch64__)
// As many terms as a vector has lanes. NEON multiplies by one lane of a vector: so A is read in vectors, and nothing is
// broadcast. The empty instructions keep the compiler from reading a row before the one above it is done, for which
// there are no registers.
template <typename Real, int Rows>
ONNX_FFT_INLINE void multiply_block(const Real* (&a)[Rows], const Real* b, Vec<Real> (&re)[Rows],
                                    Vec<Real> (&im)[Rows]) {
  constexpr int L = kLanes<Real>;
  Vec<Real> b_re[L], b_im[L];
  ONNX_FFT_UNROLL
  for (int k = 0; k < L; ++k) {
    b_re[k] = load(b + k * 2 * L);
    b_im[k] = load(b + k * 2 * L + L);
  }
  ONNX_FFT_UNROLL
  for (int row = 0; row < Rows; ++row) {
    const Vec<Real> a_re = load(a[row]), a_im = load(a[row] + L);
    a[row] += 2 * L;
    __asm__ volatile("" : "+r"(a[row]));
    ONNX_FFT_UNROLL
    for (int k = 0; k < L; ++k) {
      re[row] += a_re[k] * b_re[k];
      im[row] += a_re[k] * b_im[k];
      re[row] -= a_im[k] * b_im[k];
      im[row] += a_im[k] * b_re[k];
    }
    __asm__ volatile("" : "+w"(re[row]), "+w"(im[row]));
  }
}
#endif

// `Rows` rows of one block of columns; adds to C from the second chain on.
template <typename Real, int Rows>
void multiply_rows(const Product<Real>& product, bool add, const Real* a, const Real* b, Real* c) {
  constexpr int L = kLanes<Real>;
  Vec<Real> re[Rows] = {}, im[Rows] = {};
  int64_t within = product.a_first % L;
  const Real* block = a + product.a_first / L * 2 * L;
  for (int64_t left = product.inner; left > 0; block += 2 * L, within = 0) {
#if defined(__aarch64__)
    if (within == 0 && left >= L) {
      const Real* rows[Rows];
      for (int row = 0; row < Rows; ++row) rows[row] = block + row * product.a_row;
      const int64_t full = left / L;
#pragma GCC unroll 2
      for (int64_t n = full; n != 0; --n, b += L * 2 * L) multiply_block<Real, Rows>(rows, b, re, im);
      block += full * 2 * L;
      left -= full * L;
    }
#endif
    const int64_t count = left < L - within ? left : L - within;
    const Real* element = block + within;
    for (int64_t k = 0; k < count; ++k, ++element, b += 2 * L) {
      const Vec<Real> b_re = load(b), b_im = load(b + L);
      ONNX_FFT_UNROLL
      for (int row = 0; row < Rows; ++row) {
        const Real a_re = element[row * product.a_row], a_im = element[row * product.a_row + L];
        re[row] += a_re * b_re;
        im[row] += a_re * b_im;
        re[row] -= a_im * b_im;
        im[row] += a_im * b_re;
      }
    }
    left -= count;
  }
  ONNX_FFT_UNROLL
  for (int row = 0; row < Rows; ++row) {
    Real* target = c + row * product.c_row;
    store(target, add ? load(target) + re[row] : re[row]);
    store(target + L, add ? load(target + L) + im[row] : im[row]);
  }
}

template <typename Real, int Rows>
void multiply_some(int64_t rows, const Product<Real>& product, bool add, const Real* a, const Real* b, Real* c) {
  if (rows == Rows) {
    multiply_rows<Real, Rows>(product, add, a, b, c);
  } else if constexpr (Rows > 1) {
    multiply_some<Real, Rows - 1>(rows, product, add, a, b, c);
  }
}

// All rows, in strips of nearly equal height, so that none is too low to hide the latency of its sums.
template <typename Real>
void multiply_chain(const Product<Real>& product, bool add) {
  const int64_t strips = (product.rows + kMaxRows - 1) / kMaxRows;
  for (int64_t block = 0; block < product.blocks; ++block) {
    int64_t begin = 0;
    for (int64_t strip = 0; strip < strips; ++strip) {
      const int64_t end = product.rows * (strip + 1) / strips;
      multiply_some<Real, kMaxRows>(end - begin, product, add, product.a + begin * product.a_row,
                                    product.b + block * product.b_block,
                                    product.c + begin * product.c_row + block * product.c_block);
      begin = end;
    }
  }
}

template <typename Real>
void multiply(const Product<Real>& product) {
  for (int64_t first = 0; first < product.inner; first += kChain) {
    Product<Real> chain = product;
    chain.a_first += first;
    chain.b += first * 2 * kLanes<Real>;
    chain.inner = product.inner - first < kChain ? product.inner - first : kChain;
    multiply_chain(chain, first > 0);
  }
}

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
