// The DFT of one long line: its stages, each split into tasks.
#pragma once

#include <algorithm>
#include <cmath>

#include "engine/fourier_split.h"
#include "engine/task_scratch.h"
#include "kernels/fourier.h"

namespace onnx_fft {

template <typename Real>
class LongLine {
 public:
  LongLine(const FourierPlan<Real>& plan, const FourierKernels<Real>& kernels, ScratchPool& pool,
           const Executor& executor)
      : plan_(plan), kernels_(kernels), pool_(pool), executor_(executor) {
    const double points = static_cast<double>(plan.dft.points());
    tasks_ = count_tasks(5 * points * std::log2(points));
  }

  // `reals` of the input are there; both lie one after the other.
  void run(const Real* in, int64_t reals, Real* out) const {
    if (plan_.spec.form == FourierForm::kComplex) return transform({in, reals, false, false}, complex_output(out));
    if (plan_.spec.form == FourierForm::kReal) return run_real(in, reals, out);
    return run_half(in, reals, out);
  }

 private:
  LongOutput<Real> complex_output(Real* out) const {
    return {out, plan_.spec.length, false, false, plan_.scale, plan_.scale};
  }

  void run_real(const Real* in, int64_t reals, Real* out) const {
    const FourierSpec& spec = plan_.spec;
    const Real im_scale = spec.inverse ? -plan_.scale : plan_.scale;
    const LongOutput<Real> bins = {out, spec.out_samples(), false, false, plan_.scale, im_scale};
    if (spec.is_packed()) {
      transform({in, reals, false, false}, {out, spec.points(), false, false, Real(1), Real(1)});
      const LongOutput<Real> half = {out, spec.half_bins(), false, false, plan_.scale, im_scale};
      split(pair_blocks(), [&](int64_t first, int64_t last) { kernels_.separate(plan_, half, first, last); });
    } else {
      transform({in, reals, true, false}, bins);
      return;  // all bins come out, or as many as are wanted
    }
    if (!spec.onesided) mirror(out);
  }

  void run_half(const Real* in, int64_t reals, Real* out) const {
    const FourierSpec& spec = plan_.spec;
    const ScratchPool::Lease lease(pool_, static_cast<size_t>(2 * spec.points()) * sizeof(Real));
    Real* const whole = lease.as<Real>();
    if (spec.is_packed()) {
      split(pair_blocks(),
            [&](int64_t first, int64_t last) { kernels_.join(plan_, {in, reals, false, false}, whole, first, last); });
      const LongOutput<Real> pairs = {out, spec.points(), false, false, plan_.scale, plan_.scale};
      return transform({whole, 2 * spec.points(), false, false}, pairs);
    }
    const int64_t there = std::min(reals, 2 * spec.half_bins());
    std::copy_n(in, there, whole);
    std::fill_n(whole + there, 2 * spec.half_bins() - there, Real(0));
    whole[1] = 0;
    mirror(whole);
    transform({whole, 2 * spec.length, false, false}, {out, spec.length, true, false, plan_.scale, plan_.scale});
  }

  // X[N - k] = conj X[k]
  void mirror(Real* bins) const {
    const int64_t length = plan_.spec.length;
    for (int64_t k = 1; 2 * k < length; ++k) {
      bins[2 * (length - k)] = bins[2 * k];
      bins[2 * (length - k) + 1] = -bins[2 * k + 1];
    }
  }

  // The complex DFT; the inverse one exchanges real and imaginary parts on the way in and out.
  void transform(LongInput<Real> in, LongOutput<Real> out) const {
    in.is_swapped = out.is_swapped = plan_.spec.inverse && plan_.spec.form != FourierForm::kReal;
    if (!plan_.has_chirp()) return four_steps(in, out);
    const int64_t points = plan_.spec.points(), padded = plan_.dft.points();
    const ScratchPool::Lease lease(pool_, static_cast<size_t>(4 * padded) * sizeof(Real));
    Real *const chirped = lease.as<Real>(), *const product = chirped + 2 * padded;
    const auto whole = [&](Real* to, bool swaps) {
      return LongOutput<Real>{to, padded, false, swaps, Real(1), Real(1)};
    };
    multiply(in, plan_.chirp, points, whole(chirped, false));
    four_steps({chirped, 2 * points, false, false}, whole(product, false));
    multiply({product, 2 * padded, false, false}, plan_.chirp_spectrum, padded, whole(product, false));
    four_steps({product, 2 * padded, false, true}, whole(chirped, true));
    multiply({chirped, 2 * padded, false, false}, plan_.chirp, points, out);
  }

  void multiply(const LongInput<Real>& in, const std::vector<Real>& table, int64_t count,
                const LongOutput<Real>& out) const {
    const int64_t lanes = plan_.lanes;
    split((count + lanes - 1) / lanes, [&](int64_t first, int64_t last) {
      kernels_.multiply(in, table.data(), out, first * lanes, std::min(last * lanes, count));
    });
  }

  void four_steps(const LongInput<Real>& in, const LongOutput<Real>& out) const {
    const ComplexDft<Real>& dft = plan_.dft;
    const int64_t lanes = plan_.lanes, blocks = (dft.line.length + lanes - 1) / lanes;
    const size_t vector_pair = static_cast<size_t>(2 * lanes) * sizeof(Real);
    const ScratchPool::Lease lease(pool_, static_cast<size_t>(blocks * dft.rows) * vector_pair);
    Real* const between = lease.as<Real>();
    TaskScratch scratch(pool_, static_cast<size_t>(scratch_of(dft)) * vector_pair);
    split((dft.rows + lanes - 1) / lanes, [&](int64_t first, int64_t last) {
      const TaskScratch::Use use(scratch);
      kernels_.columns(dft, in, first, last, between, use.as<Real>());
    });
    split(blocks, [&](int64_t first, int64_t last) {
      const TaskScratch::Use use(scratch);
      kernels_.rows(dft, between, out, first, last, use.as<Real>());
    });
  }

  int64_t pair_blocks() const {
    return std::max<int64_t>((plan_.spec.points() / 2 + plan_.lanes - 1) / plan_.lanes, 1);
  }

  template <typename Body>
  void split(int64_t count, const Body& body) const {
    each_range(executor_, count, tasks_, body);
  }

  const FourierPlan<Real>& plan_;
  const FourierKernels<Real>& kernels_;
  ScratchPool& pool_;
  const Executor& executor_;
  int64_t tasks_;
};

}  // namespace onnx_fft
