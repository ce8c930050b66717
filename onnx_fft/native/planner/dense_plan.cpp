// Chooses tiles, segments and blocks of the dense engine, by the time that the work of each choice is predicted to
// take.
#include "planner/dense_plan.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <vector>

#include "planner/cost.h"
#include "planner/tasks.h"

namespace onnx_fft {
namespace {

// Cycles of one core for one vector, of whatever length: fitted on a 2-core AMD EPYC (Zen 3, AVX2, 512 KiB of
// second-level cache a core), 2026-11. How long a cycle takes is in the machine's rates.

// A strip of rows: cycles for each product, what each input costs beside them, and what the call costs. A product waits
// for the last one on the same sum.
constexpr double kProductCycles = 0.51, kInputCycles = 0.45, kStripCycles = 30, kLatencyCycles = 4;

// A sample that is moved between tensor and tile; the lines of a DFT of each of kDenseLengths, by sample; a segment's
// row. Tiles of more points leave the first-level cache.
constexpr double kMoveCycles = 6, kLineCycles[] = {1.7, 2.3, 2.4, 3.2, 5.5, 5.0, 5.5, 8.0, 9.0};
constexpr double kCubeCycles = 2.5, kRowCycles = 60, kTilePoints = 1200, kLargeTile = 1.6;

// How much slower that is where the spectra of a block are near, in or about the second-level cache, and what every
// doubling of the spectra adds to that.
constexpr double kNear = 1.05, kFarther = 0.45;

// Reals of scratch that a segment takes at most, in the second-level cache.
constexpr int64_t kSegmentReals = 48 << 10;

// Times that threads which share a block wait for one another; each costs about as much as a call.
constexpr double kBarriers = 3;

// What turns on the length of vectors: rows of a strip (kernels/dense_product.h); what part of those cycles a line of
// kLongLine samples or more takes, of which more registers hold more; reals of a block's spectra that are near; how
// much slower transforms are where threads share a block in the last-level cache; rows of blocks that are tried, and of
// shared ones.
constexpr int64_t kLongLine = 18;
struct Cut {
  double strip_rows, long_lines, near_reals, shared;
  std::vector<int64_t> blocks, shared_blocks;
};

// Fitted on that machine; the second on a 2-core Intel Xeon (Emerald Rapids, AVX-512, 2 MiB of second-level cache a
// core), whose vectors are twice as fast, but not its caches, 2026-11.
const Cut& find_cut(int lanes) {
  static const Cut narrow = {6, 1, 288 << 10, 2.3, {6, 12, 24, 48}, {48, 96, 192}};
  static const Cut wide = {14, 0.75, 124 << 10, 3.5, {7, 14, 28}, {56, 112, 196}};
  return lanes < 16 ? narrow : wide;
}

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

// Cycles to transform a tile of one vector of channels, one way.
double transform_cycles(const DensePlan& plan, const Cut& cut) {
  double points = 1, cycles = kMoveCycles;
  int axes = 0;
  for (const AxisPlan& axis : plan.axes) {
    if (axis.length == 1) continue;
    points *= double(axis.length);
    const double line = kLineCycles[std::find(kDenseLengths, std::end(kDenseLengths), axis.length) - kDenseLengths];
    cycles += line * (axis.length < kLongLine ? 1 : cut.long_lines);
    ++axes;
  }
  if (axes == kMaxRank) cycles += kCubeCycles;
  return points * cycles * (points > kTilePoints ? kLargeTile : 1);
}

// Vectors of weights that are read for each input and vector of outputs.
double weight_vectors(const DensePlan& plan) { return plan.form == DenseForm::kGauss ? 3 : 2; }

// Cycles to multiply one pair of `rows` tiles with all inputs of one vector of outputs: `products` for each row and
// input, of which `chained` go to the same sum.
double product_cycles(double rows, double strip_rows, double inputs, double products, double chained) {
  const double strips = std::max(1.0, std::ceil(rows / strip_rows)), strip = rows / strips;
  const double input = std::max(strip * products * kProductCycles, kLatencyCycles * chained) + kInputCycles;
  return strips * (inputs * input + kStripCycles * std::ceil(inputs / double(kDenseChain)));
}

// Of a group.
double tensor_bytes(const DensePlan& plan) {
  double inputs = 4.0 * double(plan.batch * plan.in_channels), outputs = 4.0 * double(plan.batch * plan.out_channels);
  for (const AxisPlan& axis : plan.axes) {
    inputs *= double(axis.extent);
    outputs *= double(axis.outputs);
  }
  return inputs + outputs;
}

Work count_dense_work(const DensePlan& plan, int lanes) {
  const double tiles = double(plan.lines() * plan.line_tiles());
  const double segments = double(plan.lines()) * std::ceil(double(plan.axes[2].tiles) / double(plan.segment));
  const double blocks = std::max(1.0, std::min(segments, std::ceil(tiles / double(plan.block))));  // of no tiles, one
  const double rows = tiles / blocks;
  const double in_vectors = double(ceil_divide(plan.in_channels, lanes) * plan.polyphase),
               out_vectors = double(ceil_divide(plan.out_channels, lanes));
  const double groups = double(plan.group), inputs = double(plan.inputs()), pairs = double(plan.pairs().count()),
               real_pairs = double(plan.pairs().reals / 2);
  const double reals = pairs * rows * 2 * std::max(in_vectors, out_vectors) * lanes;
  const Cut& cut = find_cut(lanes);
  const double slower =
      plan.is_shared ? cut.shared : kNear + kFarther * std::max(0.0, std::log2(reals / cut.near_reals));
  const auto multiply = [&](double count, double chained) {
    return product_cycles(rows, cut.strip_rows, inputs, count, chained);
  };
  const double transforms =
      (in_vectors + out_vectors) * (tiles * transform_cycles(plan, cut) * slower +
                                    segments * double(plan.axes[0].length * plan.axes[1].length) * kRowCycles);
  // Gauss' form takes two vectors of outputs at a time, three times one product for each.
  const double complex = plan.form == DenseForm::kGauss ? 3 * multiply(2, 1) / 2 : multiply(4, 2);
  const double products = blocks * out_vectors * ((pairs - real_pairs) * complex + real_pairs * multiply(2, 1));
  const double weights = blocks * pairs * inputs * out_vectors * 4 * weight_vectors(plan) * lanes;
  const double longer = groups * (plan.is_shared ? 1 : uneven(groups * blocks));
  Work work;
  work.of[kCalls] = 1 + (plan.is_shared ? groups * blocks * kBarriers : 0);
  work.of[kDenseTransforms] = longer * transforms;
  work.of[kDenseProducts] = longer * products;
  work.of[kDenseBytes] = longer * weights;
  work.of[kBytes] = longer * tensor_bytes(plan);
  return work;
}

// The most tiles side by side that keep a segment's scratch in the cache.
int64_t most_in_segment(const DensePlan& plan, int lanes) {
  const AxisPlan& last = plan.axes[2];
  const int64_t windows = last.residues * last.polyphase;
  const int64_t points = plan.axes[0].length * plan.axes[1].length * last.length;
  const int64_t fitting = std::min({kSegmentReals / (points * windows * lanes), kMostWindows / windows, last.tiles});
  return std::max<int64_t>(1, fitting);
}

bool can_cut(const ConvPlan& conv, const AxisPlan* sequences) {
  const AxisPlan& last = sequences[kMaxRank - 1];
  for (int axis = 0; axis < kMaxRank; ++axis) {
    if (sequences[axis].stride > 1 && sequences[axis].dilation > 1) return false;
  }
  if (conv.in_channels * conv.out_channels == 1) return false;           // nothing is summed, or nearly so
  const int64_t step = std::max(last.input_step(), last.output_step());  // a row takes as many vectors for a sample
  return last.taps > 1 && step <= kMostWindows && last.residues * last.polyphase <= kMostWindows;
}

// A segment of at most so many tiles, all segments of a line alike, and a block of whole segments.
void set_block(DensePlan& plan, int64_t segment, int64_t block, int lanes, const Rates& rates) {
  const int64_t line = plan.axes[2].tiles, residues = plan.axes[2].residues;
  const int64_t pieces = ceil_divide(line, std::max<int64_t>(1, segment));
  plan.segment = ceil_divide(line, pieces);
  const int64_t tiles = plan.segment * residues;
  plan.block = std::min(std::max<int64_t>(1, block / tiles) * tiles, plan.lines() * plan.line_tiles());
  plan.work = count_dense_work(plan, lanes);
  plan.seconds = rates.seconds(plan.work);
}

// The plan with every size of blocks, and blocks of one, two or three segments.
void add_blocks(DensePlan plan, int lanes, const Rates& rates, std::vector<DensePlan>& plans) {
  const int64_t tiles = plan.lines() * plan.line_tiles(), most = most_in_segment(plan, lanes);
  const auto add = [&](int64_t block, int64_t parts) {
    set_block(plan, std::min(most, block / parts / plan.axes[2].residues), block, lanes, rates);
    plans.push_back(plan);
  };
  plan.is_shared = false;
  const Cut& cut = find_cut(lanes);
  for (const int64_t block : cut.blocks) {
    for (int64_t parts = 1; parts <= 3; ++parts) add(block, parts);
    if (block >= tiles) break;
  }
  plan.is_shared = true;
  for (const int64_t block : cut.shared_blocks) {
    add(block, 1);
    if (block >= tiles) break;
  }
}

// Tiles far from square or cubic take more transforms for nothing.
bool are_alike(const AxisPlan& a, const AxisPlan& b) {
  return a.length == 1 || b.length == 1 || 2 * std::max(a.length, b.length) <= 3 * std::min(a.length, b.length);
}

}  // namespace

std::vector<DensePlan> cut_densely(const ConvPlan& conv, const AxisPlan* sequences, int lanes, const Rates& rates) {
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
        if (!are_alike(first, second) || !are_alike(second, third) || !are_alike(first, third)) continue;
        plan.form = DenseForm::kComplex;
        add_blocks(plan, lanes, rates, plans);
        if (ceil_divide(plan.out_channels, lanes) % 2 != 0) continue;
        plan.form = DenseForm::kGauss;
        add_blocks(plan, lanes, rates, plans);
      }
    }
  }
  return plans;
}

std::shared_ptr<const DensePlan> plan_dense(const ConvPlan& conv, const AxisPlan* sequences, int lanes,
                                            const Rates& rates) {
  std::shared_ptr<DensePlan> best;
  for (const DensePlan& plan : cut_densely(conv, sequences, lanes, rates)) {
    if (spectra_bytes(plan, lanes) > most_spectra_bytes(conv)) continue;
    if (best == nullptr || plan.seconds < best->seconds) best = std::make_shared<DensePlan>(plan);
  }
  return best;
}

double count_flops(const DensePlan& plan) {
  double points = 1;
  for (const AxisPlan& axis : plan.axes) points *= double(axis.length);
  const double transforms = double(plan.inputs() + plan.out_channels) * 2.5 * points * std::log2(points);
  const double bin = plan.form == DenseForm::kGauss ? 6 : 8, real_bin = 2;
  const DensePairs pairs = plan.pairs();
  const double products =
      double(plan.inputs() * plan.out_channels) * (bin * double(pairs.complex) + real_bin * double(pairs.reals));
  return double(plan.group * plan.lines() * plan.line_tiles()) * (transforms + products);
}

double spectra_bytes(const DensePlan& plan, int lanes) {
  const int64_t products = plan.inputs() * ceil_divide(plan.out_channels, lanes) * lanes;
  return 4 * weight_vectors(plan) * double(plan.group * plan.pairs().count() * products);
}

}  // namespace onnx_fft
