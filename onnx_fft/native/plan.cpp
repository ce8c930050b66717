// How a convolution is cut into tiles: of all the ways, the one with the least predicted time.
#include "plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace onnx_fft {
namespace {

// The sequences of one axis, by `split` of its dilation; lengths are left open.
AxisPlan plan_sequences(const ConvAttributes& attributes, int axis, int64_t extent, int64_t outputs, bool split) {
  AxisPlan plan;
  plan.extent = extent;
  plan.outputs = outputs;
  plan.pad = attributes.pads_begin[axis];
  plan.stride = attributes.strides[axis];
  plan.dilation = attributes.dilations[axis];
  plan.kernel = attributes.kernel[axis];
  plan.split_dilation = split;
  const int64_t span = plan.dilation * (plan.kernel - 1) + 1;
  plan.residues = split ? std::min(plan.dilation, outputs) : 1;
  plan.taps = split ? plan.kernel : ceil_divide(span, plan.stride);
  plan.phase_step = plan.stride > 1 ? std::gcd(plan.stride, plan.dilation) : 1;
  plan.phases = plan.stride > 1 ? ceil_divide(std::min(plan.stride, span), plan.phase_step) : 1;
  return plan;
}

// With one tile, zeros before the input do for zeros after it as well: a circular sum that reaches past the end of the
// tile comes out at its begin. It is right if T holds the samples up to the last of the input, and if what is needed
// beyond T falls on the leading zeros.
int64_t whole_length(const AxisPlan& axis, int64_t outputs) {
  const int64_t step = axis.input_step();
  const int64_t last_offset = axis.stride > 1 ? (axis.phases - 1) * axis.phase_step : axis.residues - 1;
  const int64_t zeros = std::max<int64_t>(0, ceil_divide(std::max<int64_t>(0, axis.pad - last_offset), step));
  const int64_t needed = outputs + axis.taps - 1;
  const int64_t until_end = std::max<int64_t>(0, axis.extent - 1 + axis.pad) / step + 1;
  return std::max<int64_t>(outputs, std::max(needed - zeros, std::min(needed, until_end)));
}

// Tilings of one axis worth a look: for growing numbers of tiles the fewest samples that give enough outputs, and of
// those that are transformed the shortest DFT of as many. `real`: its DFT is the real one, of even length.
std::vector<AxisPlan> tilings(AxisPlan axis, bool sliding, bool real) {
  std::vector<AxisPlan> result;
  const int64_t outputs = ceil_divide(axis.outputs, axis.residues);
  const int64_t longest = std::max<int64_t>(1 << 17, 2 * axis.taps);
  for (int64_t tiles = 1; tiles <= outputs; tiles += 1 + tiles / 6) {
    const int64_t wanted = ceil_divide(outputs, tiles);
    const bool trivial = axis.taps == 1 && !real && !sliding;
    axis.length = wanted + axis.taps - 1;
    if (!sliding) axis.length = next_length(tiles == 1 ? whole_length(axis, outputs) : axis.length, real);
    if (trivial) axis.length = 1;
    axis.step = trivial ? 1 : tiles == 1 ? outputs : axis.length - axis.taps + 1;
    axis.tiles = ceil_divide(outputs, axis.step);
    if (axis.length <= longest && (result.empty() || result.back().length != axis.length)) result.push_back(axis);
    if (trivial || wanted * 3 < axis.taps) break;
  }
  return result;
}

// Speeds of one core in units a second; fitted by eye on a 2-core AMD EPYC (Zen 4, AVX-512), 2026-11. Only their ratios
// matter here: they choose among tilings.
constexpr double kTransformFlops = 38e9, kProductFlops = 90e9, kBytes = 8e9;
constexpr double kSlidingFlops = 90e9, kSlidingSamples = 2.5e9;  // samples in and out of a tile
constexpr double kSlidingBytes = 4 << 20;                        // larger tiles leave caches cold and cores idle
constexpr double kTileSeconds = 1.5e-6;                          // finding out where a tile's lanes lie, and its task
constexpr double kL2Bytes = 768 << 10, kMemoryFactor = 1.6;
constexpr double kColumnsFactor = 1.5;  // a real line in columns takes short butterflies, and a twiddle between

struct Load {
  double transforms, product_flops, spectra_bytes;
};

// Work of `plan`, each vector operation counted with all its lanes.
Load count_load(const ConvPlan& plan, double bins, int lanes) {
  const double rows = double(plan.batch * plan.tiles), inner = double(plan.in_channels * plan.phases);
  const double L = lanes, groups = double(plan.group), outputs = double(plan.out_channels);
  const bool channels = plan.lanes == Lanes::kChannels;
  const double row_vectors = std::ceil(rows / L), out_vectors = std::ceil(outputs / L);
  if (plan.is_elementwise()) {
    return {2 * (channels ? std::ceil(groups / L) * rows : groups * row_vectors), 0,
            bins * 8 * std::ceil(groups / L) * L};
  }
  if (channels) {
    const double transforms = rows * (std::ceil(groups * inner / L) + groups * out_vectors);
    const double few = std::min(1.0, rows / 4);
    return {transforms, bins * rows * inner * 8 * L * groups * out_vectors / few,
            bins * 8 * inner * L * groups * out_vectors};
  }
  const double transforms = row_vectors * groups * (inner + outputs);
  return {transforms, bins * row_vectors * L * inner * 8 * outputs * groups,
          bins * 8 * std::ceil(inner / L) * L * groups * outputs};
}

struct Estimate {
  double seconds, spectra_bytes;
};

Estimate estimate_sliding(const ConvPlan& plan, int lanes) {
  double points = 1, outputs = 1, taps = 1;
  for (const AxisPlan& axis : plan.axes) {
    points *= double(axis.length);
    outputs *= double(axis.step);
    taps *= double(axis.kernel);
  }
  const double L = lanes, tiles = count_load(plan, 0, lanes).transforms / 2;
  double tile_seconds = L * (2 * outputs * taps / kSlidingFlops + (points + outputs) / kSlidingSamples);
  if (4 * points * L > kSlidingBytes) tile_seconds *= kMemoryFactor;
  return {tiles * (tile_seconds + kTileSeconds), 4 * taps * std::ceil(double(plan.group) / L) * L};
}

Estimate estimate(const ConvPlan& plan, int real_axis, int lanes) {
  if (plan.sliding) return estimate_sliding(plan, lanes);
  double points = 1, bins = 1;
  for (int axis = 0; axis < kMaxRank; ++axis) {
    const double length = double(plan.axes[axis].length);
    points *= length;
    bins *= axis == real_axis ? length / 2 + 1 : length;
  }
  const Load load = count_load(plan, bins, lanes);
  const double tile_bytes = bins * 8 * lanes;
  double flops = 2.5 * points * std::log2(std::max(2.0, points)) * lanes;
  if (tile_bytes > kL2Bytes) flops *= kMemoryFactor;
  if (plan.axes[real_axis].length > kLongestLine) flops *= kColumnsFactor;
  const double transform_seconds = flops / kTransformFlops + kTileSeconds;
  const double seconds =
      load.transforms * transform_seconds + load.product_flops / kProductFlops + load.spectra_bytes / kBytes;
  return {seconds, load.spectra_bytes};
}

// Most bytes the spectra of one convolution may take: 3.5 times the weights, and 32 MiB.
double most_spectra_bytes(const ConvPlan& plan) {
  double weights = 4.0 * double(plan.group * plan.in_channels * plan.out_channels);
  for (const AxisPlan& axis : plan.axes) weights *= double(axis.kernel);
  return 3.5 * weights + (32 << 20);
}

// Finds the best plan among all combinations of tilings.
class Search {
 public:
  Search(const ConvPlan& plan, int real_axis, int lanes) : plan_(plan), real_axis_(real_axis), lanes_(lanes) {}

  // `choices`: of each axis.
  void visit(const std::vector<AxisPlan>* choices, bool sliding) {
    plan_.sliding = sliding;
    fill_axis(choices, 0);
  }

  const ConvPlan& best() const { return best_; }

 private:
  void fill_axis(const std::vector<AxisPlan>* choices, int axis) {
    if (axis == kMaxRank) return compare();
    for (const AxisPlan& choice : choices[axis]) {
      plan_.axes[axis] = choice;
      fill_axis(choices, axis + 1);
    }
  }

  void compare() {
    plan_.tiles = plan_.phases = 1;
    for (const AxisPlan& axis : plan_.axes) {
      plan_.tiles *= axis.tiles * axis.residues;
      plan_.phases *= axis.phases;
    }
    if (plan_.sliding && !plan_.is_elementwise()) return;
    for (const Lanes lanes_of : {Lanes::kChannels, Lanes::kTiles}) {
      plan_.lanes = lanes_of;
      const Estimate found = estimate(plan_, real_axis_, lanes_);
      // of spectra those that fit, where none does the smallest; sliding, which comes last, has to be faster
      const bool fits = plan_.sliding || found.spectra_bytes <= most_spectra_bytes(plan_);
      const bool best_fits = plan_.sliding || least_bytes_ <= most_spectra_bytes(plan_);
      if (!(fits ? !best_fits || found.seconds < best_.seconds : found.spectra_bytes < least_bytes_)) continue;
      best_ = plan_;
      best_.seconds = found.seconds;
      least_bytes_ = found.spectra_bytes;
    }
  }

  ConvPlan plan_, best_;
  const int real_axis_, lanes_;
  double least_bytes_ = INFINITY;
};

// What is left of a convolution without the axes of one sample and one tap, which change nothing: lanes of 1-D signals
// that were given as images [length, 1] are read in runs then.
struct Shapes {
  ConvAttributes attributes;
  int64_t extents[kMaxRank], outputs[kMaxRank];
};

Shapes drop_unit_axes(const ConvAttributes& attributes, const int64_t* extents, const int64_t* outputs) {
  Shapes kept{attributes, {}, {}};
  int rank = 0;
  for (int axis = 0; axis < attributes.rank; ++axis) {
    const bool is_last_chance = rank == 0 && axis == attributes.rank - 1;
    const bool is_unit = extents[axis] == 1 && outputs[axis] == 1 && attributes.kernel[axis] == 1;
    if (is_unit && attributes.pads_begin[axis] == 0 && !is_last_chance) continue;
    kept.extents[rank] = extents[axis];
    kept.outputs[rank] = outputs[axis];
    kept.attributes.kernel[rank] = attributes.kernel[axis];
    kept.attributes.strides[rank] = attributes.strides[axis];
    kept.attributes.dilations[rank] = attributes.dilations[axis];
    kept.attributes.pads_begin[rank] = attributes.pads_begin[axis];
    ++rank;
  }
  kept.attributes.rank = rank;
  return kept;
}

// The last axis along which something is summed, or the last axis.
int find_real_axis(const ConvAttributes& attributes) {
  for (int axis = attributes.rank - 1; axis >= 0; --axis) {
    if (attributes.kernel[axis] > 1) return kMaxRank - attributes.rank + axis;
  }
  return kMaxRank - 1;
}

}  // namespace

ConvPlan plan_convolution(const ConvAttributes& given, const int64_t* x_shape, const int64_t* y_shape,
                          int64_t in_channels, int64_t out_channels, int lanes) {
  const Shapes shapes = drop_unit_axes(given, x_shape + 2, y_shape + 2);
  const ConvAttributes& attributes = shapes.attributes;
  ConvPlan plan;
  plan.batch = x_shape[0];
  plan.group = attributes.group;
  plan.in_channels = in_channels;
  plan.out_channels = out_channels / attributes.group;
  const int shift = kMaxRank - attributes.rank, real_axis = find_real_axis(attributes);
  Search search(plan, real_axis, lanes);
  for (const bool sliding : {false, true}) {
    if (sliding && plan.in_channels * plan.out_channels > 1) break;
    std::vector<AxisPlan> choices[kMaxRank];
    for (int axis = 0; axis < kMaxRank; ++axis) {
      if (axis < shift) {
        choices[axis] = {AxisPlan{}};
        continue;
      }
      const int a = axis - shift;
      for (const bool split : {true, false}) {
        if (split ? attributes.strides[a] > 1 : attributes.strides[a] == 1 && attributes.dilations[a] == 1) continue;
        const AxisPlan sequences = plan_sequences(attributes, a, shapes.extents[a], shapes.outputs[a], split);
        const std::vector<AxisPlan> found = tilings(sequences, sliding, axis == real_axis);
        choices[axis].insert(choices[axis].end(), found.begin(), found.end());
      }
    }
    search.visit(choices, sliding);
  }
  ConvPlan best = search.best();
  int64_t length[kMaxRank];
  for (int axis = 0; axis < kMaxRank; ++axis) length[axis] = best.axes[axis].length;
  best.tile = best.sliding ? plan_sliding_tile(best.axes) : plan_tile(length, real_axis);
  return best;
}

// ONNX Runtime's Conv outside a graph's blocked layout: im2col and a matrix product.
double direct_seconds(const ConvPlan& plan) {
  double products = double(plan.batch * plan.group * plan.in_channels * plan.out_channels);
  for (const AxisPlan& axis : plan.axes) products *= double(axis.kernel * axis.outputs);
  const double elements = products / double(plan.out_channels);
  return 2 * products / kProductFlops + elements / 10e9;
}

}  // namespace onnx_fft
