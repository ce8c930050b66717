// Micro-measurements of this machine: each is repeated for some milliseconds in several rounds, and the fastest time
// counts.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <vector>

#include "engine/machine.h"
#include "engine/scratch.h"
#include "kernels/isa.h"
#include "planner/plan.h"
#include "planner/rates.h"

namespace onnx_fft {
namespace {

using Clock = std::chrono::steady_clock;

// Other work on the machine makes a run slower, never faster: so the fastest of all that fit into this time. A
// neighbour on the same core slows transforms to 0.7x for some tenths of a second, so rounds lie that far apart.
constexpr double kSecondsEach = 0.01;
constexpr int kLeastRuns = 2, kRounds = 8;

template <typename Body>
double fastest_seconds(const Body& body) {
  double best = INFINITY, spent = 0;
  for (int run = 0; run < kLeastRuns || spent < kSecondsEach; ++run) {
    const auto begun = Clock::now();
    body();
    const double seconds = std::chrono::duration<double>(Clock::now() - begun).count();
    best = std::min(best, seconds);
    spent += seconds;
  }
  return best;
}

template <typename T>
T* zeros(Block& block, size_t count) {
  block = allocate_block(count * sizeof(T));
  std::memset(block.memory.get(), 0, block.bytes);
  return static_cast<T*>(block.memory.get());
}

constexpr int64_t kSide = 24;

// Planes of a tile's lanes, all of one image of the tile's size.
template <typename P, typename Pointer>
void fill_planes(P& planes, Pointer data, int lanes) {
  for (int axis = 0; axis < kMaxRank; ++axis) {
    planes.extent[axis] = axis == 0 ? 1 : kSide;
    planes.step[axis] = 1;
  }
  planes.set_strides();
  for (planes.count = 0; planes.count < lanes; ++planes.count) planes.lanes[planes.count] = {data, {0, 0, 0}};
}

// Seconds a flop of a tile's DFT, with samples that are read from an image.
double probe_transform() {
  const int lanes = kernels().vector_bytes / 4;
  const int64_t length[kMaxRank] = {1, kSide, kSide};
  const auto tile = plan_tile(length, kMaxRank - 1);
  Block image, scratch, spectrum;
  InputPlanes input;
  fill_planes(input, static_cast<const void*>(zeros<float>(image, kSide * kSide)), lanes);
  float* const work = zeros<float>(scratch, scratch_bytes<float>(*tile, lanes) / 4 + 64);
  float* const bins = zeros<float>(spectrum, tile->bins * 2 * size_t(lanes));
  const double points = double(kSide * kSide);
  return fastest_seconds([&] { kernels().f32.forward(*tile, input, work, bins, 2 * lanes); }) /
         (2.5 * points * std::log2(points) * lanes);
}

// Seconds a flop of a product that stays in the second-level cache.
double probe_product() {
  constexpr int64_t kRows = 24, kInner = 64, kBlocks = 4;
  const int64_t lanes = kernels().vector_bytes / 4, pair = 2 * lanes, a_row = kInner / lanes * pair;
  Block a, b, c;
  const Product<float> product{zeros<float>(a, size_t(kRows * a_row)),
                               zeros<float>(b, size_t(kBlocks * kInner * pair)),
                               zeros<float>(c, size_t(kRows * kBlocks * pair)),
                               kRows,
                               kInner,
                               kBlocks,
                               0,
                               a_row,
                               kInner * pair,
                               kBlocks * pair,
                               pair};
  return fastest_seconds([&] { kernels().f32_spectra.multiply(product); }) /
         (8.0 * double(kRows * kInner * kBlocks * lanes));
}

// Seconds of a tile of `taps` x `taps` that is summed directly.
double probe_direct(int64_t taps, double* flops, double* samples) {
  const int lanes = kernels().vector_bytes / 4;
  AxisPlan axes[kMaxRank];
  for (int axis = 1; axis < kMaxRank; ++axis) {
    axes[axis].kernel = axes[axis].taps = taps;
    axes[axis].length = kSide;
    axes[axis].step = kSide - taps + 1;
  }
  const auto tile = plan_direct_tile(axes);
  Block image, scratch, weights, result;
  InputPlanes input;
  Epilogue<float> epilogue;
  OutputPlanes<float> output;
  output.epilogue = &epilogue;
  fill_planes(input, static_cast<const void*>(zeros<float>(image, kSide * kSide)), lanes);
  fill_planes(output, static_cast<void*>(zeros<float>(result, kSide * kSide)), lanes);
  for (int axis = 0; axis < kMaxRank; ++axis) output.outputs[axis] = axes[axis].step;
  float* const work = zeros<float>(scratch, scratch_bytes<float>(*tile, lanes) / 4 + 64);
  const Factor<float> factor{zeros<float>(weights, size_t(taps * taps * lanes)), -1};
  const double outputs = double(axes[1].step * axes[2].step);
  *flops = 2 * outputs * double(taps * taps) * lanes;
  *samples = (double(kSide * kSide) + outputs) * lanes;
  return fastest_seconds([&] { kernels().f32.convolve(*tile, input, factor, work, output); });
}

// Seconds a byte that is read, of memory too large for the caches of one core.
double probe_bytes() {
  constexpr size_t kBytes = 24 << 20;
  Block source, target;
  char* const from = zeros<char>(source, kBytes);
  char* const to = zeros<char>(target, kBytes);
  return fastest_seconds([&] { std::memcpy(to, from, kBytes); }) / (2.0 * kBytes);
}

Probes probe() {
  double transform = INFINITY, product = INFINITY, many = INFINITY, few = INFINITY, bytes = INFINITY;
  double many_flops, many_samples, few_flops, few_samples;
  for (int round = 0; round < kRounds; ++round) {
    transform = std::min(transform, probe_transform());
    product = std::min(product, probe_product());
    many = std::min(many, probe_direct(9, &many_flops, &many_samples));
    few = std::min(few, probe_direct(2, &few_flops, &few_samples));
    bytes = std::min(bytes, probe_bytes());
  }
  // Two equations: seconds = flops * a + samples * b.
  const double determinant = many_flops * few_samples - few_flops * many_samples;
  const double flop = std::max((many * few_samples - few * many_samples) / determinant, 0.3 * many / many_flops);
  const double sample = std::max((few - few_flops * flop) / few_samples, 0.1 * few / few_samples);
  return {transform, product, flop, sample, bytes};
}

}  // namespace

// The rates shipped for the machine that was probed in the same way, each scaled as the probe that it depends on.
Rates measure_rates() {
  const Probes here = probe();
  const ProbedMachine shipped = probed_machine(kernels().vector_bytes);
  const Probes& there = shipped.probes;
  Rates rates = shipped.rates;
  const auto scale = [&](double factor, std::initializer_list<Unit> units) {
    for (const Unit unit : units) rates.of[unit] *= factor;
  };
  scale(here.transform / there.transform, {kTransformFlops, kScatteredSamples});
  scale(here.product / there.product, {kProductFlops, kBlockedFlops, kDepthwiseFlops, kGemmFlops});
  // the dense engine counts vectors, not lanes
  const double wider = double(kernels().vector_bytes) / shipped.vector_bytes;
  scale(wider * here.transform / there.transform, {kDenseTransforms});
  scale(wider * here.product / there.product, {kDenseProducts});
  scale(here.direct_flops / there.direct_flops, {kDirectFlops});
  scale(here.direct_samples / there.direct_samples, {kDirectSamples});
  scale(here.bytes / there.bytes, {kBytes, kDenseBytes, kBlockedBytes, kUnfolded, kUnfoldedStrided});
  return rates;
}

}  // namespace onnx_fft
