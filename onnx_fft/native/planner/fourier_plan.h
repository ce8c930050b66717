// How the DFT of a line of any length is computed. Plain data: fourier_plan.cpp makes it, engine/fourier.h adds the
// spectrum of a chirp, the kernels read it.
//
// At the core is a complex DFT of `points`. A real line of even length is one of half as many: its even samples are
// real parts, its odd ones imaginary parts. If `points` has a large prime factor, the DFT is a convolution with a chirp
// (Bluestein), by DFTs of `padded` points: with c[n] = exp(-pi i n^2 / points),
//
//     X[k] = c[k] sum over n of (x[n] c[n]) conj(c[k - n])
//
// A short line is transformed beside others, each in a lane of its own. A long one is cut into columns (four steps):
// with N = A B, n = B a + b, k = c + A d,
//
//     X[c + A d] = sum_b w_B^(b d) w_N^(b c) sum_a w_A^(a c) x[B a + b]
//
// where the lanes run across b first, and across c then.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "planner/tile_plan.h"

namespace onnx_fft {

// What goes in and what comes out.
enum class FourierForm {
  kComplex,  // complex samples -> complex samples
  kReal,     // real samples -> complex bins
  kHalf,     // the half-spectrum of a real line -> real samples
};

// What is made of the two parts of a bin.
enum class BinForm {
  kParts,      // both, as they are
  kPower,      // re^2 + im^2
  kMagnitude,  // the square root of that
};

struct FourierSpec {
  int64_t length;  // points of the DFT
  FourierForm form;
  bool inverse;   // always, for kHalf
  bool onesided;  // of kReal: whether only length / 2 + 1 bins come out

  int64_t half_bins() const { return length / 2 + 1; }
  int64_t in_samples() const { return form == FourierForm::kHalf ? half_bins() : length; }
  int64_t out_samples() const { return form == FourierForm::kReal && onesided ? half_bins() : length; }
  int in_parts() const { return form == FourierForm::kReal ? 1 : 2; }
  int out_parts() const { return form == FourierForm::kHalf ? 1 : 2; }
  // Whether two real samples are one complex one.
  bool is_packed() const { return form != FourierForm::kComplex && length % 2 == 0; }
  int64_t points() const { return is_packed() ? length / 2 : length; }
};

// A complex DFT in lines, or for a long one, in columns and then rows.
template <typename Real>
struct ComplexDft {
  LinePlan line;                // of all points, or of a column (A)
  std::vector<Real> roots;      // of `line`
  std::vector<int32_t> places;  // of the bins of a short line

  int64_t rows = 1;             // B; 1 if the line is short
  LinePlan row_line;            // of B
  std::vector<Real> row_roots;  // of `row_line`
  // w_N^(b c) for b a multiple of the lanes [blocks of b, A] re, im; and for b below that [A], vectors re, im.
  std::vector<Real> block_roots, lane_roots;

  bool is_long() const { return rows > 1; }
  int64_t points() const { return line.length * rows; }
};

template <typename Real>
struct FourierPlan {
  FourierSpec spec;
  int64_t lanes;
  ComplexDft<Real> dft;              // of spec.points(), or of the padded points
  std::vector<Real> chirp;           // [points] re, im; empty if there is none
  std::vector<Real> chirp_spectrum;  // [padded] re, im: the DFT of conj(c), divided by `padded`
  // exp(-2 pi i k / length), k <= points / 2, of a packed line: re, im; of a long one as vectors across k = 1, 2, ...
  std::vector<Real> real_roots;
  // Of a short line, where in scratch memory each complex number that comes out lies, and up to a vector more.
  std::vector<int32_t> places;
  Real scale;  // of what comes out of the core

  bool has_chirp() const { return !chirp.empty(); }
};

// Cycles of one core for the DFTs of a vector of short lines, without what reads and writes them.
double count_transform_cycles(const FourierSpec& spec);

// Everything but the chirp's spectrum. Throws std::invalid_argument for more points than a plan can have.
template <typename Real>
std::shared_ptr<FourierPlan<Real>> plan_fourier(const FourierSpec& spec, bool is_long, int64_t lanes);

// conj(c[n]) for |n| < points, at n mod padded: re, im, divided by padded.
std::vector<double> make_chirp_kernel(int64_t points, int64_t padded);

}  // namespace onnx_fft
