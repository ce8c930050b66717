// The DFTs of many lines as tasks: of short ones in groups, one in each lane; of long ones one by one.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/fourier.h"
#include "engine/fourier_long.h"

namespace onnx_fft {

template <typename Real>
class FourierRunner {
 public:
  FourierRunner(const FourierPlan<Real>& plan, const FourierKernels<Real>& kernels, ScratchPool& pool,
                const FourierLayout& layout, const Real* window)
      : plan_(plan), spec_(plan.spec), kernels_(kernels), pool_(pool), layout_(layout), window_(window) {
    available_ = std::min(layout.available, spec_.in_samples());
    // Lines that lie side by side fill vectors, unless they are too few.
    across_ = layout.inner > 1 && 2 * layout.inner >= plan.lanes;
    groups_in_ = across_ ? (layout.inner + plan.lanes - 1) / plan.lanes : 1;
  }

  void run(const Real* x, Real* y, const Executor& executor) const {
    plan_.dft.is_long() ? run_long(x, y, executor) : run_groups(x, y, executor);
  }

 private:
  int64_t line_count() const { return layout_.outer * layout_.inner; }

  const Real* input(const Real* x, int64_t outer, int64_t inner) const {
    return input(x, outer / layout_.near_count, outer % layout_.near_count, inner);
  }

  const Real* input(const Real* x, int64_t far, int64_t near, int64_t inner) const {
    return x + far * layout_.far + near * layout_.near + inner * spec_.in_parts();
  }

  Real* output(Real* y, int64_t outer, int64_t inner) const {
    return y + (outer * spec_.out_samples() * layout_.inner + inner) * layout_.out_parts(spec_);
  }

  double line_flops() const {
    const double points = static_cast<double>(plan_.dft.points());
    return (5 * points * std::log2(points) + 8 * points) * (plan_.has_chirp() ? 2 : 1);
  }

  void run_groups(const Real* x, Real* y, const Executor& executor) const {
    const int64_t lanes = plan_.lanes;
    const int64_t groups = across_ ? layout_.outer * groups_in_ : (line_count() + lanes - 1) / lanes;
    const size_t bytes = static_cast<size_t>(scratch_of(plan_) * 2 * lanes) * sizeof(Real);
    TaskScratch scratch(pool_, bytes);
    const double flops = line_flops() * static_cast<double>(groups * lanes);
    each_range(executor, groups, count_tasks(flops), [&](int64_t first, int64_t last) {
      const TaskScratch::Use use(scratch);
      FourierLines<Real> lines = common_lines();
      for (int64_t group = first; group < last; ++group) {
        place(group, x, y, lines);
        kernels_.transform(plan_, lines, use.as<Real>());
      }
    });
  }

  FourierLines<Real> common_lines() const {
    FourierLines<Real> lines{};
    lines.layout = layout_.inner == 1 ? LineLayout::kRows : across_ ? LineLayout::kLanes : LineLayout::kScattered;
    lines.in_step = layout_.inner * spec_.in_parts();
    lines.out_step = layout_.inner * spec_.out_parts();
    lines.available = available_;
    lines.window = window_;
    lines.form = layout_.form;
    return lines;
  }

  void place(int64_t group, const Real* x, Real* y, FourierLines<Real>& lines) const {
    const int64_t lanes = plan_.lanes;
    const int64_t first_inner = group % groups_in_ * lanes, first_line = group * lanes;
    const int64_t left = across_ ? layout_.inner - first_inner : line_count() - first_line;
    lines.count = static_cast<int>(std::min(left, lanes));
    int64_t outer = across_ ? group / groups_in_ : first_line / layout_.inner;
    int64_t inner = across_ ? first_inner : first_line % layout_.inner;
    int64_t far = outer / layout_.near_count, near = outer % layout_.near_count;
    for (int lane = 0; lane < lines.count; ++lane) {  // without a division for each: short lines would wait for it
      lines.in[lane] = input(x, far, near, inner);
      lines.out[lane] = output(y, outer, inner);
      if (++inner < layout_.inner) continue;
      inner = 0;
      ++outer;
      if (++near == layout_.near_count) near = 0, ++far;
    }
    for (int lane = lines.count; lane < lanes; ++lane) {
      lines.in[lane] = lines.in[0];
      lines.out[lane] = lines.out[0];
    }
    lines.in_ahead = input(x, far, near, inner) - lines.in[0];
    lines.out_ahead = output(y, outer, inner) - lines.out[0];
  }

  void run_long(const Real* x, Real* y, const Executor& executor) const {
    constexpr int64_t kFew = 4, kMostTasks = 32;  // lines that share all threads; ranges of more lines
    const int64_t lines = line_count();
    if (lines < kFew) {
      const LongLine<Real> runner(plan_, kernels_, pool_, executor);
      for (int64_t line = 0; line < lines; ++line) run_line(runner, line, x, y);
      return;
    }
    each_range(executor, lines, kMostTasks, [&](int64_t first, int64_t last) {
      const Executor serial = serial_executor();
      const LongLine<Real> runner(plan_, kernels_, pool_, serial);
      for (int64_t line = first; line < last; ++line) run_line(runner, line, x, y);
    });
  }

  void run_line(const LongLine<Real>& runner, int64_t line, const Real* x, Real* y) const {
    const int64_t outer = line / layout_.inner, inner = line % layout_.inner;
    const int64_t reals = available_ * spec_.in_parts(), out_reals = spec_.out_samples() * spec_.out_parts();
    const Real* in = input(x, outer, inner);
    Real* out = output(y, outer, inner);
    const bool joins = layout_.form != BinForm::kParts, scatters = layout_.inner > 1 || joins;
    if (!scatters && window_ == nullptr) return runner.run(in, reals, out);
    const ScratchPool::Lease lease(pool_, static_cast<size_t>(reals + (scatters ? out_reals : 0)) * sizeof(Real));
    Real *const packed = lease.as<Real>(), *const unpacked = packed + reals;
    const int parts = spec_.in_parts(), out_parts = spec_.out_parts();
    for (int64_t i = 0; i < reals; ++i) {
      packed[i] = in[i / parts * layout_.inner * parts + i % parts] * (window_ != nullptr ? window_[i] : Real(1));
    }
    runner.run(packed, reals, scatters ? unpacked : out);
    if (joins) return join_bins(unpacked, out);
    for (int64_t i = 0; scatters && i < out_reals; ++i) {
      out[i / out_parts * layout_.inner * out_parts + i % out_parts] = unpacked[i];
    }
  }

  void join_bins(const Real* bins, Real* out) const {
    for (int64_t k = 0; k < spec_.out_samples(); ++k) {
      const Real power = bins[2 * k] * bins[2 * k] + bins[2 * k + 1] * bins[2 * k + 1];
      out[k] = layout_.form == BinForm::kMagnitude ? std::sqrt(power) : power;
    }
  }

  const FourierPlan<Real>& plan_;
  const FourierSpec& spec_;
  const FourierKernels<Real>& kernels_;
  ScratchPool& pool_;
  const FourierLayout& layout_;
  const Real* window_;
  int64_t available_, groups_in_;
  bool across_;
};

}  // namespace onnx_fft
