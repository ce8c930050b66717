// How a convolution is cut into tiles: of all the ways to do it, this finds the one with the least predicted time.
#include "planner/plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "planner/cost.h"
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

// What a convolution may take beside its tensors, in bytes: a tile and its tables, and all spectra. One that needs more
// has taps or zeros very far apart, and is not for transforms.
constexpr int64_t kLongestAxis = 1 << 24;
constexpr double kMostTileBytes = double(int64_t{2} << 30), kMostSpectraBytes = double(int64_t{4} << 30);
constexpr double kMostRows = double(int64_t{1} << 48);  // products of more overflow

// The tilings of one axis that are worth comparing: for growing numbers of tiles the fewest samples that give enough
// outputs, or, for a tile that is transformed, the shortest DFT of at least as many. `real`: its DFT is the real one,
// of even length.
std::vector<AxisPlan> tilings(AxisPlan axis, bool direct, bool real) {
  std::vector<AxisPlan> result;
  const int64_t outputs = ceil_divide(axis.outputs, axis.residues);
  const int64_t longest = std::min(kLongestAxis, std::max<int64_t>(1 << 17, 2 * axis.taps));
  for (int64_t tiles = 1; tiles <= outputs; tiles += 1 + tiles / 6) {
    const int64_t wanted = ceil_divide(outputs, tiles);
    const bool trivial = axis.taps == 1 && !real && !direct;
    axis.length = wanted + axis.taps - 1;
    if (!direct && tiles == 1) axis.length = whole_length(axis, outputs);
    if (!direct && axis.length <= longest) axis.length = next_length(axis.length, real);
    if (trivial) axis.length = 1;
    axis.step = trivial ? 1 : tiles == 1 ? outputs : axis.length - axis.taps + 1;
    axis.tiles = ceil_divide(outputs, axis.step);
    if (axis.length <= longest && (result.empty() || result.back().length != axis.length)) result.push_back(axis);
    if (trivial || wanted * 3 < axis.taps) break;
  }
  return result;
}

// Whether a run takes no more than that; large weights may have large spectra.
bool fits_memory(const ConvPlan& plan, int lanes, double spectra_bytes) {
  double points = 1;
  for (const AxisPlan& axis : plan.axes) points *= double(axis.length);
  if (8 * points * lanes > kMostTileBytes) return false;
  if (plan.is_elementwise()) return spectra_bytes <= kMostSpectraBytes;
  const double channels = double(plan.in_channels) * double(plan.polyphase) + double(plan.out_channels);
  const double row_bytes = 4 * points * (double(plan.group) * channels + 2 * lanes);  // of the least part of a run
  return spectra_bytes + row_bytes * (plan.lanes == Lanes::kTiles ? lanes : 1) <=
         std::max(kMostSpectraBytes, most_spectra_bytes(plan));
}

// Finds the best plan among all combinations of tilings.
class Search {
 public:
  Search(const ConvPlan& plan, int real_axis, int lanes, const Rates& rates)
      : plan_(plan), real_axis_(real_axis), lanes_(lanes), rates_(rates) {
    best_.seconds = INFINITY;
  }

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
    double rows = double(plan_.batch), components = 1;
    for (const AxisPlan& axis : plan_.axes) {
      rows *= double(axis.tiles) * double(axis.residues);
      components *= double(axis.polyphase);
    }
    if (std::max(rows, components) > kMostRows) return;
    plan_.tiles = plan_.polyphase = 1;
    for (const AxisPlan& axis : plan_.axes) {
      plan_.tiles *= axis.tiles * axis.residues;
      plan_.polyphase *= axis.polyphase;
    }
    if (plan_.direct && !plan_.is_elementwise()) return;
    for (const Lanes lanes_of : {Lanes::kChannels, Lanes::kTiles}) {
      plan_.lanes = lanes_of;
      const double seconds = rates_.seconds(count_work(plan_, real_axis_, lanes_));
      const double bytes = weight_bytes(plan_, real_axis_, lanes_);
      if (!fits_memory(plan_, lanes_, bytes)) continue;
      // Among spectra, the fastest that fit, or the smallest if none fit. Direct tiles come last and must be faster.
      const bool fits = plan_.direct || bytes <= most_spectra_bytes(plan_);
      const bool best_fits = plan_.direct || least_bytes_ <= most_spectra_bytes(plan_);
      if (!(fits ? !best_fits || seconds < best_.seconds : bytes < least_bytes_)) continue;
      best_ = plan_;
      best_.seconds = seconds;
      least_bytes_ = bytes;
    }
  }

  ConvPlan plan_, best_;
  const int real_axis_, lanes_;
  const Rates& rates_;
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
                          int64_t in_channels, int64_t out_channels, int lanes, const Rates& rates) {
  const Shapes shapes = drop_unit_axes(given, x_shape + 2, y_shape + 2);
  const ConvAttributes& attributes = shapes.attributes;
  ConvPlan plan;
  plan.batch = x_shape[0];
  plan.group = attributes.group;
  plan.in_channels = in_channels;
  plan.out_channels = out_channels / attributes.group;
  const int shift = kMaxRank - attributes.rank, real_axis = find_real_axis(attributes);
  Search search(plan, real_axis, lanes, rates);
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
  if (std::isinf(best.seconds)) return best;
  int64_t length[kMaxRank];
  for (int axis = 0; axis < kMaxRank; ++axis) length[axis] = best.axes[axis].length;
  const std::shared_ptr<const DensePlan> dense = plan_dense(best, sequences, lanes, rates);
  if (dense != nullptr && dense->seconds < best.seconds) {
    best.dense = dense;
    best.seconds = dense->seconds;
  }
  best.tile = best.direct ? plan_direct_tile(best.axes) : plan_tile(length, real_axis);
  return best;
}

}  // namespace onnx_fft
