// Chooses tiles, segments and blocks of the dense engine, by the time that the work of each choice is predicted to take.
#include "planner/dense_plan.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace onnx_fft {
namespace {

// All constants of the prediction, of one core: fitted on a 2-core AMD EPYC (Zen 3, AVX2), 2026-11. Cycles are for one
// vector, of whatever length.
constexpr double kCyclesPerSecond = 3.4e9;
constexpr double kProductsPerCycle = 2 * 0.92;  // vectors multiplied and added
constexpr double kLatencyCycles = 4;            // of a product; a strip must have enough rows to hide it
constexpr double kStripRows = 6;                // as in kernels/dense_product.h
constexpr double kMoveCycles = 2.2, kLineCycles = 3.4;  // of a sample: between tensor and tile; of a DFT's line
constexpr double kSegmentCycles = 400;
constexpr double kMemoryBytes = 12e9;  // weights that are read a second

// Reals of spectra that stay in the second-level cache of a thread, and of scratch that stays in the first and second.
constexpr int64_t kBlockReals = 96 << 10, kSegmentReals = 12 << 10;

// Blocks of which some threads get equally many.
constexpr int64_t kEvenBlocks = 8;

// The most bytes that weights' spectra may take: as in plan.cpp.
constexpr double kSpectraFactor = 3.5, kSpectraBytes = 32 << 20;

// The axis without a DFT, or with each length that gives enough outputs.
std::vector<AxisPlan> cut_axis(AxisPlan axis) {
  const int64_t outputs = ceil_divide(axis.outputs, axis.residues);
  axis.length = axis.step = 1;
  axis.tiles = outputs;
  if (axis.taps == 1) return {axis};
  std::vector<AxisPlan> choices;
  for (const int length : kDenseLengths) {
    axis.length = length;
    axis.step = length - axis.taps + 1;
    if (axis.step < 2) continue;
    axis.tiles = ceil_divide(outputs, axis.step);
    choices.push_back(axis);
    if (axis.tiles == 1) break;
  }
  return choices;
}

// Cycles to transform a tile of one vector of channels, one way. `rows`: how much of the first axes is done at all.
double transform_cycles(const DensePlan& plan) {
  double points = 1, cycles = 0;
  for (const AxisPlan& axis : plan.axes) points *= double(axis.length);
  for (const AxisPlan& axis : plan.axes) {
    if (axis.length > 1) cycles += points * kLineCycles * std::log2(double(axis.length)) / 4;
  }
  return cycles + points * kMoveCycles;
}

// Cycles to multiply one pair of a block of `rows` tiles with one vector of weights, for each input.
double product_cycles(double rows, double products_per_row, double chains_per_row) {
  const double strips = std::ceil(rows / kStripRows), strip = rows / strips;
  return strips * std::max(strip * products_per_row / kProductsPerCycle,
                           kLatencyCycles * products_per_row / chains_per_row);
}

double predict_seconds(const DensePlan& plan, int lanes) {
  const double tiles = double(plan.lines() * plan.line_tiles()), blocks = std::ceil(tiles / double(plan.block));
  const double in_vectors = double(ceil_divide(plan.in_channels, lanes) * plan.polyphase),
               out_vectors = double(ceil_divide(plan.out_channels, lanes));
  const DensePairs pairs = plan.pairs();
  const double groups = double(plan.group), inputs = double(plan.inputs());
  const double transforms = groups * tiles * (in_vectors + out_vectors) * transform_cycles(plan);
  const double rows = tiles / blocks;
  const double per_input = double(pairs.complex) * product_cycles(rows, 4, 2) +
                           double(pairs.reals / 2) * product_cycles(rows, 2, 2);
  const double products = groups * blocks * inputs * out_vectors * per_input;
  const double weight_bytes = groups * double(pairs.count()) * inputs * out_vectors * 8 * lanes;
  const double passes = weight_bytes * blocks / kMemoryBytes;
  const double segments = groups * double(plan.lines()) * std::ceil(double(plan.axes[2].tiles) / double(plan.segment)) *
                          (in_vectors + out_vectors);
  return (transforms + segments * kSegmentCycles) / kCyclesPerSecond + std::max(products / kCyclesPerSecond, passes);
}

double most_spectra_bytes(const DensePlan& plan) {
  double weights = 4.0 * double(plan.group * plan.in_channels * plan.out_channels);
  for (const AxisPlan& axis : plan.axes) weights *= double(axis.kernel);
  return kSpectraFactor * weights + kSpectraBytes;
}

// Tiles side by side, as many as keep a segment's scratch in the cache.
int64_t choose_segment(const DensePlan& plan) {
  const AxisPlan& last = plan.axes[2];
  const int64_t windows = last.residues * last.polyphase;
  const int64_t points = plan.axes[0].length * plan.axes[1].length * last.length;
  const int64_t fitting = std::max<int64_t>(1, kSegmentReals / 8 / (points * windows));
  return std::min({fitting, last.tiles, kMostWindows / windows});
}

// How many tiles a block takes: as many as fit into the cache, and all blocks alike.
void choose_block(DensePlan& plan, int lanes) {
  const int64_t tiles = plan.lines() * plan.line_tiles();
  const int64_t row = 2 * std::max(ceil_divide(plan.inputs(), lanes), ceil_divide(plan.out_channels, lanes)) * lanes;
  const int64_t fitting = std::max<int64_t>(1, kBlockReals / (plan.pairs().count() * row));
  const int64_t least = int64_t(kStripRows) * 2;
  int64_t blocks = ceil_divide(tiles, std::max(fitting, least));
  if (blocks > 1) blocks = std::min(tiles, ceil_divide(blocks, kEvenBlocks) * kEvenBlocks);
  plan.block = ceil_divide(tiles, blocks);
}

bool can_cut(const ConvPlan& conv, const AxisPlan* sequences) {
  const AxisPlan& last = sequences[kMaxRank - 1];
  for (int axis = 0; axis < kMaxRank; ++axis) {
    if (sequences[axis].stride > 1 && sequences[axis].dilation > 1) return false;
  }
  if (conv.in_channels * conv.out_channels == 1) return false;  // nothing is summed, or nearly so
  return last.taps > 1 && last.residues * last.polyphase <= kMostWindows;
}

}  // namespace

std::vector<DensePlan> cut_densely(const ConvPlan& conv, const AxisPlan* sequences, int lanes) {
  std::vector<DensePlan> plans;
  if (!can_cut(conv, sequences)) return plans;
  DensePlan plan;
  plan.batch = conv.batch;
  plan.group = conv.group;
  plan.in_channels = conv.in_channels;
  plan.out_channels = conv.out_channels;
  for (int axis = 0; axis < kMaxRank; ++axis) plan.polyphase *= sequences[axis].polyphase;
  for (const AxisPlan& first : cut_axis(sequences[0])) {
    for (const AxisPlan& second : cut_axis(sequences[1])) {
      for (const AxisPlan& third : cut_axis(sequences[2])) {
        plan.axes[0] = first;
        plan.axes[1] = second;
        plan.axes[2] = third;
        plan.segment = choose_segment(plan);
        for (const bool is_shared : {false, true}) {
          plan.is_shared = is_shared;
          choose_block(plan, lanes);
          plan.seconds = predict_seconds(plan, lanes);
          plans.push_back(plan);
        }
      }
    }
  }
  return plans;
}

std::shared_ptr<const DensePlan> plan_dense(const ConvPlan& conv, const AxisPlan* sequences, int lanes) {
  std::shared_ptr<DensePlan> best;
  for (const DensePlan& plan : cut_densely(conv, sequences, lanes)) {
    if (spectra_bytes(plan, lanes) > most_spectra_bytes(plan)) continue;
    if (best == nullptr || plan.seconds < best->seconds) best = std::make_shared<DensePlan>(plan);
  }
  return best;
}

double spectra_bytes(const DensePlan& plan, int lanes) {
  return 8.0 * double(plan.group * plan.pairs().count() * plan.inputs() * ceil_divide(plan.out_channels, lanes) * lanes);
}

}  // namespace onnx_fft
