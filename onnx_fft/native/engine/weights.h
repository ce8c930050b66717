// Weights in the form that products take them: their spectra, conjugated and scaled, or the taps as they are.
#pragma once

#include <algorithm>

#include "engine/executor.h"
#include "engine/scratch.h"
#include "engine/task_scratch.h"
#include "kernels/kernels.h"
#include "planner/plan.h"

namespace onnx_fft {

template <typename Real>
class Weights {
 public:
  Weights(const ConvPlan& plan, const SpectrumKernels<Real>& spectra, int lanes, ScratchPool& pool)
      : plan_(plan),
        tile_(*plan.tile),
        spectra_(spectra),
        pool_(pool),
        L_(lanes),
        pair_(2 * L_),
        K_(plan.in_channels * plan.polyphase) {}

  size_t bytes() const {
    const int64_t reals = plan_.is_elementwise() ? ceil_divide(plan_.group, L_) * block_reals()
                                                 : static_cast<int64_t>(tile_.bins) * stride();
    return static_cast<size_t>(reals) * sizeof(Real);
  }

  // weights [group * out_channels, in_channels, *kernel] -> `spectra`, of `bytes()` bytes, in the layout of run.h.
  void prepare(const Real* weights, Real* spectra, const Executor& executor) const {
    const int64_t outputs = plan_.group * plan_.out_channels;
    TaskScratch scratch(pool_, scratch_bytes<Real>(tile_, L_));
    if (plan_.is_elementwise()) {
      return each(executor, ceil_divide(plan_.group, L_), [&](int64_t block) {
        Real* target = spectra + block * block_reals();
        if (plan_.direct) return copy_taps(weights, block, target);
        transform_tile(scratch, weights, target, pair_, [&](int lane) { return KernelPart{block * L_ + lane, 0}; });
      });
    }
    if (plan_.lanes == Lanes::kTiles) {
      const int64_t blocks = ceil_divide(K_, L_);
      return each(executor, outputs * blocks, [&](int64_t task) {
        transform_tile(scratch, weights, spectra + task * pair_, stride(),
                       [&](int lane) { return KernelPart{task / blocks, task % blocks * L_ + lane}; });
      });
    }
    each(executor, plan_.group * out_blocks() * K_, [&](int64_t task) {
      const int64_t group = task / K_ / out_blocks(), block = task / K_ % out_blocks();
      transform_tile(scratch, weights, spectra + task * pair_, stride(), [&](int lane) {
        const int64_t o = block * L_ + lane;
        return KernelPart{o < plan_.out_channels ? group * plan_.out_channels + o : outputs, task % K_};
      });
    });
  }

  // Reals of an elementwise plan's weights, for a block of groups.
  int64_t block_reals() const { return plan_.direct ? tap_count() * L_ : static_cast<int64_t>(tile_.bins) * pair_; }

  int64_t out_blocks() const { return ceil_divide(plan_.out_channels, L_); }

  // Reals from one bin to the next, if bins are matrix products.
  int64_t stride() const {
    return pair_ * plan_.group *
           (plan_.lanes == Lanes::kChannels ? out_blocks() * K_ : plan_.out_channels * ceil_divide(K_, L_));
  }

 private:
  // One polyphase component of a kernel: output channel, and k = in_channel * polyphase + component.
  struct KernelPart {
    int64_t output, k;
  };

  int64_t tap_count() const { return plan_.axes[0].kernel * plan_.axes[1].kernel * plan_.axes[2].kernel; }

  template <typename PartOf>
  void transform_tile(TaskScratch& scratch, const Real* weights, Real* spectra, int64_t stride,
                      const PartOf& part_of) const {
    const TaskScratch::Use use(scratch);
    Real* tile = use.template as<Real>();
    std::fill_n(tile, tile_.bins * static_cast<size_t>(pair_), Real(0));
    for (int lane = 0; lane < L_; ++lane) {
      const KernelPart part = part_of(lane);
      if (part.output < plan_.group * plan_.out_channels && part.k < K_) place_kernel(weights, part, tile + lane);
    }
    double points = 4;  // forward DFTs give twice the spectrum, of inputs and of weights
    for (const int64_t length : tile_.length) points *= static_cast<double>(length);
    spectra_.transform_weights(tile_, static_cast<Real>(1 / points), tile, spectra, stride);
  }

  // [tap] vectors of a block of groups.
  void copy_taps(const Real* weights, int64_t block, Real* taps) const {
    std::fill_n(taps, block_reals(), Real(0));
    for (int64_t lane = 0; lane < std::min(L_, plan_.group - block * L_); ++lane) {
      const Real* w = weights + (block * L_ + lane) * tap_count();
      for (int64_t tap = 0; tap < tap_count(); ++tap) taps[tap * L_ + lane] = w[tap];
    }
  }

  // Sample of axis `axis` that kernel element k falls on, -1 if it belongs to another component. A kernel longer than
  // the tile wraps around, as the circular sum it takes part in does.
  int64_t sample_of(int axis, int64_t k, int64_t component) const {
    const AxisPlan& a = plan_.axes[axis];
    if (a.split_dilation) return k % a.length;
    const int64_t offset = k * a.dilation - component * a.polyphase_step;
    return offset < 0 || offset % a.stride != 0 ? -1 : offset / a.stride % a.length;
  }

  void place_kernel(const Real* weights, const KernelPart& part, Real* lane) const {
    const AxisPlan* a = plan_.axes;
    const int64_t component = part.k % plan_.polyphase;
    const int64_t p2 = component % a[2].polyphase, p1 = component / a[2].polyphase % a[1].polyphase,
                  p0 = component / a[2].polyphase / a[1].polyphase;
    const Real* w = weights + (part.output * plan_.in_channels + part.k / plan_.polyphase) * tap_count();
    for (int64_t k0 = 0; k0 < a[0].kernel; ++k0) {
      for (int64_t k1 = 0; k1 < a[1].kernel; ++k1) {
        for (int64_t k2 = 0; k2 < a[2].kernel; ++k2, ++w) {
          const int64_t s0 = sample_of(0, k0, p0), s1 = sample_of(1, k1, p1), s2 = sample_of(2, k2, p2);
          if (s0 < 0 || s1 < 0 || s2 < 0) continue;
          lane[int64_t{tile_.position[0][s0] + tile_.position[1][s1] + tile_.position[2][s2]} * L_] += *w;
        }
      }
    }
  }

  const ConvPlan& plan_;
  const TilePlan& tile_;
  const SpectrumKernels<Real>& spectra_;
  ScratchPool& pool_;
  const int64_t L_, pair_, K_;
};

}  // namespace onnx_fft
