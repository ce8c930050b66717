// The kernels of transposed convolutions for one instruction set: like kernels.cpp, this file is compiled once for
// each.
#include "kernels/transposed.h"

#include "kernels/epilogue.h"
#include "kernels/fourier_lines.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

// The spectra of `groups` of frames, each where `transform_values` expects it, `apart` reals from the one before.
template <typename Real, typename Storage>
void load_spectra(const OverlapFrames<Real>& frames, int groups, ptrdiff_t apart, Real* values) {
  constexpr int L = kLanes<Real>;
  constexpr int64_t kAhead = 16;  // rows
  const Vec<Real> zero = {};
  for (int64_t i = 0; i < frames.zero_count; ++i) {
    for (int group = 0; group < groups; ++group) store(values + group * apart + frames.zeros[i], zero);
  }
  const Storage* x = static_cast<const Storage*>(frames.x);
  for (int64_t row = 0; row < frames.row_count; ++row, x += frames.x_step) {
    const SpectrumRow<Real> bin = frames.rows[row];
    Real* part = values + bin.position;
    int64_t left = frames.count;
    for (int group = 0; group < groups; ++group, part += apart, left -= L) {
      prefetch<false>(x, kAhead * frames.x_step + group * L);
      const Vec<Real> value = load_values<Real>(x + group * L, left < L ? left : L) * bin.scale;
      store(part, bin.adds ? load(part) + value : value);
    }
  }
}

// The frames of one group, of which there are `count`.
template <typename Real>
void add_samples(const FourierPlan<Real>& plan, const OverlapFrames<Real>& frames, int64_t count, const Real* values,
                 Real* sums) {
  constexpr int L = kLanes<Real>;
  const bool is_packed = plan.spec.is_packed();
  for (int64_t first = 0; first < frames.taps; first += L) {
    Vec<Real> block[L];
    unroll<L>(ONNX_FFT_STEP(i) {
      const ptrdiff_t vector = is_packed ? find_vector<true>(plan, first + i) : find_vector<false>(plan, first + i);
      block[i] = load(values + vector) * frames.window[first + i];
    });
    transpose_samples<Real>(block);
    const int64_t wanted = clamp(frames.taps - first, 0, L);
    for (int64_t lane = 0; lane < count; ++lane) {
      Real* const to = sums + lane * frames.stride + first;
      store_lanes(to, load_lanes(to, 0, wanted) + block[lane], 0, wanted);
    }
  }
}

template <typename Real, typename Storage>
void add_frames(const FourierPlan<Real>& plan, const OverlapFrames<Real>& frames, Real* scratch) {
  constexpr int L = kLanes<Real>;
  const ptrdiff_t apart = values_of(plan) * kPair<Real>;
  const int groups = static_cast<int>((frames.count + L - 1) / L);
  load_spectra<Real, Storage>(frames, groups, apart, scratch);
  for (int group = groups - 1; group >= 0; --group) {
    const int64_t count = clamp(frames.count - group * L, 0, L);
    transform_values(plan, scratch + group * apart);
    add_samples(plan, frames, count, scratch + group * apart, frames.sums + group * L * frames.stride);
  }
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
