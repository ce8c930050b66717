// A tile that is convolved as it is, tap by tap: for short kernels that costs less than transforms.
#pragma once

#include "kernels/kernels.h"
#include "kernels/vector.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

// Outputs summed at once: enough to hide the latency of a sum, and to read each tap once for all of them. Arm reads
// samples by instructions of their own, for which more sums leave more time.
#if defined(__aarch64__)
constexpr int kMaxOutputs = 16;
#else
constexpr int kMaxOutputs = 8;
#endif

// Scratch memory of one tile: a vector a sample, in rows.
template <typename Real>
class DirectTile {
 public:
  DirectTile(const TilePlan& plan, Real* scratch) : plan_(plan), samples_(scratch) {
    stride_[2] = kLanes<Real>;
    for (int axis = 1; axis >= 0; --axis) stride_[axis] = stride_[axis + 1] * plan.length[axis + 1];
  }

  // Rows outside the input are read like any other.
  bool skips_rows() const { return false; }
  void clear_rows() {}
  void mark_row(int64_t) {}

  Real* sample(int64_t position) const { return samples_ + position * kLanes<Real>; }

  // y[t] = sum_k w[k] x[t + k spacing]. Each output takes the place of its first sample, which is not needed
  // again: the outputs that follow begin further on.
  void convolve(const int64_t* outputs, Factor<Real> taps) const {
    for (int64_t t0 = 0; t0 < outputs[0]; ++t0) {
      for (int64_t t1 = 0; t1 < outputs[1]; ++t1) {
        Real* row = samples_ + t0 * stride_[0] + t1 * stride_[1];
        taps.lane < 0 ? sum_row<kMaxOutputs, false>(row, outputs[2], taps)
                      : sum_row<kMaxOutputs, true>(row, outputs[2], taps);
      }
    }
  }

 private:
  template <int N, bool Shared>
  void sum_row(Real* row, int64_t count, Factor<Real> taps) const {
    for (; count >= N; count -= N, row += N * kLanes<Real>) sum<N, Shared>(row, taps);
    if constexpr (N > 1) sum_row<N / 2, Shared>(row, count, taps);
  }

  template <int N, bool Shared>
  void sum(Real* target, Factor<Real> taps) const {
    Vec<Real> sums[N] = {};
    const Real* tap = taps.values + (Shared ? taps.lane : 0);
    for (int64_t k0 = 0; k0 < plan_.taps[0]; ++k0) {
      for (int64_t k1 = 0; k1 < plan_.taps[1]; ++k1) {
        const Real* x = target + k0 * plan_.spacing[0] * stride_[0] + k1 * plan_.spacing[1] * stride_[1];
        for (int64_t k2 = 0; k2 < plan_.taps[2]; ++k2, x += plan_.spacing[2] * kLanes<Real>, tap += kLanes<Real>) {
          const Vec<Real> w = Shared ? broadcast(*tap) : load(tap);
          ONNX_FFT_UNROLL
          for (int n = 0; n < N; ++n) sums[n] += w * load(x + n * kLanes<Real>);
        }
      }
    }
    ONNX_FFT_UNROLL
    for (int n = 0; n < N; ++n) store(target + n * kLanes<Real>, sums[n]);
  }

  const TilePlan& plan_;
  Real* samples_;
  int64_t stride_[kMaxRank];
};

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
