// Runs a dense plan. With many tiles, every task takes a block of them through all three stages (DFTs, products,
// inverse DFTs), and its spectra never leave the second-level cache: outputs of pair i take the place of the inputs of
// pair i - 1. With few tiles and heavy weights, all threads share one block: its stages are split into tasks of their
// own, so that each weight is read once.
#pragma once

#include <algorithm>

#include "engine/dense_layout.h"
#include "engine/dense_segments.h"
#include "engine/dense_weights.h"
#include "engine/executor.h"
#include "engine/scratch.h"
#include "kernels/kernels.h"

namespace onnx_fft {

template <typename Real>
class DenseRunner {
 public:
  DenseRunner(const DensePlan& plan, const DenseKernels<Real>& kernels,
              const DenseSpectrumKernels<Real>& spectrum_kernels, int64_t lanes, ScratchPool& pool)
      : plan_(plan),
        kernels_(kernels),
        spectrum_kernels_(spectrum_kernels),
        pool_(pool),
        spectra_(plan, lanes),
        segments_(plan, spectra_),
        weights_(plan, spectrum_kernels, lanes, pool) {}

  const DenseWeights<Real>& weights() const { return weights_; }

  void run(const void* x, const Real* spectra, void* y, size_t itemsize, const Epilogue<Real>& epilogue,
           const Executor& executor) const {
    const Call call{x, y, spectra, static_cast<int64_t>(itemsize), epilogue, executor};
    const int64_t blocks = ceil_divide(plan_.lines() * plan_.line_tiles(), plan_.block), count = segments_.count();
    if (!plan_.is_shared) {
      return each(executor, plan_.group * blocks, [&](int64_t task) {
        const int64_t block = task % blocks;
        run_block(call, task / blocks, count * block / blocks, count * (block + 1) / blocks);
      });
    }
    for (int64_t group = 0; group < plan_.group; ++group) {
      for (int64_t block = 0; block < blocks; ++block) {
        run_shared(call, group, count * block / blocks, count * (block + 1) / blocks);
      }
    }
  }

 private:
  struct Call {
    const void* x;
    void* y;
    const Real* spectra;
    int64_t itemsize;
    const Epilogue<Real>& epilogue;
    const Executor& executor;
  };

  static constexpr int64_t kCacheLine = 64 / sizeof(Real);

  // Segments [first, last) of one group, by one thread.
  void run_block(const Call& call, int64_t group, int64_t first, int64_t last) const {
    const int64_t tiles = segments_.first_tile(last) - segments_.first_tile(first);
    if (tiles == 0) return;
    const int64_t pairs = spectra_.pairs.count(),
                  stride = spectra_.stride(tiles, std::max(spectra_.in_row(), spectra_.out_row()), kCacheLine);
    const int64_t product = dense_product_reals(tiles, spectra_.lanes);
    const int64_t reals = (pairs + 1) * stride + product + segments_.scratch_reals();
    const ScratchPool::Lease lease(pool_, static_cast<size_t>(reals) * sizeof(Real));
    Real* const outputs = lease.template as<Real>();
    Real *const inputs = outputs + stride, *const scratch = outputs + (pairs + 1) * stride;
    for (int64_t segment = first; segment < last; ++segment) {
      for (int64_t block = spectra_.in_blocks; block-- > 0;) {
        transform(call, group, segment, first, block, inputs, stride, scratch + product);
      }
    }
    for (int64_t pair = 0; pair < pairs; ++pair) {
      multiply(call, group, pair, tiles, inputs + pair * stride, outputs + pair * stride, scratch);
    }
    for (int64_t segment = first; segment < last; ++segment) {
      for (int64_t block = 0; block < spectra_.out_blocks; ++block) {
        restore(call, group, segment, first, block, outputs, stride, scratch + product);
      }
    }
  }

  // The same, by all threads.
  void run_shared(const Call& call, int64_t group, int64_t first, int64_t last) const {
    const int64_t tiles = segments_.first_tile(last) - segments_.first_tile(first);
    if (tiles == 0) return;
    const int64_t pairs = spectra_.pairs.count();
    const int64_t in_stride = spectra_.stride(tiles, spectra_.in_row(), kCacheLine),
                  out_stride = spectra_.stride(tiles, spectra_.out_row(), kCacheLine);
    const ScratchPool::Lease lease(pool_, static_cast<size_t>(pairs * (in_stride + out_stride)) * sizeof(Real));
    Real* const inputs = lease.template as<Real>();
    Real* const outputs = inputs + pairs * in_stride;
    const size_t scratch_bytes = static_cast<size_t>(segments_.scratch_reals()) * sizeof(Real);
    const bool are_apart = plan_.polyphase == 1 || plan_.in_channels % spectra_.lanes == 0;
    const int64_t parts = are_apart ? spectra_.in_blocks : 1, blocks = spectra_.in_blocks / parts;
    each(call.executor, (last - first) * parts, [&](int64_t task) {
      const ScratchPool::Lease scratch(pool_, scratch_bytes);
      for (int64_t block = blocks; block-- > 0;) {
        transform(call, group, first + task / parts, first, task % parts * blocks + block, inputs, in_stride,
                  scratch.template as<Real>());
      }
    });
    const int64_t tasks = std::min<int64_t>(pairs, kSharedTasks);
    each(call.executor, tasks, [&](int64_t task) {
      const size_t bytes = static_cast<size_t>(dense_product_reals(tiles, spectra_.lanes)) * sizeof(Real);
      const ScratchPool::Lease scratch(pool_, bytes);
      for (int64_t pair = pairs * task / tasks; pair < pairs * (task + 1) / tasks; ++pair) {
        multiply(call, group, pair, tiles, inputs + pair * in_stride, outputs + pair * out_stride,
                 scratch.template as<Real>());
      }
    });
    each(call.executor, (last - first) * spectra_.out_blocks, [&](int64_t task) {
      const ScratchPool::Lease scratch(pool_, scratch_bytes);
      restore(call, group, first + task / spectra_.out_blocks, first, task % spectra_.out_blocks, outputs, out_stride,
              scratch.template as<Real>());
    });
  }

  // One block of channels of a segment. The last block of a polyphase component may reach over the first channels of
  // the next component, so a segment's blocks are done from the last to the first.
  void transform(const Call& call, int64_t group, int64_t segment, int64_t first, int64_t block, Real* inputs,
                 int64_t stride, Real* scratch) const {
    const int64_t tile = segments_.first_tile(segment) - segments_.first_tile(first);
    segments_.each_input(segment, tile, group, block, [&](const DenseSegment& s, int64_t offset) {
      const char* x = static_cast<const char*>(call.x) + offset * call.itemsize;
      kernels_.forward(s, x, scratch, inputs, {stride, spectra_.to_im});
    });
  }

  void multiply(const Call& call, int64_t group, int64_t pair, int64_t tiles, const Real* inputs, Real* outputs,
                Real* scratch) const {
    const DenseForm form = pair < spectra_.pairs.complex ? plan_.form : DenseForm::kReal;
    const Real* weights = call.spectra + group * spectra_.weight_reals() + pair * spectra_.weights;
    spectrum_kernels_.multiply({form, inputs, spectra_.in_row(), spectra_.to_im, weights, outputs, spectra_.out_row(),
                                tiles, spectra_.inputs, spectra_.out_blocks, scratch});
  }

  void restore(const Call& call, int64_t group, int64_t segment, int64_t first, int64_t block, const Real* outputs,
               int64_t stride, Real* scratch) const {
    const int64_t tile = segments_.first_tile(segment) - segments_.first_tile(first);
    int64_t offset = 0;
    const DenseSegment s = segments_.output(segment, tile, group, block, &offset);
    offset *= call.itemsize;
    const char* residual = static_cast<const char*>(call.epilogue.residual);
    kernels_.inverse(s, outputs, {stride, spectra_.lanes}, scratch, static_cast<char*>(call.y) + offset,
                     {call.epilogue, group * plan_.out_channels + block * spectra_.lanes,
                      residual != nullptr ? residual + offset : nullptr});
  }

  static constexpr int64_t kSharedTasks = 64;

  const DensePlan& plan_;
  const DenseKernels<Real>& kernels_;
  const DenseSpectrumKernels<Real>& spectrum_kernels_;
  ScratchPool& pool_;
  const DenseSpectra spectra_;
  const DenseSegments segments_;
  const DenseWeights<Real> weights_;
};

}  // namespace onnx_fft
