// Products of dense spectra, one pair of bins at a time: rows of tiles times a panel of weights, which is read from
// front to back. A strip of rows keeps its sums in registers.
#pragma once

#include "kernels/codelets.h"
#include "kernels/dense.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

// Rows whose sums fit into the registers, two vectors each, beside two vectors of weights and two numbers of A; on Arm
// beside the weights of as many terms as a vector has lanes and two vectors of A.
#if defined(__AVX512F__)
constexpr int kStripRows = 14;  // of 32 registers
#elif defined(__aarch64__)
constexpr int kStripRows = 10;  // of 32
#elif defined(__FMA__)
constexpr int kStripRows = 6;  // of 16
#else
constexpr int kStripRows = 5;  // of 16; a product takes one before it is added
#endif

// One number for all lanes. Without the barrier compilers load it anew for every product that it takes part in.
template <typename Real>
ONNX_FFT_INLINE Vec<Real> broadcast_once(const Real* p) {
  Vec<Real> v = broadcast(*p);
#if defined(__AVX512F__)
  asm("" : "+v"(v));
#elif defined(__x86_64__)
  asm("" : "+x"(v));
#endif
  return v;
}

// Rows `row` reals apart: re, and im `to_im` further on.
template <typename Real>
struct Strip {
  const Real* a;
  ptrdiff_t a_row, a_to_im;
  Real* c;
  ptrdiff_t c_row;
};

#if defined(__aarch64__)
// NEON multiplies by one lane of a vector: so A is read in vectors, as many terms as they have lanes, and nothing is
// broadcast. The empty instructions keep the compiler from reading a row before the one above it is done, for which
// there are no registers, and from counting an address for every row instead of one index.
template <typename Real, DenseForm Form, int Rows>
ONNX_FFT_INLINE void multiply_by_lanes(Vec<Real> (&re)[Rows], Vec<Real> (&im)[Rows], const Strip<Real>& strip,
                                       const Real* b, int64_t blocks) {
  constexpr int L = kLanes<Real>;
  const Real *a_re[Rows], *a_im[Rows];
  ONNX_FFT_UNROLL
  for (int row = 0; row < Rows; ++row) {
    a_re[row] = strip.a + row * strip.a_row;
    a_im[row] = a_re[row] + strip.a_to_im;
  }
  for (int64_t block = 0; block < blocks; ++block, b += 2 * L * L) {
    __asm__ volatile("" : "+r"(block));
    Vec<Real> terms[2 * L];
    ONNX_FFT_UNROLL
    for (int i = 0; i < 2 * L; ++i) terms[i] = load(b + i * L);
    ONNX_FFT_UNROLL
    for (int row = 0; row < Rows; ++row) {
      const Vec<Real> u = load(a_re[row] + block * L), v = load(a_im[row] + block * L);
      ONNX_FFT_UNROLL
      for (int lane = 0; lane < L; ++lane) {
        re[row] += u[lane] * terms[2 * lane];
        if constexpr (Form == DenseForm::kComplex) {
          im[row] += u[lane] * terms[2 * lane + 1];
          re[row] -= v[lane] * terms[2 * lane + 1];
          im[row] += v[lane] * terms[2 * lane];
        } else {
          im[row] += v[lane] * terms[2 * lane + 1];
        }
      }
      __asm__ volatile("" : "+w"(re[row]), "+w"(im[row]));
    }
  }
}

template <typename Real, int Rows>
ONNX_FFT_INLINE void add_by_lanes(Vec<Real> (&sums)[Rows][2], const Real* first, ptrdiff_t a_row, const Real* b,
                                  int64_t blocks, bool subtract) {
  constexpr int L = kLanes<Real>;
  const Real* a[Rows];
  ONNX_FFT_UNROLL
  for (int row = 0; row < Rows; ++row) a[row] = first + row * a_row;
  for (int64_t block = 0; block < blocks; ++block, b += 2 * L * L) {
    __asm__ volatile("" : "+r"(block));
    Vec<Real> terms[2 * L];
    ONNX_FFT_UNROLL
    for (int i = 0; i < 2 * L; ++i) terms[i] = load(b + i * L);
    ONNX_FFT_UNROLL
    for (int row = 0; row < Rows; ++row) {
      const Vec<Real> u = load(a[row] + block * L);
      ONNX_FFT_UNROLL
      for (int i = 0; i < 2 * L; ++i) {
        Vec<Real>& sum = sums[row][i % 2];
        sum = subtract ? sum - u[i / 2] * terms[i] : sum + u[i / 2] * terms[i];
      }
      __asm__ volatile("" : "+w"(sums[row][0]), "+w"(sums[row][1]));
    }
  }
}
#endif

// Two vectors of weights of the next panel, which begins `panel` reals further on.
template <typename Real>
ONNX_FFT_INLINE void prefetch_weights(const Real* b, ptrdiff_t panel) {
  constexpr int kLines = 2 * kLanes<Real> * sizeof(Real) > 64 ? 2 : 1;
  unroll<kLines>(ONNX_FFT_STEP(i) { prefetch<false, kFirstLevel>(b, panel + i * kLanes<Real>); });
}

// `inputs` terms of one block of outputs; `add`: to what is in C.
template <typename Real, DenseForm Form, int Rows>
__attribute__((noinline)) void multiply_strip(const Strip<Real>& strip, const Real* b, int64_t inputs, bool add) {
  constexpr int L = kLanes<Real>;
  Vec<Real> re[Rows] = {}, im[Rows] = {};
  const Real *a_re = strip.a, *a_im = strip.a + strip.a_to_im;
  const ptrdiff_t a_row = strip.a_row;
  int64_t k = 0;
#if defined(__aarch64__)
  k = inputs / L * L;
  multiply_by_lanes<Real, Form, Rows>(re, im, strip, b, inputs / L);
  a_re += k, a_im += k, b += k * 2 * L;
#endif
  const ptrdiff_t panel = inputs * 2 * L;
  for (; k < inputs; ++k, ++a_re, ++a_im, b += 2 * L) {
    const Vec<Real> b_re = load(b), b_im = load(b + L);
    prefetch_weights(b, panel);
    unroll<Rows>(ONNX_FFT_STEP(row) {
      const Vec<Real> u = broadcast_once(a_re + row * a_row), v = broadcast_once(a_im + row * a_row);
      re[row] += u * b_re;
      if constexpr (Form == DenseForm::kComplex) {
        im[row] += u * b_im;
        re[row] -= v * b_im;
        im[row] += v * b_re;
      } else {
        im[row] += v * b_im;
      }
    });
  }
  Real* c = strip.c;
  unroll<Rows>(ONNX_FFT_STEP(row) {
    store(c, add ? load(c) + re[row] : re[row]);
    store(c + L, add ? load(c + L) + im[row] : im[row]);
    c += strip.c_row;
  });
}

template <typename Real, DenseForm Form, int Rows = kStripRows>
ONNX_FFT_INLINE void multiply_rows_of(int64_t rows, const Strip<Real>& strip, const Real* b, int64_t inputs, bool add) {
  if (rows == Rows) {
    multiply_strip<Real, Form, Rows>(strip, b, inputs, add);
  } else if constexpr (Rows > 1) {
    multiply_rows_of<Real, Form, Rows - 1>(rows, strip, b, inputs, add);
  }
}

// All rows, in strips of nearly equal height.
template <typename Body>
ONNX_FFT_INLINE void each_strip(int64_t rows, const Body& body) {
  const int64_t strips = (rows + kStripRows - 1) / kStripRows;
  for (int64_t strip = 0, begin = 0; strip < strips; ++strip) {
    const int64_t end = rows * (strip + 1) / strips;
    body(begin, end - begin);
    begin = end;
  }
}

template <typename Real, DenseForm Form>
void multiply_pair(const DenseProduct<Real>& p) {
  constexpr int L = kLanes<Real>;
  const Real* b = p.b;
  for (int64_t first = 0; first < p.inputs; first += kDenseChain) {
    const int64_t inputs = p.inputs - first < kDenseChain ? p.inputs - first : kDenseChain;
    for (int64_t block = 0; block < p.blocks; ++block, b += inputs * 2 * L) {
      each_strip(p.rows, [&](int64_t begin, int64_t rows) {
        const Strip<Real> strip{p.a + begin * p.a_row + first, p.a_row, p.a_to_im,
                                p.c + begin * p.c_row + block * 2 * L, p.c_row};
        multiply_rows_of<Real, Form>(rows, strip, b, inputs, first > 0);
      });
    }
  }
}

// Gauss' complex product of a and b takes three real ones: with p = (re a + im a) re b,
//
//   im = p + re a (im b - re b),  re = p - im a (re b + im b)
//
// Two blocks of outputs at a time: their vectors of weights are read once for all rows.
template <typename Real, int Rows>
ONNX_FFT_INLINE void add_products(Vec<Real> (&sums)[Rows][2], const Real* a, ptrdiff_t a_row, const Real* b,
                                  int64_t inputs, bool subtract) {
  constexpr int L = kLanes<Real>;
  const ptrdiff_t panel = inputs * 2 * L;
  int64_t k = 0;
#if defined(__aarch64__)
  k = inputs / L * L;
  add_by_lanes<Real, Rows>(sums, a, a_row, b, inputs / L, subtract);
  a += k, b += k * 2 * L;
#endif
  for (; k < inputs; ++k, ++a, b += 2 * L) {
    const Vec<Real> first = load(b), second = load(b + L);
    prefetch_weights(b, panel);
    unroll<Rows>(ONNX_FFT_STEP(row) {
      const Vec<Real> u = broadcast_once(a + row * a_row);
      sums[row][0] = subtract ? sums[row][0] - u * first : sums[row][0] + u * first;
      sums[row][1] = subtract ? sums[row][1] - u * second : sums[row][1] + u * second;
    });
  }
}

template <typename Real, int Rows>
ONNX_FFT_INLINE void put_sums(const Vec<Real> (&sums)[Rows][2], Real* c, ptrdiff_t c_row, bool add) {
  constexpr int L = kLanes<Real>;
  unroll<Rows>(ONNX_FFT_STEP(row) {
    for (int block = 0; block < 2; ++block) {
      Real* target = c + row * c_row + block * 2 * L;
      store(target, add ? load(target) + sums[row][block] : sums[row][block]);
    }
  });
}

template <typename Real, int Rows>
__attribute__((noinline)) void multiply_gauss_strip(const Strip<Real>& strip, const Real* re_plus_im, ptrdiff_t sum_row,
                                                    const Real* b, int64_t inputs, bool add) {
  constexpr int L = kLanes<Real>;
  const int64_t part = inputs * 2 * L;
  Vec<Real> sums[Rows][2] = {}, common[Rows][2];
  add_products<Real, Rows>(sums, re_plus_im, sum_row, b, inputs, false);
  unroll<Rows>(ONNX_FFT_STEP(row) {
    common[row][0] = sums[row][0];
    common[row][1] = sums[row][1];
  });
  add_products<Real, Rows>(sums, strip.a, strip.a_row, b + part, inputs, false);
  put_sums<Real, Rows>(sums, strip.c + L, strip.c_row, add);
  add_products<Real, Rows>(common, strip.a + strip.a_to_im, strip.a_row, b + 2 * part, inputs, true);
  put_sums<Real, Rows>(common, strip.c, strip.c_row, add);
}

template <typename Real, int Rows = kStripRows>
ONNX_FFT_INLINE void multiply_gauss_rows(int64_t rows, const Strip<Real>& strip, const Real* re_plus_im,
                                         ptrdiff_t sum_row, const Real* b, int64_t inputs, bool add) {
  if (rows == Rows) {
    multiply_gauss_strip<Real, Rows>(strip, re_plus_im, sum_row, b, inputs, add);
  } else if constexpr (Rows > 1) {
    multiply_gauss_rows<Real, Rows - 1>(rows, strip, re_plus_im, sum_row, b, inputs, add);
  }
}

// re + im of one chain of all rows.
template <typename Real>
ONNX_FFT_INLINE void add_parts(const DenseProduct<Real>& p, int64_t first, int64_t inputs, ptrdiff_t sum_row) {
  for (int64_t row = 0; row < p.rows; ++row) {
    const Real* re = p.a + row * p.a_row + first;
    for (int64_t k = 0; k < inputs; k += kLanes<Real>) {
      store(p.scratch + row * sum_row + k, load(re + k) + load(re + p.a_to_im + k));
    }
  }
}

template <typename Real>
void multiply_gauss(const DenseProduct<Real>& p) {
  constexpr int L = kLanes<Real>;
  constexpr ptrdiff_t kSumRow = kDenseChain + L;
  const Real* b = p.b;
  for (int64_t first = 0; first < p.inputs; first += kDenseChain) {
    const int64_t inputs = p.inputs - first < kDenseChain ? p.inputs - first : kDenseChain;
    add_parts(p, first, inputs, kSumRow);
    for (int64_t block = 0; block < p.blocks; block += 2, b += inputs * 6 * L) {
      each_strip(p.rows, [&](int64_t begin, int64_t rows) {
        const Strip<Real> strip{p.a + begin * p.a_row + first, p.a_row, p.a_to_im,
                                p.c + begin * p.c_row + block * 2 * L, p.c_row};
        multiply_gauss_rows<Real>(rows, strip, p.scratch + begin * kSumRow, kSumRow, b, inputs, first > 0);
      });
    }
  }
}

template <typename Real>
void dense_multiply(const DenseProduct<Real>& product) {
  if (product.form == DenseForm::kGauss) return multiply_gauss(product);
  if (product.form == DenseForm::kComplex) return multiply_pair<Real, DenseForm::kComplex>(product);
  multiply_pair<Real, DenseForm::kReal>(product);
}

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
