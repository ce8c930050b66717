// Spectra of the weights of a dense plan: a kernel is a tile like any other, its lanes are output channels.
#pragma once

#include <algorithm>

#include "engine/dense_layout.h"
#include "engine/executor.h"
#include "engine/scratch.h"

namespace onnx_fft {

template <typename Real>
class DenseWeights {
 public:
  DenseWeights(const DensePlan& plan, const DenseSpectrumKernels<Real>& kernels, int64_t lanes, ScratchPool& pool)
      : plan_(plan), kernels_(kernels), pool_(pool), spectra_(plan, lanes), L_(lanes) {
    scale_ = 1;
    for (const AxisPlan& axis : plan.axes) {
      taps_ *= axis.kernel;
      scale_ /= static_cast<Real>(axis.length);
    }
  }

  size_t bytes() const { return static_cast<size_t>(plan_.group * spectra_.weight_reals()) * sizeof(Real); }

  // weights [group * out_channels, in_channels, *kernel] -> `spectra`, of `bytes()` bytes.
  void prepare(const Real* weights, Real* spectra, const Executor& executor) const {
    each(executor, plan_.group * spectra_.out_blocks, [&](int64_t task) {
      const int64_t group = task / spectra_.out_blocks, block = task % spectra_.out_blocks;
      DenseSegment kernel = make_segment(block);
      const size_t scratch = static_cast<size_t>(dense_scratch_reals(kernel, L_));
      const size_t tile = static_cast<size_t>(spectra_.pairs.count() * 2 * L_);
      const ScratchPool::Lease lease(pool_, (scratch + tile) * sizeof(Real));
      Real* const packed = lease.template as<Real>();
      for (int64_t k = 0; k < spectra_.inputs; ++k) {
        place_component(k / plan_.in_channels, kernel);
        const int64_t output = group * plan_.out_channels + block * L_;
        const Real* taps = weights + (output * plan_.in_channels + k % plan_.in_channels) * taps_;
        kernels_.transform_weights(kernel, taps, packed + tile, packed, {2 * L_, L_});
        place_spectra(packed, block, k, spectra + group * spectra_.weight_reals());
      }
    });
  }

 private:
  DenseSegment make_segment(int64_t block) const {
    DenseSegment kernel{};
    for (int axis = 0; axis < kMaxRank; ++axis) {
      const AxisPlan& a = plan_.axes[axis];
      kernel.length[axis] = static_cast<int>(a.length);
      kernel.samples[axis] = a.length;
      kernel.extent[axis] = a.kernel;
      kernel.spacing[axis] = a.stride;
    }
    kernel.span = (kernel.length[2] - 1) * kernel.spacing[2] + 1;
    kernel.plane = plan_.in_channels * taps_;
    kernel.channels = static_cast<int>(std::min(L_, plan_.out_channels - block * L_));
    kernel.count = 1;
    return kernel;
  }

  // A component of a stride takes every stride-th tap.
  void place_component(int64_t component, DenseSegment& kernel) const {
    for (int axis = kMaxRank - 1; axis >= 0; --axis) {
      const AxisPlan& a = plan_.axes[axis];
      kernel.origin[axis] = component % a.polyphase * a.polyphase_step;
      component /= a.polyphase;
    }
  }

  // conj(packed) * scale, of input k, in the order that products read it.
  void place_spectra(const Real* packed, int64_t block, int64_t k, Real* spectra) const {
    const int64_t first = k / kDenseChain * kDenseChain, chain = std::min(kDenseChain, spectra_.inputs - first);
    const bool is_gauss = plan_.form == DenseForm::kGauss;
    const int64_t in_pair = (first * spectra_.out_blocks + block * chain + k - first) * 2 * L_;
    const int64_t in_gauss =
        (first * spectra_.out_blocks + block / 2 * 2 * chain) * 3 * L_ + ((k - first) * 2 + block % 2) * L_;
    for (int64_t pair = 0; pair < spectra_.pairs.count(); ++pair, packed += 2 * L_, spectra += spectra_.weights) {
      if (pair >= spectra_.pairs.complex) {
        place(packed, scale_, spectra + in_pair);
      } else if (is_gauss) {
        place_gauss(packed, spectra + in_gauss, chain * 2 * L_);
      } else {
        place(packed, -scale_, spectra + in_pair);
      }
    }
  }

  void place(const Real* packed, Real scale_im, Real* target) const {
    for (int64_t lane = 0; lane < L_; ++lane) {
      target[lane] = packed[lane] * scale_;
      target[L_ + lane] = packed[L_ + lane] * scale_im;
    }
  }

  // re, im - re, re + im: `part` reals apart.
  void place_gauss(const Real* packed, Real* target, int64_t part) const {
    for (int64_t lane = 0; lane < L_; ++lane) {
      const Real re = packed[lane] * scale_, im = packed[L_ + lane] * -scale_;
      target[lane] = re;
      target[part + lane] = im - re;
      target[2 * part + lane] = re + im;
    }
  }

  const DensePlan& plan_;
  const DenseSpectrumKernels<Real>& kernels_;
  ScratchPool& pool_;
  const DenseSpectra spectra_;
  const int64_t L_;
  int64_t taps_ = 1;
  Real scale_;
};

}  // namespace onnx_fft
