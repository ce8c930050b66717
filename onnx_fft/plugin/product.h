// Complex matrix products, one for each bin.
#pragma once

#include "kernels.h"
#include "vector.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

// Rows of C that stay in registers: two accumulators each, beside the vectors of B and the broadcast parts of A.
#if defined(__AVX512F__)
constexpr int kMaxRows = 12;
#else
constexpr int kMaxRows = 5;
#endif

// `Rows` rows of one block of columns.
template <typename Real, int Rows>
void multiply_rows(const Product<Real>& product, const Real* a, const Real* b, Real* c) {
  constexpr int L = kLanes<Real>;
  Vec<Real> re[Rows] = {}, im[Rows] = {};
  int64_t within = product.a_first % L;
  const Real* block = a + product.a_first / L * 2 * L;
  for (int64_t left = product.inner; left > 0; block += 2 * L, within = 0) {
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
    store(c + row * product.c_row, re[row]);
    store(c + row * product.c_row + L, im[row]);
  }
}

template <typename Real, int Rows>
void multiply_some(int64_t rows, const Product<Real>& product, const Real* a, const Real* b, Real* c) {
  if (rows == Rows) {
    multiply_rows<Real, Rows>(product, a, b, c);
  } else if constexpr (Rows > 1) {
    multiply_some<Real, Rows - 1>(rows, product, a, b, c);
  }
}

// All rows, in strips of nearly equal height, so that none is too low to hide the latency of its sums.
template <typename Real>
void multiply(const Product<Real>& product) {
  const int64_t strips = (product.rows + kMaxRows - 1) / kMaxRows;
  for (int64_t block = 0; block < product.blocks; ++block) {
    int64_t begin = 0;
    for (int64_t strip = 0; strip < strips; ++strip) {
      const int64_t end = product.rows * (strip + 1) / strips;
      multiply_some<Real, kMaxRows>(end - begin, product, product.a + begin * product.a_row,
                                    product.b + block * product.b_block,
                                    product.c + begin * product.c_row + block * product.c_block);
      begin = end;
    }
  }
}

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
