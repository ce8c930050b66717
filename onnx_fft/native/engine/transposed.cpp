#include "engine/transposed.h"

#include <mutex>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "engine/interleave.h"
#include "engine/lru.h"
#include "engine/machine.h"
#include "engine/overlap.h"
#include "engine/scratch.h"
#include "kernels/isa.h"
#include "planner/choice.h"

namespace onnx_fft {
namespace {

constexpr size_t kMostShapes = 64;

// Calls `body` with an element of the type.
template <typename Body>
void with_element(DType dtype, const Body& body) {
  if (dtype == DType::kFloat64) return body(double{});
  dtype == DType::kFloat32 ? body(float{}) : body(Half{});
}

template <typename Element>
using Computed = decltype(widen(Element{}));

}  // namespace

struct TransposedConvolution::State {
  TransposedAttributes attributes;
  DType dtype;
  int64_t in_channels, outputs;  // outputs of a group
  const void* constant_weights;
  std::shared_ptr<ScratchPool> pool = ScratchPool::shared();
  std::shared_ptr<const OverlapTables<float>> f32_tables{};  // if the weights are a DFT basis
  std::shared_ptr<const OverlapTables<double>> f64_tables{};
  std::mutex mutex{};  // of executions
  LruCache<std::vector<int64_t>, std::shared_ptr<const TransposedExecution>> executions{kMostShapes};
  std::once_flag once{};
  std::vector<char> arranged{};  // constant weights of the equal convolution
  std::unique_ptr<const Convolution> convolution{};

  int64_t out_channels() const { return outputs * attributes.conv.group; }
  int64_t inputs() const { return in_channels / attributes.conv.group; }

  size_t arranged_bytes() const {
    return static_cast<size_t>(count_weights(attributes, out_channels(), inputs())) * element_bytes(dtype);
  }

  // Recognizes constant weights.
  void find_basis() {
    if (constant_weights == nullptr || !may_be_basis(attributes.conv, in_channels, outputs)) return;
    const FourierEngine engine;
    with_element(dtype, [&](auto element) {
      const auto* weights = static_cast<const decltype(element)*>(constant_weights);
      const int64_t taps = count_elements(attributes.conv.kernel, attributes.conv.rank);
      std::vector<double> values;
      for (int64_t i = 0; i < in_channels * taps; ++i) values.push_back(widen(weights[i]));
      const auto basis = recognize_basis(values.data(), in_channels, taps, dtype);
      if (basis == nullptr) return;
      if (dtype == DType::kFloat64) {
        f64_tables = std::make_shared<const OverlapTables<double>>(*basis, attributes.conv.group, engine);
      } else {
        f32_tables = std::make_shared<const OverlapTables<float>>(*basis, attributes.conv.group, engine);
      }
    });
  }

  int64_t basis_length() const {
    return f32_tables ? f32_tables->dft->spec.length : f64_tables ? f64_tables->dft->spec.length : 0;
  }

  std::shared_ptr<const TransposedExecution> decide(const int64_t* x_shape) const {
    const int rank = attributes.conv.rank;
    if (x_shape[1] != in_channels) {
      throw std::invalid_argument("got an input of " + std::to_string(x_shape[1]) + " channels, " +
                                  join_lengths(x_shape, rank + 2) + "; the weights take " +
                                  std::to_string(in_channels));
    }
    auto execution = std::make_shared<TransposedExecution>();
    execution->y_shape = transposed_shape(attributes, x_shape, out_channels());
    execution->outputs = count_elements(execution->y_shape.data(), rank + 2);
    if (execution->outputs == 0) return execution;
    const int lanes = kernels().vector_bytes / (dtype == DType::kFloat64 ? 8 : 4);
    const TransposedChoice choice = choose_transposed(attributes, x_shape, execution->y_shape.data(), inputs(),
                                                      out_channels(), basis_length(), lanes, machine_rates());
    execution->overlap = choice.overlap;
    execution->prefers_ort = choice.prefers_ort_conv();
    if (choice.overlap != nullptr || choice.plan.tile == nullptr) return execution;
    execution->equal.plan = std::make_shared<const ConvPlan>(choice.plan);
    execution->equal.y_shape = equal_shape(attributes, execution->y_shape.data());
    execution->equal.outputs = count_elements(execution->equal.y_shape.data(), rank + 2);
    return execution;
  }

  std::shared_ptr<const TransposedExecution> execution_for(const int64_t* x_shape) {
    const std::vector<int64_t> shape(x_shape, x_shape + attributes.conv.rank + 2);
    {
      const std::lock_guard<std::mutex> lock(mutex);
      if (const auto* found = executions.find(shape)) return *found;
    }
    auto decided = decide(x_shape);  // outside the lock: other shapes need not wait
    const std::lock_guard<std::mutex> lock(mutex);
    const auto* found = executions.find(shape);
    return found != nullptr ? *found : executions.insert(shape, std::move(decided));
  }

  void arrange(const void* w, void* to, const Executor& executor) const {
    with_element(dtype, [&](auto element) {
      using Element = decltype(element);
      arrange_weights(attributes, in_channels, outputs, static_cast<const Element*>(w), static_cast<Element*>(to),
                      executor);
    });
  }

  // The equal convolution, whose weights are arranged when they are first needed.
  const Convolution& equal() {
    std::call_once(once, [&] {
      if (constant_weights != nullptr) {
        arranged.resize(arranged_bytes());
        arrange(constant_weights, arranged.data(), serial_executor());
      }
      convolution =
          std::make_unique<const Convolution>(equal_conv(attributes), dtype, out_channels() * attributes.residues(),
                                              inputs(), constant_weights != nullptr ? arranged.data() : nullptr);
    });
    return *convolution;
  }

  // The bias of each residue, which is that of its channel.
  std::vector<char> repeat_bias(const void* bias) const {
    std::vector<char> repeated;
    const size_t size = element_bytes(dtype);
    for (int64_t channel = 0; bias != nullptr && channel < out_channels(); ++channel) {
      const char* const from = static_cast<const char*>(bias) + static_cast<size_t>(channel) * size;
      for (int64_t i = 0; i < attributes.residues(); ++i) repeated.insert(repeated.end(), from, from + size);
    }
    return repeated;
  }

  void run_equal(const TransposedExecution& execution, const void* x, const void* w, const void* bias, void* y,
                 const Executor& executor) {
    if (execution.equal.plan == nullptr) {
      throw std::invalid_argument(
          "got taps or strides so far apart that transforms would take gigabytes; expected "
          "smaller dilations or strides");
    }
    const size_t size = element_bytes(dtype);
    const bool interleaves = attributes.residues() > 1;
    const ScratchPool::Lease weights(*pool, constant_weights == nullptr ? arranged_bytes() : 1);
    if (constant_weights == nullptr) arrange(w, weights.as<char>(), executor);
    const ScratchPool::Lease residues(*pool, interleaves ? static_cast<size_t>(execution.equal.outputs) * size : 1);
    const std::vector<char> repeated = repeat_bias(bias);
    EpilogueOperands operands;
    operands.bias = bias != nullptr ? repeated.data() : nullptr;
    equal().run(execution.equal, x, weights.as<char>(), operands, interleaves ? residues.as<char>() : y, executor);
    if (!interleaves) return;
    const size_t kind = size == 2 ? 0 : size == 4 ? 1 : 2;
    Interleaver(attributes, execution.y_shape.data(), execution.equal.y_shape.data(), size)
        .run(kernels().transposed->interleave[kind], residues.as<char>(), y, executor);
  }

  template <typename Element>
  void run_overlap(const OverlapPlan& plan, const void* x, const void* bias, void* y, const Executor& executor) const {
    using Real = Computed<Element>;
    std::vector<Real> offsets;
    for (int64_t i = 0; bias != nullptr && i < out_channels(); ++i) {
      offsets.push_back(widen(static_cast<const Element*>(bias)[i]));
    }
    const auto run_with = [&](const auto& tables, const auto& kernels) {
      OverlapRunner<Real>(plan, tables, kernels, *pool)
          .run(static_cast<const Element*>(x), bias != nullptr ? offsets.data() : nullptr, out_channels(),
               static_cast<Element*>(y), executor);
    };
    const TransposedTable& table = *kernels().transposed;
    if constexpr (std::is_same_v<Element, double>) {
      run_with(*f64_tables, table.f64);
    } else {
      run_with(*f32_tables, std::is_same_v<Element, float> ? table.f32 : table.f16);
    }
  }
};

TransposedConvolution::TransposedConvolution(const TransposedAttributes& attributes, DType dtype, int64_t in_channels,
                                             int64_t out_channels_per_group, const void* constant_weights)
    : state_(new State{attributes, dtype, in_channels, out_channels_per_group, constant_weights}) {
  if (in_channels % attributes.conv.group != 0) {
    throw std::invalid_argument("got " + std::to_string(in_channels) + " input channels in " +
                                std::to_string(attributes.conv.group) + " groups; expected a multiple");
  }
  state_->find_basis();
}

TransposedConvolution::~TransposedConvolution() = default;

std::shared_ptr<const TransposedExecution> TransposedConvolution::execution_for(const int64_t* x_shape) const {
  return state_->execution_for(x_shape);
}

void TransposedConvolution::prepare(const TransposedExecution& execution) const {
  if (state_->constant_weights != nullptr && execution.equal.plan != nullptr) {
    state_->equal().prepare(execution.equal);
  }
}

void TransposedConvolution::run(const TransposedExecution& execution, const void* x, const void* w, const void* bias,
                                void* y, const Executor& executor) const {
  if (execution.outputs == 0) return;
  if (execution.overlap == nullptr) return state_->run_equal(execution, x, w, bias, y, executor);
  with_element(state_->dtype,
               [&](auto element) { state_->run_overlap<decltype(element)>(*execution.overlap, x, bias, y, executor); });
}

}  // namespace onnx_fft
