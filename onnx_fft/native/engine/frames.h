// Runs a Conv whose weights are a windowed DFT basis: groups of frames, one in each lane, are transformed together, and
// each row of outputs is a part of one bin.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <type_traits>
#include <vector>

#include "engine/fourier.h"
#include "engine/fourier_split.h"
#include "engine/task_scratch.h"
#include "kernels/half.h"
#include "kernels/kernels.h"
#include "planner/basis.h"
#include "planner/frames.h"

namespace onnx_fft {

// A basis as the kernels read it.
template <typename Real>
struct FrameTables {
  std::shared_ptr<const FourierPlan<Real>> dft;
  std::vector<Real> window;        // filled up to a vector more than the DFT has points
  std::vector<BinRow<Real>> rows;  // of all groups

  FrameTables(const WindowedBasis& basis, const FourierEngine& engine)
      : dft(engine.plan_lines<Real>({basis.length, FourierForm::kReal, false, true})),
        window(basis.window.begin(), basis.window.end()) {
    window.resize(static_cast<size_t>(basis.length + dft->lanes));
    for (const BasisRow& row : basis.rows) {
      rows.push_back({(2 * row.bin + row.is_imaginary) * dft->lanes,
                      static_cast<Real>(row.scale * static_cast<double>(dft->scale))});
    }
  }
};

template <typename Real>
class FrameRunner {
 public:
  FrameRunner(const FramesPlan& plan, const FrameTables<Real>& tables, const Kernels<Real>& kernels, ScratchPool& pool)
      : plan_(plan), tables_(tables), kernels_(kernels), pool_(pool), lanes_(tables.dft->lanes) {}

  // Tensors of any element type that is computed in Real.
  template <typename Storage>
  void run(const Storage* x, Storage* y, const Epilogue<Real>& epilogue, const Executor& executor) const {
    const int64_t groups = (plan_.frames + lanes_ - 1) / lanes_;
    const double points = static_cast<double>(plan_.length);
    const double flops = static_cast<double>(plan_.signals * groups * lanes_) * 2.5 * points * std::log2(points);
    TaskScratch scratch(pool_, static_cast<size_t>(transform_reals() + staged_reals()) * sizeof(Real));
    each_range(executor, plan_.signals * groups, count_tasks(flops), [&](int64_t first, int64_t last) {
      const TaskScratch::Use use(scratch);
      for (int64_t group = first; group < last; ++group) {
        run_group(group / groups, group % groups * lanes_, x, y, epilogue, use.as<Real>());
      }
    });
  }

 private:
  int64_t transform_reals() const { return scratch_of(*tables_.dft) * 2 * lanes_; }
  int64_t staged_reals() const { return plan_.taps * lanes_; }

  template <typename Storage>
  void run_group(int64_t signal, int64_t frame, const Storage* x, Storage* y, const Epilogue<Real>& epilogue,
                 Real* scratch) const {
    FourierLines<Real> lines{};
    lines.count = static_cast<int>(std::min(plan_.frames - frame, lanes_));
    lines.layout = LineLayout::kRows;
    lines.available = plan_.taps;
    lines.window = tables_.window.data();
    place(x + signal * plan_.extent, frame * plan_.stride - plan_.pad, lines, scratch + transform_reals());
    const int64_t channel = signal * plan_.rows % static_cast<int64_t>(tables_.rows.size());
    const int64_t at = signal * plan_.rows * plan_.frames + frame;
    const Storage* const residual = static_cast<const Storage*>(epilogue.residual);
    kernels_.frames(*tables_.dft, lines, scratch,
                    {tables_.rows.data() + channel, plan_.rows, y + at, residual != nullptr ? residual + at : nullptr,
                     plan_.frames, channel, &epilogue});
  }

  // Frames are read where they lie, unless they reach beyond the signal, or have to be gathered or widened.
  template <typename Storage>
  void place(const Storage* signal, int64_t begin, FourierLines<Real>& lines, Real* staged) const {
    const int64_t span = plan_.dilation * (plan_.taps - 1) + 1;
    const int64_t end = begin + (lines.count - 1) * plan_.stride + span;
    for (int lane = 0; lane < lanes_; ++lane) {
      const int64_t first = begin + (lane < lines.count ? lane : 0) * plan_.stride;
      if constexpr (std::is_same_v<Real, Storage>) {
        if (plan_.dilation == 1 && begin >= 0 && end <= plan_.extent) {
          lines.in[lane] = signal + first;
          continue;
        }
      }
      lines.in[lane] = staged + lane * plan_.taps;
      for (int64_t tap = 0; tap < plan_.taps; ++tap) {
        const int64_t at = first + tap * plan_.dilation;
        staged[lane * plan_.taps + tap] = at >= 0 && at < plan_.extent ? widen(signal[at]) : Real(0);
      }
    }
  }

  const FramesPlan& plan_;
  const FrameTables<Real>& tables_;
  const Kernels<Real>& kernels_;
  ScratchPool& pool_;
  const int64_t lanes_;
};

}  // namespace onnx_fft
