#include "engine/convolution.h"

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "engine/dense.h"
#include "engine/frames.h"
#include "engine/join.h"
#include "engine/lru.h"
#include "engine/machine.h"
#include "engine/run.h"
#include "engine/scratch.h"
#include "engine/spectra.h"
#include "engine/threads.h"
#include "kernels/half.h"
#include "kernels/isa.h"
#include "planner/choice.h"

namespace onnx_fft {
namespace {

// A model runs on few shapes, but a server with open lengths may see any number of them.
constexpr size_t kMostShapes = 64, kMostSpectra = 4;

// Spectra of fewer bytes are made faster than threads are started.
constexpr size_t kThreadedBytes = 1 << 20;

int lanes_of(DType dtype) { return kernels().vector_bytes / (dtype == DType::kFloat64 ? 8 : 4); }

}  // namespace

struct Convolution::State {
  ConvAttributes attributes;
  DType dtype;
  int64_t out_channels, in_channels;  // in_channels of a group
  const void* constant_weights;
  FrameForm form;
  std::shared_ptr<ScratchPool> pool = ScratchPool::shared();
  std::shared_ptr<const FrameTables<float>> f32_frames{};  // if the weights are a DFT basis
  std::shared_ptr<const FrameTables<double>> f64_frames{};
  SpectraCache spectra{kMostSpectra};
  std::mutex mutex{};  // of executions
  LruCache<std::vector<int64_t>, std::shared_ptr<const Execution>> executions{kMostShapes};
  std::unique_ptr<const Convolution> sums{};  // of rows that are joined, if frames do not give them

  int64_t weight_count() const {
    return out_channels * in_channels * count_elements(attributes.kernel, attributes.rank);
  }

  // Recognizes constant weights.
  void find_basis() {
    if (constant_weights == nullptr || !may_be_basis(attributes, out_channels, in_channels)) return;
    const auto find = [&](const auto* weights) {
      const std::vector<double> values(weights, weights + weight_count());
      return recognize_basis(values.data(), out_channels, weight_count() / out_channels, dtype);
    };
    std::vector<float> storage;
    const FourierEngine engine;
    if (dtype == DType::kFloat64) {
      if (const auto basis = find(static_cast<const double*>(constant_weights)))
        f64_frames = std::make_shared<const FrameTables<double>>(*basis, engine);
    } else if (const auto basis = find(widened<float>(constant_weights, weight_count(), storage))) {
      f32_frames = std::make_shared<const FrameTables<float>>(*basis, engine);
    }
  }

  int64_t basis_length() const {
    return f32_frames ? f32_frames->dft->spec.length : f64_frames ? f64_frames->dft->spec.length : 0;
  }

  void check_shape(const int64_t* x_shape) const {
    if (x_shape[1] == in_channels * attributes.group) return;
    throw std::invalid_argument("got an input of " + std::to_string(x_shape[1]) + " channels, " +
                                join_lengths(x_shape, attributes.rank + 2) + "; the weights take " +
                                std::to_string(in_channels * attributes.group) + " in " +
                                std::to_string(attributes.group) + " group(s)");
  }

  std::vector<int64_t> output_shape(const ConvAttributes& known, const int64_t* x_shape) const {
    check_shape(x_shape);
    std::vector<int64_t> y_shape{x_shape[0], out_channels};
    for (int a = 0; a < known.rank; ++a) {
      const int64_t span = known.span(a), room = x_shape[2 + a] + known.pads_begin[a] + known.pads_end[a] - span;
      if (room < 0) {
        throw std::invalid_argument(
            "got an input of " + join_lengths(x_shape, attributes.rank + 2) + ", whose axis " + std::to_string(2 + a) +
            " with its padding is shorter than the kernel, which spans " + std::to_string(span));
      }
      y_shape.push_back(room / known.strides[a] + 1);
    }
    return y_shape;
  }

  std::shared_ptr<const Execution> decide(const int64_t* x_shape) const {
    const ConvAttributes known = resolve_padding(attributes, x_shape + 2);
    auto execution = std::make_shared<Execution>();
    execution->y_shape = output_shape(known, x_shape);
    execution->outputs = count_elements(execution->y_shape.data(), attributes.rank + 2);
    if (sums != nullptr) return decide_sums(x_shape, std::move(execution));
    if (!form.is_plain()) return decide_frames(known, x_shape, std::move(execution));
    if (execution->outputs == 0) return execution;
    const Choice choice = choose_execution(known, x_shape, execution->y_shape.data(), in_channels, out_channels,
                                           basis_length(), lanes_of(dtype), machine_rates());
    execution->plan = std::make_shared<const ConvPlan>(choice.plan);
    execution->prefers_ort_conv = count_elements(x_shape, attributes.rank + 2) > 0 && choice.prefers_ort_conv();
    return execution;
  }

  // Of bins that become one number each, or of turned outputs.
  std::shared_ptr<const Execution> decide_frames(const ConvAttributes& known, const int64_t* x_shape,
                                                 std::shared_ptr<Execution> execution) const {
    ConvPlan plan;
    plan.frames =
        plan_frames(known, x_shape, execution->y_shape.data(), basis_length(), lanes_of(dtype), machine_rates());
    execution->plan = std::make_shared<const ConvPlan>(std::move(plan));
    join_shape(*execution);
    return execution;
  }

  std::shared_ptr<const Execution> decide_sums(const int64_t* x_shape, std::shared_ptr<Execution> execution) const {
    execution->sums = sums->execution_for(x_shape);
    join_shape(*execution);
    return execution;
  }

  // From that of the rows.
  void join_shape(Execution& execution) const {
    execution.outputs = execution.outputs / out_channels * form.outputs(out_channels);
    execution.y_shape[1] = form.outputs(out_channels);
    if (form.turns) std::swap(execution.y_shape[1], execution.y_shape[2]);
  }

  void prepare_form() {
    if (form.is_plain()) return;
    if (attributes.rank != 1 || (form.joins() && out_channels % 2 != 0)) {
      throw std::invalid_argument("got weights of " + std::to_string(out_channels) + " rows and " +
                                  std::to_string(attributes.rank) +
                                  " axes; expected a real and an imaginary row for each bin, of one axis");
    }
    if (basis_length() > 0 && in_channels * attributes.group == 1) return;
    sums = std::make_unique<const Convolution>(attributes, dtype, out_channels, in_channels, constant_weights);
  }

  void run_sums(const Execution& execution, const void* x, const void* w, const EpilogueOperands& operands, void* y,
                const Executor& executor) const {
    const Execution& inner = *execution.sums;
    const ScratchPool::Lease rows(*pool, static_cast<size_t>(inner.outputs) * element_bytes(dtype));
    sums->run(inner, x, w, operands, rows.as<char>(), executor);
    const auto join = [&](auto element) {
      using Storage = decltype(element);
      join_rows(form, inner.y_shape[0], out_channels, inner.y_shape[2], rows.as<const Storage>(),
                static_cast<Storage*>(y), executor);
    };
    if (dtype == DType::kFloat64) return join(double{});
    dtype == DType::kFloat32 ? join(float{}) : join(Half{});
  }

  std::shared_ptr<const Execution> execution_for(const int64_t* x_shape) {
    const std::vector<int64_t> shape(x_shape, x_shape + attributes.rank + 2);
    {
      const std::lock_guard<std::mutex> lock(mutex);
      if (const auto* found = executions.find(shape)) return *found;
    }
    std::shared_ptr<const Execution> decided = decide(x_shape);  // outside the lock: other shapes need not wait
    const std::lock_guard<std::mutex> lock(mutex);
    const auto* found = executions.find(shape);
    return found != nullptr ? *found : executions.insert(shape, std::move(decided));
  }

  template <typename Real>
  const Kernels<Real>& kernels_for() const {
    if constexpr (std::is_same_v<Real, double>) {
      return kernels().f64;
    } else {
      return dtype == DType::kFloat16 ? kernels().f16 : kernels().f32;
    }
  }

  template <typename Real>
  Runner<Real> runner(const ConvPlan& plan) const {
    if (plan.tile == nullptr) {
      throw std::invalid_argument(
          "got taps, strides or zeros so far apart that transforms would take gigabytes; expected smaller dilations, "
          "strides or pads");
    }
    const KernelTable& table = kernels();
    if constexpr (std::is_same_v<Real, double>) {
      return {plan, table.f64, table.f64_spectra, table.vector_bytes, *pool};
    } else {
      return {plan, kernels_for<Real>(), table.f32_spectra, table.vector_bytes, *pool};
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

  template <typename Real>
  Spectra constant_spectra(const ConvPlan& plan, const Executor& executor) {
    return spectra.get(spectra_key(plan), [&] { return make_spectra<Real>(plan, constant_weights, executor); });
  }

  template <typename Real>
  size_t spectra_bytes(const ConvPlan& plan) const {
    return plan.dense ? dense_runner<Real>(*plan.dense).weights().bytes() : runner<Real>(plan).weights().bytes();
  }

  // While a session loads, it has no threads to lend.
  template <typename Real>
  void prepare(const ConvPlan& plan) {
    const bool is_large = spectra_bytes<Real>(plan) > kThreadedBytes;
    constant_spectra<Real>(plan, is_large ? own_threads() : serial_executor());
  }

  template <typename Real>
  void run(const void* x, const ConvPlan& plan, const void* w, const EpilogueOperands& operands, void* y,
           const Executor& executor) {
    if (plan.frames != nullptr) return run_frames<Real>(*plan.frames, x, operands, y, executor);
    const Spectra chosen =
        constant_weights != nullptr ? constant_spectra<Real>(plan, executor) : make_spectra<Real>(plan, w, executor);
    const ChannelValues<Real> values(*this, operands);
    const auto run_by = [&](const auto& runs) {
      runs.run(x, static_cast<const Real*>(chosen->memory.get()), y, element_bytes(dtype), values.epilogue, executor);
    };
    plan.dense ? run_by(dense_runner<Real>(*plan.dense)) : run_by(runner<Real>(plan));
  }

  template <typename Real>
  void run_frames(const FramesPlan& plan, const void* x, const EpilogueOperands& operands, void* y,
                  const Executor& executor) const {
    const ChannelValues<Real> values(*this, operands);
    const auto run_on = [&](const auto& tables, const auto* signals, auto* outputs) {
      FrameRunner(plan, form, *tables, kernels_for<Real>(), *pool).run(signals, outputs, values.epilogue, executor);
    };
    if constexpr (std::is_same_v<Real, double>) {
      run_on(f64_frames, static_cast<const double*>(x), static_cast<double*>(y));
    } else if (dtype == DType::kFloat16) {
      run_on(f32_frames, static_cast<const Half*>(x), static_cast<Half*>(y));
    } else {
      run_on(f32_frames, static_cast<const float*>(x), static_cast<float*>(y));
    }
  }

  // The epilogue, its values a channel in the computing type.
  template <typename Real>
  struct ChannelValues {
    std::vector<Real> storage[4];
    Epilogue<Real> epilogue;

    ChannelValues(const State& state, const EpilogueOperands& operands) {
      const auto convert = [&](const double* from, std::vector<Real>& to) -> const Real* {
        if (from != nullptr) to.assign(from, from + state.out_channels);
        return from != nullptr ? to.data() : nullptr;
      };
      epilogue.activation = state.attributes.activation;
      epilogue.bias = state.widened(operands.bias, state.out_channels, storage[0]);
      epilogue.residual = operands.residual;
      epilogue.slope = convert(operands.slope, storage[1]);
      epilogue.scale = convert(operands.scale, storage[2]);
      epilogue.shift = convert(operands.shift, storage[3]);
    }
  };

  // `finish` of Convolution. A task takes several planes, or a part of one.
  template <typename Real>
  void finish(const int64_t* y_shape, const EpilogueOperands& operands, void* y, const Executor& executor) const {
    constexpr int64_t kChunk = 1 << 14;  // elements; a task of some microseconds
    const ChannelValues<Real> values(*this, operands);
    const int64_t planes = y_shape[0] * out_channels, plane = count_elements(y_shape + 2, attributes.rank);
    const int64_t together = std::max<int64_t>(1, kChunk / plane), parts = ceil_divide(plane, kChunk);
    each(executor, ceil_divide(planes, together) * parts, [&](int64_t task) {
      const int64_t block = task / parts * together, first = task % parts * kChunk;
      for (int64_t number = block; number < std::min(planes, block + together); ++number) {
        const int64_t offset = (number * plane + first) * static_cast<int64_t>(element_bytes(dtype));
        const char* residual = static_cast<const char*>(operands.residual);
        kernels_for<Real>().finish(values.epilogue, number % out_channels, static_cast<char*>(y) + offset,
                                   residual == nullptr ? nullptr : residual + offset, std::min(kChunk, plane - first));
      }
    });
  }
};

Convolution::Convolution(const ConvAttributes& attributes, DType dtype, int64_t out_channels,
                         int64_t in_channels_per_group, const void* constant_weights)
    : Convolution(attributes, dtype, out_channels, in_channels_per_group, constant_weights, {}) {}

Convolution::Convolution(const ConvAttributes& attributes, DType dtype, int64_t out_channels,
                         int64_t in_channels_per_group, const void* constant_weights, const FrameForm& form)
    : state_(new State{attributes, dtype, out_channels, in_channels_per_group, constant_weights, form}) {
  if (out_channels % attributes.group != 0) {
    throw std::invalid_argument("got " + std::to_string(out_channels) + " output channels in " +
                                std::to_string(attributes.group) + " groups; expected a multiple");
  }
  state_->find_basis();
  state_->prepare_form();
}

Convolution::~Convolution() = default;

std::shared_ptr<const Execution> Convolution::execution_for(const int64_t* x_shape) const {
  return state_->execution_for(x_shape);
}

void Convolution::prepare(const Execution& execution) const {
  if (execution.sums != nullptr) return state_->sums->prepare(*execution.sums);
  if (state_->constant_weights == nullptr || execution.plan == nullptr || execution.plan->frames != nullptr) return;
  state_->dtype == DType::kFloat64 ? state_->prepare<double>(*execution.plan) : state_->prepare<float>(*execution.plan);
}

void Convolution::run(const Execution& execution, const void* x, const void* w, const EpilogueOperands& operands,
                      void* y, const Executor& executor) const {
  if (execution.sums != nullptr) return state_->run_sums(execution, x, w, operands, y, executor);
  if (execution.plan == nullptr) return;
  State& state = *state_;
  // An empty input may be null, and addresses are computed from it, although nothing is read.
  if (x == nullptr) x = w != nullptr ? w : state.constant_weights;
  state.dtype == DType::kFloat64 ? state.run<double>(x, *execution.plan, w, operands, y, executor)
                                 : state.run<float>(x, *execution.plan, w, operands, y, executor);
}

void Convolution::finish(const int64_t* y_shape, const EpilogueOperands& operands, void* y,
                         const Executor& executor) const {
  const State& state = *state_;
  const bool does_nothing = state.attributes.activation.kind == ActivationKind::kNone && operands.bias == nullptr &&
                            operands.residual == nullptr && operands.scale == nullptr;
  if (does_nothing) return;
  state.dtype == DType::kFloat64 ? state.finish<double>(y_shape, operands, y, executor)
                                 : state.finish<float>(y_shape, operands, y, executor);
}

}  // namespace onnx_fft
