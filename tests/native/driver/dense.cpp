// Compares the dense engine with the sum by its definition, in double: ways to cut small convolutions, drawn from all
// that there are, whatever the planner would choose. Arguments: number of convolutions, seed. Prints what failed, and
// exits with 1 if anything did, or with 2 if this CPU lacks the instruction set that ONNX_FFT_ISA asks for.
#include "engine/dense.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "draws.h"
#include "engine/machine.h"
#include "kernels/half.h"
#include "kernels/isa.h"
#include "threads.h"

namespace {

using namespace onnx_fft;

// Axes as the planner makes them: without their tiles.
struct Case {
  ConvPlan conv;
  AxisPlan axes[kMaxRank];

  int64_t samples() const { return axes[0].extent * axes[1].extent * axes[2].extent; }
  int64_t outputs() const { return axes[0].outputs * axes[1].outputs * axes[2].outputs; }
  int64_t taps() const { return axes[0].kernel * axes[1].kernel * axes[2].kernel; }
};

// An axis of a Conv with a stride or a dilation, and pads that may crop.
AxisPlan draw_axis(Random& random, int64_t longest, bool is_last) {
  AxisPlan axis;
  axis.kernel = pick(random, is_last ? 2 : 1, is_last ? 11 : 7);
  const int64_t kind = pick(random, 0, 3);
  axis.stride = kind == 1 ? pick(random, 2, 3) : 1;
  axis.dilation = kind == 2 ? pick(random, 2, 5) : 1;
  axis.split_dilation = axis.dilation > 1;
  const int64_t span = axis.dilation * (axis.kernel - 1) + 1;
  axis.pad = pick(random, -2, span);
  axis.extent = pick(random, 1, longest);
  const int64_t room = std::max(span, axis.extent + axis.pad + pick(random, -2, span));
  axis.outputs = (room - span) / axis.stride + 1;
  axis.residues = axis.split_dilation ? std::min(axis.dilation, axis.outputs) : 1;
  axis.taps = axis.split_dilation ? axis.kernel : ceil_divide(span, axis.stride);
  axis.polyphase = axis.stride > 1 ? std::min(axis.stride, span) : 1;
  return axis;
}

Case draw_case(Random& random) {
  Case c;
  const int64_t rank = pick(random, 1, 3);
  constexpr int64_t kLongest[] = {150, 40, 20};
  for (int64_t axis = kMaxRank - rank; axis < kMaxRank; ++axis) {
    c.axes[axis] = draw_axis(random, kLongest[rank - 1], axis == kMaxRank - 1);
  }
  c.conv.batch = pick(random, 1, 2);
  c.conv.group = pick(random, 1, 3);
  c.conv.in_channels = pick(random, 1, 20);
  c.conv.out_channels = pick(random, 2, 20);
  return c;
}

// The sums of one output channel of one image, with the root of the sum of their squared terms.
struct Plane {
  std::vector<double> sums, sizes;
};

void add_input(const Case& c, const double* x, const double* w, Plane& plane) {
  const AxisPlan* a = c.axes;
  for (int64_t output = 0; output < c.outputs(); ++output) {
    const int64_t t[] = {output / a[2].outputs / a[1].outputs, output / a[2].outputs % a[1].outputs,
                         output % a[2].outputs};
    for (int64_t tap = 0; tap < c.taps(); ++tap) {
      const int64_t k[] = {tap / a[2].kernel / a[1].kernel, tap / a[2].kernel % a[1].kernel, tap % a[2].kernel};
      int64_t sample = 0;
      bool is_inside = true;
      for (int axis = 0; axis < kMaxRank; ++axis) {
        const int64_t j = t[axis] * a[axis].stride + k[axis] * a[axis].dilation - a[axis].pad;
        is_inside = is_inside && j >= 0 && j < a[axis].extent;
        sample = sample * a[axis].extent + j;
      }
      if (!is_inside) continue;
      const double term = x[sample] * w[tap];
      plane.sums[static_cast<size_t>(output)] += term;
      plane.sizes[static_cast<size_t>(output)] += term * term;
    }
  }
}

// Sums and squares of all outputs, by the definition.
Plane expect(const Case& c, const std::vector<double>& x, const std::vector<double>& w,
             const std::vector<double>& bias) {
  const ConvPlan& conv = c.conv;
  Plane all;
  for (int64_t plane = 0; plane < conv.batch * conv.group * conv.out_channels; ++plane) {
    const int64_t output = plane % (conv.group * conv.out_channels), image = plane / (conv.group * conv.out_channels);
    const double b = bias[static_cast<size_t>(output)];
    Plane one{std::vector<double>(static_cast<size_t>(c.outputs()), b),
              std::vector<double>(static_cast<size_t>(c.outputs()), b * b)};
    for (int64_t input = 0; input < conv.in_channels; ++input) {
      const int64_t channel = (image * conv.group + output / conv.out_channels) * conv.in_channels + input;
      add_input(c, x.data() + channel * c.samples(), w.data() + (output * conv.in_channels + input) * c.taps(), one);
    }
    all.sums.insert(all.sums.end(), one.sums.begin(), one.sums.end());
    all.sizes.insert(all.sizes.end(), one.sizes.begin(), one.sizes.end());
  }
  return all;
}

template <typename Real, typename Storage>
DenseRunner<Real> make_runner(const DensePlan& plan, ScratchPool& pool) {
  const KernelTable& table = kernels();
  const int64_t lanes = table.vector_bytes / static_cast<int64_t>(sizeof(Real));
  if constexpr (std::is_same_v<Storage, Half>) {
    return {plan, table.dense->f16, table.dense->f32_spectra, lanes, pool};
  } else if constexpr (std::is_same_v<Real, float>) {
    return {plan, table.dense->f32, table.dense->f32_spectra, lanes, pool};
  } else {
    return {plan, table.dense->f64, table.dense->f64_spectra, lanes, pool};
  }
}

template <typename Storage>
std::vector<Storage> run(const DensePlan& plan, const Case& c, const std::vector<Storage>& x,
                         const std::vector<double>& w, const std::vector<double>& bias, size_t threads) {
  using Real = decltype(widen(Storage{}));
  const auto pool = ScratchPool::shared();
  const DenseRunner<Real> runner = make_runner<Real, Storage>(plan, *pool);
  const std::vector<Real> weights(w.begin(), w.end()), biases(bias.begin(), bias.end());
  const Block spectra = allocate_block(runner.weights().bytes());
  Real* const packed = static_cast<Real*>(spectra.memory.get());
  const Executor executor{&threads, run_on_threads};
  runner.weights().prepare(weights.data(), packed, executor);
  Storage untouched;
  narrow(Real(1e4), &untouched);
  std::vector<Storage> y(static_cast<size_t>(plan.batch * plan.group * plan.out_channels * c.outputs()), untouched);
  Epilogue<Real> epilogue;
  epilogue.bias = biases.data();
  runner.run(x.data(), packed, y.data(), sizeof(Storage), epilogue, executor);
  return y;
}

std::string describe(const DensePlan& plan) {
  std::string text = "batch " + std::to_string(plan.batch) + ", group " + std::to_string(plan.group) + ", channels " +
                     std::to_string(plan.in_channels) + " -> " + std::to_string(plan.out_channels) + ", block " +
                     std::to_string(plan.block) + (plan.is_shared ? " shared" : "") + ", segment " +
                     std::to_string(plan.segment) + (plan.form == DenseForm::kGauss ? ", Gauss" : "");
  for (const AxisPlan& axis : plan.axes) {
    text += "; " + std::to_string(axis.extent) + " * " + std::to_string(axis.kernel) + " -> " +
            std::to_string(axis.outputs) + " by " + std::to_string(axis.length) + " pad " + std::to_string(axis.pad) +
            " stride " + std::to_string(axis.stride) + " dilation " + std::to_string(axis.dilation);
  }
  return text;
}

constexpr size_t kPlans = 12;

// Runs some plans of the case, drawn from all; returns how many were wrong.
template <typename Storage>
int check(const Case& c, double limit, Random& random, int& tried) {
  using Real = decltype(widen(Storage{}));
  const ConvPlan& conv = c.conv;
  std::vector<double> x = draw_values(random, conv.batch * conv.group * conv.in_channels * c.samples());
  std::vector<double> w = draw_values(random, conv.group * conv.out_channels * conv.in_channels * c.taps());
  std::vector<double> bias = draw_values(random, conv.group * conv.out_channels);
  const std::vector<Storage> stored = store<Storage>(x);
  const Plane expected = expect(c, x, w, bias);
  int failed = 0;
  const int lanes = kernels().vector_bytes / static_cast<int>(sizeof(Real));
  std::vector<DensePlan> plans = cut_densely(conv, c.axes, lanes, machine_rates());
  std::shuffle(plans.begin(), plans.end(), random);
  plans.resize(std::min(plans.size(), kPlans));
  for (DensePlan plan : plans) {
    plan.block = pick(random, 1, 2 * plan.block);
    ++tried;
    const std::vector<Storage> y = run<Storage>(plan, c, stored, w, bias, 1),
                               again = run<Storage>(plan, c, stored, w, bias, 4);
    double error = 0, norm = 0;
    for (size_t i = 0; i < y.size(); ++i) {
      const double difference = widen(y[i]) - expected.sums[i];
      error += difference * difference;
      norm += std::max(expected.sizes[i], static_cast<double>(conv.in_channels * c.taps()));
    }
    const bool is_same = std::memcmp(y.data(), again.data(), y.size() * sizeof(Storage)) == 0;
    if (std::sqrt(error / norm) <= limit && is_same) continue;
    ++failed;
    std::printf("error %.1e over %.0e%s, %d bytes: %s\n", std::sqrt(error / norm), limit,
                is_same ? "" : ", other results on four threads", static_cast<int>(sizeof(Storage)),
                describe(plan).c_str());
  }
  return failed;
}

}  // namespace

int main(int argc, char** argv) {
  const int cases = argc > 1 ? std::atoi(argv[1]) : 50;
  const unsigned seed = argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 20260101;
  try {
    isa_name();
  } catch (const std::runtime_error& error) {
    std::printf("%s\n", error.what());
    return 2;
  }
  Random random(seed);
  int failed = 0, tried = 0;
  for (int number = 0; number < cases; ++number) {
    const Case c = draw_case(random);
    failed += number % 4 == 0   ? check<double>(c, 1e-14, random, tried)
              : number % 4 == 1 ? check<Half>(c, 1e-3, random, tried)
                                : check<float>(c, 5e-7, random, tried);
  }
  std::printf("%s, seed %u: %d plans of %d convolutions, %d failed\n", isa_name(), seed, tried, cases, failed);
  return failed > 0;
}
