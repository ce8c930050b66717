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
      const int64_t place = dft->places[static_cast<size_t>(row.bin)];
      rows.push_back({(2 * place + row.is_imaginary) * dft->lanes,
                      static_cast<Real>(row.scale * static_cast<double>(dft->scale))});
    }
  }
};

template <typename Real>
class FrameRunner {
 public:
  FrameRunner(const FramesPlan& plan, const FrameForm& form, const FrameTables<Real>& tables,
              const Kernels<Real>& kernels, ScratchPool& pool)
      : plan_(plan), form_(form), tables_(tables), kernels_(kernels), pool_(pool), lanes_(tables.dft->lanes) {
    const bool is_alike = plan.rows == static_cast<int64_t>(tables.rows.size());  // of all signals
    crosses_ = form.turns || (plan.frames == 1 && is_alike);
    run_ = crosses_ ? plan.signals * plan.frames : plan.frames;
  }

  // Tensors of any element type that is computed in Real.
  template <typename Storage>
  void run(const Storage* x, Storage* y, const Epilogue<Real>& epilogue, const Executor& executor) const {
    const int64_t groups = (run_ + lanes_ - 1) / lanes_, runs = plan_.signals * plan_.frames / run_;
    const double points = static_cast<double>(plan_.length);
    const double flops = static_cast<double>(runs * groups * lanes_) * 2.5 * points * std::log2(points);
    TaskScratch scratch(pool_, static_cast<size_t>(transform_reals() + staged_reals()) * sizeof(Real));
    each_range(executor, runs * groups, count_tasks(flops), [&](int64_t first, int64_t last) {
      const TaskScratch::Use use(scratch);
      for (int64_t group = first; group < last; ++group) {
        const int64_t begin = group % groups * lanes_;
        run_group(group / groups * run_ + begin, std::min(run_ - begin, lanes_), x, y, epilogue, use.as<Real>());
      }
    });
  }

 private:
  int64_t transform_reals() const { return scratch_of(*tables_.dft) * 2 * lanes_; }
  int64_t staged_reals() const { return plan_.taps * lanes_; }

  // Frames are counted through all signals.
  template <typename Storage>
  void run_group(int64_t frame, int64_t count, const Storage* x, Storage* y, const Epilogue<Real>& epilogue,
                 Real* scratch) const {
    FourierLines<Real> lines{};
    lines.count = static_cast<int>(count);
    lines.available = plan_.taps;
    lines.window = tables_.window.data();
    lines.in_step = plan_.tap_step;
    lines.in_ahead = lanes_;
    const bool lie_beside = plan_.tap_step > 1 && std::is_same_v<Real, Storage>;
    lines.layout = lie_beside ? LineLayout::kLanes : LineLayout::kRows;
    for (int lane = 0; lane < lanes_; ++lane) {
      const int64_t at = frame + (lane < count ? lane : 0);
      Real* const staged = scratch + transform_reals() + lane * plan_.taps;
      lines.in[lane] = place(x + at / plan_.frames * plan_.extent * plan_.tap_step, at % plan_.frames, staged);
    }
    const int64_t signal = frame / plan_.frames, outputs = form_.outputs(plan_.rows);
    const int64_t channel = crosses_ ? 0 : signal * plan_.rows % static_cast<int64_t>(tables_.rows.size());
    const int64_t at = crosses_ ? frame * outputs : signal * outputs * plan_.frames + frame % plan_.frames;
    const Storage* const residual = static_cast<const Storage*>(epilogue.residual);
    kernels_.frames(*tables_.dft, lines, scratch,
                    {tables_.rows.data() + channel, outputs, y + at, residual != nullptr ? residual + at : nullptr,
                     crosses_ ? 1 : plan_.frames, crosses_ ? outputs : 1, channel, form_.bins, &epilogue});
  }

  // A frame is read where it lies, unless it reaches beyond the signal, or has to be gathered or widened.
  template <typename Storage>
  const Real* place(const Storage* signal, int64_t frame, Real* staged) const {
    if (plan_.tap_step > 1) return place_channels(signal + frame, staged);
    const int64_t begin = frame * plan_.stride - plan_.pad, span = plan_.dilation * (plan_.taps - 1) + 1;
    if constexpr (std::is_same_v<Real, Storage>) {
      if (plan_.dilation == 1 && begin >= 0 && begin + span <= plan_.extent) return signal + begin;
    }
    for (int64_t tap = 0; tap < plan_.taps; ++tap) {
      const int64_t at = begin + tap * plan_.dilation;
      staged[tap] = at >= 0 && at < plan_.extent ? widen(signal[at]) : Real(0);
    }
    return staged;
  }

  // Frames that lie side by side are read where they do, unless they have to be widened.
  template <typename Storage>
  const Real* place_channels(const Storage* frame, Real* staged) const {
    if constexpr (std::is_same_v<Real, Storage>) {
      return frame;
    } else {
      for (int64_t tap = 0; tap < plan_.taps; ++tap) staged[tap] = widen(frame[tap * plan_.tap_step]);
      return staged;
    }
  }

  const FramesPlan& plan_;
  const FrameForm& form_;
  const FrameTables<Real>& tables_;
  const Kernels<Real>& kernels_;
  ScratchPool& pool_;
  const int64_t lanes_;
  bool crosses_;  // whether lanes run across signals: then the outputs of a frame lie side by side
  int64_t run_;   // frames that groups are cut from
};

}  // namespace onnx_fft
