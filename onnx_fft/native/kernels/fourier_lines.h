// DFTs of short lines, one in each lane.
#pragma once

#include "kernels/fft.h"
#include "kernels/fourier_samples.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

// The DFT of a line in place, by a convolution with a chirp if the plan says so; bins come out at `plan.places`.
template <typename Real>
void transform_complex(const FourierPlan<Real>& plan, Line<Real> line, int64_t points, Line<Real> work) {
  const LinePlan& chain = plan.dft.line;
  const Real* const roots = plan.dft.roots.data();
  const Real* const chirp = plan.chirp.data();
  if (chirp == nullptr) return transform_in_place(chain, roots, line);
  const Complex<Real> zero = {};
  const Line<Real> padded = work, product = work.from(chain.length);
  const PlacedLine<Real> padded_bins{padded, plan.dft.places.data()}, product_bins{product, plan.dft.places.data()};
  for (int64_t n = 0; n < points; ++n) padded.put(n, multiply_complex(line.get(n), chirp[2 * n], chirp[2 * n + 1]));
  for (int64_t n = points; n < chain.length; ++n) padded.put(n, zero);
  transform_in_place(chain, roots, padded);
  const Real* const spectrum = plan.chirp_spectrum.data();
  for (int64_t k = 0; k < chain.length; ++k) {
    product.put(k, multiply_complex(padded_bins.get(k), spectrum[2 * k], spectrum[2 * k + 1]));
  }
  transform_in_place(chain, roots, product.swapped());
  for (int64_t k = 0; k < points; ++k) {
    line.put(k, multiply_complex(product_bins.get(k), chirp[2 * k], chirp[2 * k + 1]));
  }
}

// X[N - k] = conj X[k]
template <typename AnyLine>
void mirror(AnyLine line, int64_t length) {
  for (int64_t k = 1; 2 * k < length; ++k) {
    const auto value = line.get(k);
    line.put(length - k, {value.re, -value.im});
  }
}

// What `load_lines` has put into the scratch memory, in place: number k comes out at plan.places[k].
template <typename Real>
void transform_values(const FourierPlan<Real>& plan, Real* scratch) {
  const FourierSpec& spec = plan.spec;
  const int64_t length = spec.length;
  const bool is_packed = spec.form != FourierForm::kComplex && length % 2 == 0;
  const int64_t points = is_packed ? length / 2 : length;
  const int half = static_cast<int>(length / 2);
  const Line<Real> line{scratch}, work = line.from(length + 1 + kLanes<Real>);  // values_of, in kernels/fourier.h
  if (spec.form == FourierForm::kHalf) {
    if (is_packed) {
      join(half, plan.real_roots.data(), line, line);
    } else {
      line.put(0, {line.get(0).re, Vec<Real>{}});
      mirror(line, length);
    }
  }
  const bool swaps = spec.inverse && spec.form != FourierForm::kReal;
  transform_complex(plan, swaps ? line.swapped() : line, points, work);
  if (spec.form == FourierForm::kReal) {
    const PlacedLine<Real> placed{line, plan.places.data()};
    if (is_packed) separate(half, plan.real_roots.data(), placed, placed);
    if (!spec.onesided) mirror(placed, length);
  }
}

template <typename Real>
void transform_lines(const FourierPlan<Real>& plan, const FourierLines<Real>& lines, Real* scratch) {
  load_lines(plan, lines, scratch);
  transform_values(plan, scratch);
  store_lines(plan, lines, scratch);
}

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
