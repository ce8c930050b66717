// Runs a ConvTranspose whose weights are an inverse windowed DFT basis: groups of frames, one in each lane, are
// transformed together and added where they overlap. A task makes a range of outputs, from all frames that reach it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/executor.h"
#include "engine/fourier.h"
#include "engine/task_scratch.h"
#include "kernels/half.h"
#include "kernels/transposed.h"
#include "planner/basis.h"
#include "planner/overlap.h"
#include "planner/plan.h"

namespace onnx_fft {

// A basis as the kernels read it.
template <typename Real>
struct OverlapTables {
  std::shared_ptr<const FourierPlan<Real>> dft;
  std::vector<Real> window;                 // filled up to a vector more
  std::vector<SpectrumRow<Real>> rows;      // of all groups
  std::vector<std::vector<int64_t>> zeros;  // of each group, the positions that no row sets

  OverlapTables(const WindowedBasis& basis, int64_t groups, const FourierEngine& engine)
      : dft(engine.plan_lines<Real>({basis.length, FourierForm::kHalf, true, true})),
        window(basis.window.begin(), basis.window.end()) {
    window.resize(window.size() + static_cast<size_t>(dft->lanes));
    const size_t rows_each = basis.rows.size() / static_cast<size_t>(groups);
    for (size_t first = 0; first < basis.rows.size(); first += rows_each) add_group(basis, first, first + rows_each);
  }

 private:
  void add_group(const WindowedBasis& basis, size_t first, size_t last) {
    std::vector<bool> is_set(static_cast<size_t>(2 * dft->spec.half_bins()));
    for (size_t i = first; i < last; ++i) {
      const BasisRow& row = basis.rows[i];
      // The inverse DFT reads a bin together with its mirror image, of which these two have none.
      const bool is_alone = row.bin == 0 || 2 * row.bin == basis.length;
      const size_t part = static_cast<size_t>(2 * row.bin + row.is_imaginary);
      rows.push_back(
          {static_cast<int64_t>(part) * dft->lanes, static_cast<Real>(row.scale * (is_alone ? 1 : 0.5)), is_set[part]});
      is_set[part] = true;
    }
    zeros.emplace_back();
    for (size_t part = 0; part < is_set.size(); ++part) {
      if (!is_set[part]) zeros.back().push_back(static_cast<int64_t>(part) * dft->lanes);
    }
  }
};

template <typename Real>
class OverlapRunner {
 public:
  OverlapRunner(const OverlapPlan& plan, const OverlapTables<Real>& tables, const OverlapKernels<Real>& kernels,
                ScratchPool& pool)
      : plan_(plan), tables_(tables), kernels_(kernels), pool_(pool) {}

  // x [signals, rows, frames] -> y [signals, outputs], of any element type that is computed in Real; `bias` [group] or
  // nullptr.
  template <typename Storage>
  void run(const Storage* x, const Real* bias, int64_t group, Storage* y, const Executor& executor) const {
    const int64_t ranges = ceil_divide(plan_.outputs, plan_.range);
    TaskScratch scratch(pool_, static_cast<size_t>(transform_reals() + sum_count()) * sizeof(Real));
    each(executor, plan_.signals * ranges, [&](int64_t task) {
      const int64_t signal = task / ranges, begin = task % ranges * plan_.range;
      const int64_t end = std::min(begin + plan_.range, plan_.outputs);
      const TaskScratch::Use use(scratch);
      Real* const sums = use.as<Real>() + transform_reals();
      const Real offset = bias != nullptr ? bias[signal % group] : Real(0);
      std::fill_n(sums, sum_count(), offset);
      add_frames(signal, x + signal * plan_.rows * plan_.frames, plan_.first + begin, plan_.first + end, sums,
                 use.as<Real>());
      Storage* const outputs = y + signal * plan_.outputs;
      for (int64_t i = begin; i < end; ++i) narrow(sums[plan_.taps - 1 + i - begin], outputs + i);
    });
  }

 private:
  int64_t transform_reals() const { return scratch_of_groups(*tables_.dft) * 2 * tables_.dft->lanes; }
  // Frames reach beyond both ends of the range.
  int64_t sum_count() const { return plan_.range + 2 * (plan_.taps - 1); }

  // All frames that reach samples [begin, end); the first of these is number taps - 1 of the sums.
  template <typename Storage>
  void add_frames(int64_t signal, const Storage* x, int64_t begin, int64_t end, Real* sums, Real* scratch) const {
    const int64_t first = begin < plan_.taps ? 0 : (begin - plan_.taps) / plan_.stride + 1;
    const int64_t last = std::min(plan_.frames, (end - 1) / plan_.stride + 1);
    OverlapFrames<Real> frames{};
    const size_t group = static_cast<size_t>(signal) % tables_.zeros.size();
    frames.rows = tables_.rows.data() + static_cast<int64_t>(group) * plan_.rows;
    frames.row_count = plan_.rows;
    frames.zeros = tables_.zeros[group].data();
    frames.zero_count = static_cast<int64_t>(tables_.zeros[group].size());
    frames.x_step = plan_.frames;
    frames.window = tables_.window.data();
    frames.taps = plan_.taps;
    frames.stride = plan_.stride;
    const int64_t together = kFrameGroups * tables_.dft->lanes;
    for (int64_t frame = first; frame < last; frame += together) {
      frames.count = std::min(last - frame, together);
      frames.x = x + frame;
      frames.sums = sums + plan_.taps - 1 + frame * plan_.stride - begin;
      kernels_.add(*tables_.dft, frames, scratch);
    }
  }

  const OverlapPlan& plan_;
  const OverlapTables<Real>& tables_;
  const OverlapKernels<Real>& kernels_;
  ScratchPool& pool_;
};

}  // namespace onnx_fft
