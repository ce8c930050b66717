#include "engine/convolution.h"

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "engine/dense.h"
#include "engine/run.h"
#include "engine/scratch.h"
#include "kernels/half.h"
#include "kernels/isa.h"

namespace onnx_fft {
namespace {

// A model runs on few shapes, but a server with open lengths may see any number of them.
constexpr size_t kMostPlans = 64, kMostSpectra = 4;

std::string describe(const int64_t* values, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += (i ? "x" : "") + std::to_string(values[i]);
  return text;
}

// As the vectors of kernels/frame.h do it: a NaN stays one, and of contradictory bounds the greatest value wins.
template <typename T>
T apply(const Activation& a, T x) {
  switch (a.kind) {
    case ActivationKind::kRelu: return x < 0 ? 0 : x;
    case ActivationKind::kLeakyRelu: return x < 0 ? T(a.alpha) * x : x;
    case ActivationKind::kClip: {
      const T raised = x < T(a.alpha) ? T(a.alpha) : x;
      return raised > T(a.beta) ? T(a.beta) : raised;
    }
    case ActivationKind::kHardSigmoid: {
      const T line = T(a.alpha) * x + T(a.beta);
      return line < 0 ? 0 : line > 1 ? 1 : line;
    }
    case ActivationKind::kNone: break;
  }
  return x;
}

template <typename Real, typename Storage>
void activate_all(const Activation& activation, Storage* y, size_t count) {
  for (size_t i = 0; i < count; ++i) narrow(apply(activation, static_cast<Real>(widen(y[i]))), y + i);
}

int lanes_of(DType dtype) { return kernels().vector_bytes / (dtype == DType::kFloat64 ? 8 : 4); }

int64_t product_of(const int64_t* values, int count) {
  int64_t product = 1;
  for (int i = 0; i < count; ++i) product *= values[i];
  return product;
}

}  // namespace

void activate(const Activation& activation, DType dtype, void* y, size_t count) {
  if (activation.kind == ActivationKind::kNone) return;
  switch (dtype) {
    case DType::kFloat16: return activate_all<float>(activation, static_cast<Half*>(y), count);
    case DType::kFloat32: return activate_all<float>(activation, static_cast<float*>(y), count);
    case DType::kFloat64: return activate_all<double>(activation, static_cast<double*>(y), count);
  }
}

// Spectra of the weights for one tile; reals of the computing type.
using Spectra = std::shared_ptr<const Block>;

struct Convolution::State {
  using SpectraKey = std::array<int64_t, 2 * kMaxRank + 2>;  // lengths, split dilations, lanes, direct or not

  ConvAttributes attributes;
  DType dtype;
  int64_t out_channels, in_channels;  // in_channels of a group
  const void* constant_weights;
  std::shared_ptr<ScratchPool> pool = ScratchPool::shared();
  std::mutex mutex;
  std::map<std::vector<int64_t>, std::shared_ptr<const ConvPlan>> plans;
  std::map<SpectraKey, Spectra> spectra;

  int64_t weight_count() const { return out_channels * in_channels * product_of(attributes.kernel, attributes.rank); }

  void check_shape(const int64_t* x_shape) const {
    if (x_shape[1] == in_channels * attributes.group) return;
    throw std::invalid_argument("got an input of " + std::to_string(x_shape[1]) + " channels, " +
                                describe(x_shape, attributes.rank + 2) + "; the weights take " +
                                std::to_string(in_channels * attributes.group) + " in " +
                                std::to_string(attributes.group) + " group(s)");
  }

  void output_shape(const int64_t* x_shape, int64_t* y_shape) const {
    check_shape(x_shape);
    const ConvAttributes known = resolve_padding(attributes, x_shape + 2);
    y_shape[0] = x_shape[0];
    y_shape[1] = out_channels;
    for (int a = 0; a < known.rank; ++a) {
      const int64_t span = known.span(a), room = x_shape[2 + a] + known.pads_begin[a] + known.pads_end[a] - span;
      if (room < 0) {
        throw std::invalid_argument(
            "got an input of " + describe(x_shape, attributes.rank + 2) + ", whose axis " + std::to_string(2 + a) +
            " with its padding is shorter than the kernel, which spans " + std::to_string(span));
      }
      y_shape[2 + a] = room / known.strides[a] + 1;
    }
  }

  std::shared_ptr<const ConvPlan> plan_for(const int64_t* x_shape) {
    std::vector<int64_t> shape(x_shape, x_shape + attributes.rank + 2);
    const std::lock_guard<std::mutex> lock(mutex);
    const auto found = plans.find(shape);
    if (found != plans.end()) return found->second;
    int64_t y_shape[kMaxRank + 2];
    output_shape(x_shape, y_shape);
    if (plans.size() >= kMostPlans) plans.clear();
    return plans[shape] = std::make_shared<const ConvPlan>(plan_convolution(
               resolve_padding(attributes, x_shape + 2), x_shape, y_shape, in_channels, out_channels, lanes_of(dtype)));
  }

  template <typename Real>
  Runner<Real> runner(const ConvPlan& plan) const {
    const KernelTable& table = kernels();
    if constexpr (std::is_same_v<Real, double>) {
      return {plan, table.f64, table.f64_spectra, table.vector_bytes, *pool};
    } else {
      const Kernels<float>& chosen = dtype == DType::kFloat16 ? table.f16 : table.f32;
      return {plan, chosen, table.f32_spectra, table.vector_bytes, *pool};
    }
  }

  template <typename Real>
  DenseRunner<Real> dense_runner(const DensePlan& plan) const {
    const DenseTable& table = *kernels().dense;
    if constexpr (std::is_same_v<Real, double>) {
      return {plan, table.f64, table.f64_spectra, lanes_of(dtype), *pool};
    } else {
      return {plan, dtype == DType::kFloat16 ? table.f16 : table.f32, table.f32_spectra, lanes_of(dtype), *pool};
    }
  }

  // The array in the type it is computed with: itself, or widened into `storage`.
  template <typename Real>
  const Real* widened(const void* values, int64_t count, std::vector<Real>& storage) const {
    if (values == nullptr || dtype != DType::kFloat16) return static_cast<const Real*>(values);
    const Half* halves = static_cast<const Half*>(values);
    storage.resize(static_cast<size_t>(count));
    std::transform(halves, halves + count, storage.begin(), [](Half half) { return widen(half); });
    return storage.data();
  }

  template <typename Real>
  Spectra make_spectra(const ConvPlan& plan, const void* weights, const Executor& executor) const {
    std::vector<Real> storage;
    const auto prepare = [&](const auto& runs) {
      auto block = std::make_shared<Block>(allocate_block(runs.weights().bytes()));
      runs.weights().prepare(widened(weights, weight_count(), storage), static_cast<Real*>(block->memory.get()),
                             executor);
      return block;
    };
    return plan.dense ? prepare(dense_runner<Real>(*plan.dense)) : prepare(runner<Real>(plan));
  }

  // The constant weights' spectra. They are made under the lock, so that they are made once.
  template <typename Real>
  Spectra constant_spectra(const ConvPlan& plan) {
    SpectraKey key{};
    key.back() = plan.direct;
    const AxisPlan* axes = plan.dense ? plan.dense->axes : plan.axes;
    for (int a = 0; a < (plan.direct ? 0 : kMaxRank); ++a) {
      key[static_cast<size_t>(a)] = axes[a].length;
      key[static_cast<size_t>(kMaxRank + a)] = axes[a].split_dilation;
    }
    if (!plan.direct) key[2 * kMaxRank] = static_cast<int64_t>(plan.lanes);
    if (plan.dense) key[2 * kMaxRank] = 2 + static_cast<int64_t>(plan.dense->form);
    const std::lock_guard<std::mutex> lock(mutex);
    const auto found = spectra.find(key);
    if (found != spectra.end()) return found->second;
    if (spectra.size() >= kMostSpectra) spectra.clear();
    return spectra[key] = make_spectra<Real>(plan, constant_weights, serial_executor());
  }

  template <typename Real>
  void run(const void* x, const ConvPlan& plan, const void* w, const void* bias, void* y, const Executor& executor) {
    std::vector<Real> storage;
    const Spectra chosen =
        constant_weights != nullptr ? constant_spectra<Real>(plan) : make_spectra<Real>(plan, w, executor);
    const auto run_by = [&](const auto& runs) {
      runs.run(x, static_cast<const Real*>(chosen->memory.get()), widened(bias, out_channels, storage), y,
               element_bytes(dtype), attributes.activation, executor);
    };
    plan.dense ? run_by(dense_runner<Real>(*plan.dense)) : run_by(runner<Real>(plan));
  }
};

Convolution::Convolution(const ConvAttributes& attributes, DType dtype, int64_t out_channels,
                         int64_t in_channels_per_group, const void* constant_weights)
    : state_(new State{attributes,
                       dtype,
                       out_channels,
                       in_channels_per_group,
                       constant_weights,
                       ScratchPool::shared(),
                       {},
                       {},
                       {}}) {
  if (out_channels % attributes.group != 0) {
    throw std::invalid_argument("got " + std::to_string(out_channels) + " output channels in " +
                                std::to_string(attributes.group) + " groups; expected a multiple");
  }
}

Convolution::~Convolution() = default;

void Convolution::output_shape(const int64_t* x_shape, int64_t* y_shape) const {
  state_->output_shape(x_shape, y_shape);
}

void Convolution::prepare(const int64_t* x_shape) const {
  if (state_->constant_weights == nullptr || product_of(x_shape, state_->attributes.rank + 2) == 0) return;
  const std::shared_ptr<const ConvPlan> plan = state_->plan_for(x_shape);
  state_->dtype == DType::kFloat64 ? state_->constant_spectra<double>(*plan) : state_->constant_spectra<float>(*plan);
}

bool Convolution::prefers_im2col(const int64_t* x_shape) const {
  if (product_of(x_shape, state_->attributes.rank + 2) == 0) return false;
  const std::shared_ptr<const ConvPlan> plan = state_->plan_for(x_shape);
  return im2col_seconds(*plan) < plan->seconds;
}

void Convolution::run(const void* x, const int64_t* x_shape, const void* w, const void* bias, void* y,
                      const Executor& executor) const {
  State& state = *state_;
  int64_t y_shape[kMaxRank + 2];
  state.output_shape(x_shape, y_shape);
  const int64_t count = product_of(y_shape, state.attributes.rank + 2);
  if (count == 0) return;
  // An empty input may be null, and addresses are computed from it, although nothing is read.
  if (product_of(x_shape, state.attributes.rank + 2) == 0) x = w != nullptr ? w : state.constant_weights;
  const std::shared_ptr<const ConvPlan> plan = state.plan_for(x_shape);
  state.dtype == DType::kFloat64 ? state.run<double>(x, *plan, w, bias, y, executor)
                                 : state.run<float>(x, *plan, w, bias, y, executor);
}

}  // namespace onnx_fft
