// The kernels of transposed convolutions for one instruction set: like kernels.cpp, this file is compiled once for each.
#include "kernels/transposed.h"

#include "kernels/epilogue.h"
#include "kernels/fourier_lines.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

// The spectra of a group of frames, where `transform_values` expects them.
template <typename Real, typename Storage>
void load_spectra(const FourierPlan<Real>& plan, const OverlapFrames<Real>& frames, Real* values) {
  constexpr int L = kLanes<Real>;
  const Vec<Real> zero = {};
  for (int64_t i = 0; i < 2 * plan.spec.half_bins(); ++i) store(values + i * L, zero);
  const Storage* x = static_cast<const Storage*>(frames.x);
  for (int64_t row = 0; row < frames.row_count; ++row, x += frames.x_step) {
    Real* const part = values + frames.rows[row].position;
    store(part, load(part) + load_values<Real>(x, frames.count) * frames.rows[row].scale);
  }
}

template <typename Real>
void add_samples(const FourierPlan<Real>& plan, const OverlapFrames<Real>& frames, const Real* values) {
  constexpr int L = kLanes<Real>;
  const ptrdiff_t step = plan.spec.is_packed() ? L : 2 * L;
  for (int64_t first = 0; first < frames.taps; first += L) {
    Vec<Real> block[L];
    unroll<L>(ONNX_FFT_STEP(i) { block[i] = load(values + (first + i) * step) * frames.window[first + i]; });
    transpose_samples<Real>(block);
    const int64_t wanted = clamp(frames.taps - first, 0, L);
    for (int lane = 0; lane < frames.count; ++lane) {
      Real* const sums = frames.sums + lane * frames.stride + first;
      store_lanes(sums, load_lanes(sums, 0, wanted) + block[lane], 0, wanted);
    }
  }
}

template <typename Real, typename Storage>
void add_frames(const FourierPlan<Real>& plan, const OverlapFrames<Real>& frames, Real* scratch) {
  load_spectra<Real, Storage>(plan, frames, scratch);
  transform_values(plan, scratch);
  add_samples(plan, frames, scratch);
}

// Whole samples of all residues, one after the other; a stride that is known is unrolled.
template <int kStride, typename Element>
ONNX_FFT_INLINE void interleave_samples(const Element* rows, int64_t step, int64_t stride, int64_t count, Element* y) {
  const int64_t times = kStride > 0 ? kStride : stride;
  for (int64_t u = 0; u < count; ++u, y += times) {
    ONNX_FFT_UNROLL
    for (int64_t r = 0; r < times; ++r) y[r] = rows[r * step + u];
  }
}

template <typename Element>
void interleave_residues(const Residues& in, void* out) {
  const Element* rows = static_cast<const Element*>(in.rows);
  Element* y = static_cast<Element*>(out);
  int64_t at = in.first;
  const int64_t last = in.first + in.count;
  const auto copy_until = [&](int64_t end) {
    for (; at < end; ++at) *y++ = rows[at % in.stride * in.step + at / in.stride];
  };
  const int64_t aligned = (at + in.stride - 1) / in.stride * in.stride;
  copy_until(aligned < last ? aligned : last);
  const int64_t count = (last - at) / in.stride;
  const Element* const from = rows + at / in.stride;
  switch (in.stride) {
    case 2: interleave_samples<2>(from, in.step, in.stride, count, y); break;
    case 3: interleave_samples<3>(from, in.step, in.stride, count, y); break;
    case 4: interleave_samples<4>(from, in.step, in.stride, count, y); break;
    case 8: interleave_samples<8>(from, in.step, in.stride, count, y); break;
    default: interleave_samples<0>(from, in.step, in.stride, count, y);
  }
  at += count * in.stride;
  y += count * in.stride;
  copy_until(last);
}

extern const TransposedTable transposed_table;
const TransposedTable transposed_table = {
    {add_frames<float, Half>},
    {add_frames<float, float>},
    {add_frames<double, double>},
    {interleave_residues<Half>, interleave_residues<float>, interleave_residues<double>},
};

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
