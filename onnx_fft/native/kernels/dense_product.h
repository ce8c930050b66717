// Products of dense spectra, one pair of bins at a time: rows of tiles times a panel of weights, which is read from
// front to back. A strip of rows keeps its sums in registers.
#pragma once

#include "kernels/codelets.h"
#include "kernels/dense.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

// Rows whose sums fit into the registers, two vectors each, beside two vectors of weights and two numbers of A.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kStripRows = 14;  // of 32 registers
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

// `inputs` terms of one block of outputs; `add`: to what is in C.
template <typename Real, DenseForm Form, int Rows>
__attribute__((noinline)) void multiply_strip(const Strip<Real>& strip, const Real* b, int64_t inputs, bool add) {
  constexpr int L = kLanes<Real>;
  Vec<Real> re[Rows] = {}, im[Rows] = {};
  const Real *a_re = strip.a, *a_im = strip.a + strip.a_to_im;
  const ptrdiff_t a_row = strip.a_row;
  for (int64_t k = 0; k < inputs; ++k, ++a_re, ++a_im, b += 2 * L) {
    const Vec<Real> b_re = load(b), b_im = load(b + L);
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

template <typename Real>
void dense_multiply(const DenseProduct<Real>& product) {
  if (product.form == DenseForm::kComplex) return multiply_pair<Real, DenseForm::kComplex>(product);
  multiply_pair<Real, DenseForm::kReal>(product);
}

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
