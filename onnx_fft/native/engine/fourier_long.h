// The DFT of one long line: its stages, each split into tasks.
#pragma once

#include <algorithm>
#include <cmath>

#include "engine/fourier_split.h"
#include "engine/task_scratch.h"
#include "kernels/fourier.h"

namespace onnx_fft {

// Keeps its memory from line to line.
template <typename Real>
class LongLine {
 public:
  LongLine(const FourierPlan<Real>& plan, const FourierKernels<Real>& kernels, ScratchPool& pool,
           const Executor& executor)
      : plan_(plan),
        kernels_(kernels),
        executor_(executor),
        between_(pool, static_cast<size_t>(count_blocks(plan.dft.line.length) * plan.dft.rows) * vector_pair()),
        whole_(pool, plan.spec.form == FourierForm::kHalf ? complex_bytes(plan.spec.points()) : 0),
        chirped_(pool, plan.has_chirp() ? 2 * complex_bytes(plan.dft.points()) : 0),
        scratch_(pool, static_cast<size_t>(scratch_of(plan.dft)) * vector_pair()) {
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
    Real* const whole = whole_.template as<Real>();
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
    Real *const chirped = chirped_.template as<Real>(), *const product = chirped + 2 * padded;
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
    split(count_blocks(count), [&](int64_t first, int64_t last) {
      kernels_.multiply(in, table.data(), out, first * lanes, std::min(last * lanes, count));
    });
  }

  void four_steps(const LongInput<Real>& in, const LongOutput<Real>& out) const {
    const ComplexDft<Real>& dft = plan_.dft;
    Real* const between = between_.template as<Real>();
    split(count_blocks(dft.rows), [&](int64_t first, int64_t last) {
      const TaskScratch::Use use(scratch_);
      kernels_.columns(dft, in, first, last, between, use.as<Real>());
    });
    split(count_blocks(dft.line.length), [&](int64_t first, int64_t last) {
      const TaskScratch::Use use(scratch_);
      kernels_.rows(dft, between, out, first, last, use.as<Real>());
    });
  }

  // Vectors that hold so many lanes.
  int64_t count_blocks(int64_t count) const { return (count + plan_.lanes - 1) / plan_.lanes; }
  size_t vector_pair() const { return complex_bytes(plan_.lanes); }
  static size_t complex_bytes(int64_t count) { return static_cast<size_t>(2 * count) * sizeof(Real); }

  int64_t pair_blocks() const { return std::max<int64_t>(count_blocks(plan_.spec.points() / 2), 1); }

  template <typename Body>
  void split(int64_t count, const Body& body) const {
    each_range(executor_, count, tasks_, body);
  }

  const FourierPlan<Real>& plan_;
  const FourierKernels<Real>& kernels_;
  const Executor& executor_;
  const ScratchPool::Lease between_, whole_, chirped_;  // between columns and rows; of a half-spectrum; of a chirp
  mutable TaskScratch scratch_;
  int64_t tasks_;
};

}  // namespace onnx_fft
