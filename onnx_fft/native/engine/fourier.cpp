#include "engine/fourier.h"

#include <array>
#include <mutex>
#include <type_traits>
#include <vector>

#include "engine/fourier_run.h"
#include "engine/lru.h"
#include "engine/scratch.h"
#include "engine/shared.h"
#include "kernels/half.h"
#include "kernels/isa.h"

namespace onnx_fft {
namespace {

// A server with open lengths may see any number of them; those of long lines take megabytes.
constexpr size_t kMostPlans = 64, kMostLongPlans = 4;

// length, form, inverse, onesided
using PlanKey = std::array<int64_t, 4>;

template <typename Real>
struct Plans {
  LruCache<PlanKey, std::shared_ptr<const FourierPlan<Real>>> few{kMostPlans}, large{kMostLongPlans};
};

template <typename Real>
const FourierKernels<Real>& kernels_for() {
  if constexpr (std::is_same_v<Real, double>) {
    return kernels().fourier->f64;
  } else {
    return kernels().fourier->f32;
  }
}

template <typename Real>
int64_t lanes_for() {
  return kernels().vector_bytes / static_cast<int64_t>(sizeof(Real));
}

// The chirp is as exact as float64 is.
template <typename Real>
void add_chirp_spectrum(FourierPlan<Real>& plan, ScratchPool& pool) {
  const int64_t padded = plan.dft.points();
  const std::vector<double> kernel = make_chirp_kernel(plan.spec.points(), padded);
  std::vector<double> spectrum(kernel.size());
  const FourierSpec spec{padded, FourierForm::kComplex, false, false};
  const auto transform = plan_fourier<double>(spec, plan.dft.is_long(), lanes_for<double>());
  const FourierLayout layout = lay_out_axis(1, padded, 1, 2);
  FourierRunner<double>(*transform, kernels_for<double>(), pool, layout, nullptr)
      .run(kernel.data(), spectrum.data(), serial_executor());
  plan.chirp_spectrum.assign(spectrum.begin(), spectrum.end());
}

// Whether lines are cut into columns: a group of them would not stay in the second-level cache, or would not fill
// vectors. Chosen by eye on a 2-core AMD EPYC (Zen 3) and a 2-core Intel Xeon (AVX-512), 2026-11.
bool is_long_line(const FourierSpec& spec, const FourierLayout& layout, int64_t lanes, int vector_bytes) {
  constexpr int64_t kLeast = 256, kMostBytes = 400'000, kMostBytesAcross = 1'300'000;
  const int64_t points = spec.points(), lines = layout.outer * layout.inner;
  if (points < kLeast) return false;
  return 2 * lines < lanes || 2 * points * vector_bytes > (layout.inner > 1 ? kMostBytesAcross : kMostBytes);
}

}  // namespace

FourierBytes count_engine_bytes(const FourierSpec& spec, DType dtype, const FourierLayout& layout, int vector_bytes) {
  const int real_bytes = dtype == DType::kFloat64 ? 8 : 4, lanes = vector_bytes / real_bytes;
  const bool is_long = is_long_line(spec, layout, lanes, vector_bytes);
  FourierBytes bytes = count_fourier_bytes(spec, is_long, lanes, real_bytes);
  if (dtype != DType::kFloat16) return bytes;
  const double lines = static_cast<double>(layout.outer) * static_cast<double>(layout.inner);
  const int64_t x = layout.available * spec.in_parts(), y = spec.out_samples() * layout.out_parts(spec);
  bytes.scratch += 4 * lines * static_cast<double>(x + y);  // both are widened; frames that overlap are fewer
  return bytes;
}

struct FourierEngine::State {
  // Of all engines.
  struct Shared {
    std::mutex mutex;
    Plans<float> f32;
    Plans<double> f64;
  };

  std::shared_ptr<ScratchPool> pool = ScratchPool::shared();
  std::shared_ptr<Shared> shared = share<Shared>();

  template <typename Real>
  std::shared_ptr<const FourierPlan<Real>> plan_for(const FourierSpec& spec, bool is_long) const {
    Plans<Real>* plans;
    if constexpr (std::is_same_v<Real, double>) {
      plans = &shared->f64;
    } else {
      plans = &shared->f32;
    }
    auto& cache = is_long ? plans->large : plans->few;
    const PlanKey key{spec.length, static_cast<int64_t>(spec.form), spec.inverse, spec.onesided};
    {
      const std::lock_guard<std::mutex> lock(shared->mutex);
      if (const auto* found = cache.find(key)) return *found;
    }
    const auto made = plan_fourier<Real>(spec, is_long, lanes_for<Real>());  // outside the lock: others need not wait
    if (made->has_chirp()) add_chirp_spectrum(*made, *pool);
    const std::lock_guard<std::mutex> lock(shared->mutex);
    const auto* found = cache.find(key);
    return found != nullptr ? *found : cache.insert(key, made);
  }

  template <typename Real>
  void run(const FourierSpec& spec, const FourierLayout& layout, const Real* x, const Real* window, Real* y,
           const Executor& executor) const {
    const bool is_long = is_long_line(spec, layout, lanes_for<Real>(), kernels().vector_bytes);
    const auto plan = plan_for<Real>(spec, is_long);
    std::vector<Real> factors;  // for each real, and up to a vector more
    if (window != nullptr) {
      const int parts = spec.in_parts();
      factors.resize(static_cast<size_t>(spec.length * parts + plan->lanes));
      for (int64_t i = 0; i < spec.length * parts; ++i) factors[static_cast<size_t>(i)] = window[i / parts];
    }
    const Real* const used = window != nullptr ? factors.data() : nullptr;
    FourierRunner<Real>(*plan, kernels_for<Real>(), *pool, layout, used).run(x, y, executor);
  }

  // Computes in float32.
  void run_half(const FourierSpec& spec, const FourierLayout& layout, const Half* x, int64_t x_count,
                const Half* window, Half* y, const Executor& executor) const {
    constexpr double kFlops = 2;  // an element, roughly
    const int64_t y_count = layout.outer * layout.inner * spec.out_samples() * layout.out_parts(spec);
    const ScratchPool::Lease lease(*pool, static_cast<size_t>(x_count + y_count) * sizeof(float));
    float *const wide_x = lease.as<float>(), *const wide_y = wide_x + x_count;
    each_range(executor, x_count, count_tasks(kFlops * static_cast<double>(x_count)), [&](int64_t i, int64_t last) {
      for (; i < last; ++i) wide_x[i] = widen(x[i]);
    });
    std::vector<float> factors;
    for (int64_t i = 0; window != nullptr && i < spec.length; ++i) factors.push_back(widen(window[i]));
    run<float>(spec, layout, wide_x, window != nullptr ? factors.data() : nullptr, wide_y, executor);
    each_range(executor, y_count, count_tasks(kFlops * static_cast<double>(y_count)), [&](int64_t i, int64_t last) {
      for (; i < last; ++i) narrow(wide_y[i], &y[i]);
    });
  }
};

FourierEngine::FourierEngine() : state_(std::make_unique<State>()) {}
FourierEngine::~FourierEngine() = default;

template <typename Real>
std::shared_ptr<const FourierPlan<Real>> FourierEngine::plan_lines(const FourierSpec& spec) const {
  return state_->plan_for<Real>(spec, false);
}

template std::shared_ptr<const FourierPlan<float>> FourierEngine::plan_lines(const FourierSpec&) const;
template std::shared_ptr<const FourierPlan<double>> FourierEngine::plan_lines(const FourierSpec&) const;

void FourierEngine::run(const FourierSpec& spec, DType dtype, const FourierLayout& layout, const void* x,
                        int64_t x_count, const void* window, void* y, const Executor& executor) const {
  const auto as = [&](auto sample) {
    using Storage = decltype(sample);
    const auto* in = static_cast<const Storage*>(x);
    const auto* factors = static_cast<const Storage*>(window);
    auto* out = static_cast<Storage*>(y);
    if constexpr (std::is_same_v<Storage, Half>) {
      state_->run_half(spec, layout, in, x_count, factors, out, executor);
    } else {
      state_->run<Storage>(spec, layout, in, factors, out, executor);
    }
  };
  if (layout.outer * layout.inner == 0) return;
  if (dtype == DType::kFloat64) return as(double{});
  dtype == DType::kFloat32 ? as(float{}) : as(Half{});
}

}  // namespace onnx_fft
