// How a convolution is cut into tiles: of all the ways to do it, this finds the one with the least predicted time.
#include "planner/plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "planner/dense_plan.h"

namespace onnx_fft {
namespace {

// The sequences of one axis; `split`: its dilation is split into residues. The lengths of its tiles are not set yet.
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
  plan.polyphase_step = plan.stride > 1 ? std::gcd(plan.stride, plan.dilation) : 1;
  plan.polyphase = plan.stride > 1 ? ceil_divide(std::min(plan.stride, span), plan.polyphase_step) : 1;
  return plan;
}

// The least length of a single tile that holds a whole sequence. Zeros before the input then serve as zeros after it as
// well: a circular sum that reaches past the end of the tile goes on at its beginning. That is right if T holds the
// samples up to the last of the input, and if what is needed beyond T falls on the leading zeros.
int64_t whole_length(const AxisPlan& axis, int64_t outputs) {
  const int64_t step = axis.input_step();
  const int64_t last_offset = axis.stride > 1 ? (axis.polyphase - 1) * axis.polyphase_step : axis.residues - 1;
  const int64_t zeros = std::max<int64_t>(0, ceil_divide(std::max<int64_t>(0, axis.pad - last_offset), step));
  const int64_t needed = outputs + axis.taps - 1;
  const int64_t until_end = std::max<int64_t>(0, axis.extent - 1 + axis.pad) / step + 1;
  return std::max<int64_t>(outputs, std::max(needed - zeros, std::min(needed, until_end)));
}

// The tilings of one axis that are worth comparing: for growing numbers of tiles the fewest samples that give enough
// outputs, or, for a tile that is transformed, the shortest DFT of at least as many. `real`: its DFT is the real one,
// of even length.
std::vector<AxisPlan> tilings(AxisPlan axis, bool direct, bool real) {
  std::vector<AxisPlan> result;
  const int64_t outputs = ceil_divide(axis.outputs, axis.residues);
  const int64_t longest = std::max<int64_t>(1 << 17, 2 * axis.taps);
  for (int64_t tiles = 1; tiles <= outputs; tiles += 1 + tiles / 6) {
    const int64_t wanted = ceil_divide(outputs, tiles);
    const bool trivial = axis.taps == 1 && !real && !direct;
    axis.length = wanted + axis.taps - 1;
    if (!direct) axis.length = next_length(tiles == 1 ? whole_length(axis, outputs) : axis.length, real);
    if (trivial) axis.length = 1;
    axis.step = trivial ? 1 : tiles == 1 ? outputs : axis.length - axis.taps + 1;
    axis.tiles = ceil_divide(outputs, axis.step);
    if (axis.length <= longest && (result.empty() || result.back().length != axis.length)) result.push_back(axis);
    if (trivial || wanted * 3 < axis.taps) break;
  }
  return result;
}

// Speeds of one core, in units a second: fitted by eye on a 2-core AMD EPYC (Zen 4, AVX-512), 2026-11. Only their
// ratios matter here: they choose among tilings.
constexpr double kTransformFlops = 38e9, kProductFlops = 90e9, kBytes = 8e9;
constexpr double kDirectFlops = 90e9, kDirectSamples = 2.5e9;  // samples in and out of a tile
constexpr double kDirectBytes = 4 << 20;  // larger tiles fall out of the caches, and leave cores idle
constexpr double kTileSeconds = 1.5e-6;   // to find where a tile's lanes lie, and for its task
constexpr double kL2Bytes = 768 << 10, kMemoryFactor = 1.6;
constexpr double kColumnsFactor = 1.5;  // a real line in columns takes short butterflies, and a twiddle between them

// What tiles of any length take, over what is predicted here: the median of 20 layers that the dense engine computes as
// well, on the machine that its constants are from.
constexpr double kTilesFactor = 1.3;

// `transforms` of a vector's lanes at a time.
struct Load {
  double transforms, product_flops, spectra_bytes;
};

// Work of `plan`, each vector operation counted with all its lanes.
Load count_load(const ConvPlan& plan, double bins, int lanes) {
  const double rows = double(plan.batch * plan.tiles), inner = double(plan.in_channels * plan.polyphase);
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

Estimate estimate_direct(const ConvPlan& plan, int lanes) {
  double points = 1, outputs = 1, taps = 1;
  for (const AxisPlan& axis : plan.axes) {
    points *= double(axis.length);
    outputs *= double(axis.step);
    taps *= double(axis.kernel);
  }
  const double L = lanes, tiles = count_load(plan, 0, lanes).transforms / 2;
  double tile_seconds = L * (2 * outputs * taps / kDirectFlops + (points + outputs) / kDirectSamples);
  if (4 * points * L > kDirectBytes) tile_seconds *= kMemoryFactor;
  return {tiles * (tile_seconds + kTileSeconds), 4 * taps * std::ceil(double(plan.group) / L) * L};
}

Estimate estimate(const ConvPlan& plan, int real_axis, int lanes) {
  if (plan.direct) return estimate_direct(plan, lanes);
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

// The most bytes that the spectra of one convolution may take: 3.5 times its weights, and 32 MiB.
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
  void visit(const std::vector<AxisPlan>* choices, bool direct) {
    plan_.direct = direct;
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
    plan_.tiles = plan_.polyphase = 1;
    for (const AxisPlan& axis : plan_.axes) {
      plan_.tiles *= axis.tiles * axis.residues;
      plan_.polyphase *= axis.polyphase;
    }
    if (plan_.direct && !plan_.is_elementwise()) return;
    for (const Lanes lanes_of : {Lanes::kChannels, Lanes::kTiles}) {
      plan_.lanes = lanes_of;
      const Estimate found = estimate(plan_, real_axis_, lanes_);
      // Among spectra, the fastest that fit, or the smallest if none fit. Direct tiles come last and must be faster.
      const bool fits = plan_.direct || found.spectra_bytes <= most_spectra_bytes(plan_);
      const bool best_fits = plan_.direct || least_bytes_ <= most_spectra_bytes(plan_);
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

// A convolution without its axes of one sample and one tap, which change nothing: the lanes of a 1-D signal that was
// given as an image [length, 1] are then read in runs.
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
  AxisPlan sequences[kMaxRank];
  for (int axis = shift; axis < kMaxRank; ++axis) {
    const int a = axis - shift;
    const bool split = attributes.strides[a] == 1 && attributes.dilations[a] > 1;
    sequences[axis] = plan_sequences(attributes, a, shapes.extents[a], shapes.outputs[a], split);
  }
  for (const bool direct : {false, true}) {
    if (direct && plan.in_channels * plan.out_channels > 1) break;
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
        const std::vector<AxisPlan> found = tilings(sequences, direct, axis == real_axis);
        choices[axis].insert(choices[axis].end(), found.begin(), found.end());
      }
    }
    search.visit(choices, direct);
  }
  ConvPlan best = search.best();
  int64_t length[kMaxRank];
  for (int axis = 0; axis < kMaxRank; ++axis) length[axis] = best.axes[axis].length;
  const std::shared_ptr<const DensePlan> dense = plan_dense(best, sequences, lanes);
  if (dense != nullptr && dense->seconds < kTilesFactor * best.seconds) {
    best.dense = dense;
    best.seconds = dense->seconds;
  }
  best.tile = best.direct ? plan_direct_tile(best.axes) : plan_tile(length, real_axis);
  return best;
}

// As ONNX Runtime's Conv does it when it may not block the channels: im2col writes each element, then multiplies.
double im2col_seconds(const ConvPlan& plan) {
  double products = double(plan.batch * plan.group * plan.in_channels * plan.out_channels);
  for (const AxisPlan& axis : plan.axes) products *= double(axis.kernel * axis.outputs);
  const double elements = products / double(plan.out_channels);
  return 2 * products / kProductFlops + elements / 10e9;
}

}  // namespace onnx_fft
