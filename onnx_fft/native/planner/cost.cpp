#include "planner/cost.h"

#include <algorithm>
#include <cmath>

namespace onnx_fft {
namespace {

constexpr double kDirectBytes = 4 << 20;  // larger direct tiles fall out of the caches, and leave cores idle
constexpr double kL2Bytes = 768 << 10, kMemoryFactor = 1.6;
constexpr double kColumnsFactor = 1.5;  // a real line in columns takes short butterflies, and a twiddle between them
constexpr double kCubeFactor = 2.4;     // of tiles along three axes, whose lines lie far apart
constexpr double kFewRows = 4;          // fewer do not hide that the weights' spectra are read

double fill(double count, double lanes) { return std::ceil(count / lanes) * lanes; }

struct Sizes {
  double points = 1, bins = 1, outputs = 1, taps = 1;  // of a tile
  double rows, inner, groups, channels_out;
};

Sizes measure(const ConvPlan& plan, int real_axis) {
  Sizes s;
  for (int axis = 0; axis < kMaxRank; ++axis) {
    const AxisPlan& a = plan.axes[axis];
    const double length = double(a.length);
    s.points *= length;
    s.bins *= axis == real_axis ? std::floor(length / 2) + 1 : length;
    s.outputs *= double(a.step);
    s.taps *= double(a.kernel);
  }
  s.rows = double(plan.batch * plan.tiles);
  s.inner = double(plan.in_channels * plan.polyphase);
  s.groups = double(plan.group);
  s.channels_out = double(plan.out_channels);
  return s;
}

double tensor_bytes(const ConvPlan& plan) {
  double inputs = double(plan.batch * plan.group * plan.in_channels);
  double outputs = double(plan.batch * plan.group * plan.out_channels);
  for (const AxisPlan& axis : plan.axes) {
    inputs *= double(axis.extent);
    outputs *= double(axis.outputs);
  }
  return 4 * (inputs + outputs);
}

// Lanes that are transformed, those that nothing fills among them: of inputs and outputs.
double transformed_lanes(const ConvPlan& plan, const Sizes& s, double L) {
  const bool channels = plan.lanes == Lanes::kChannels;
  if (plan.is_elementwise()) return 2 * (channels ? fill(s.groups, L) * s.rows : s.groups * fill(s.rows, L));
  if (channels) return s.rows * (fill(s.groups * s.inner, L) + s.groups * fill(s.channels_out, L));
  return fill(s.rows, L) * s.groups * (s.inner + s.channels_out);
}

double product_flops(const ConvPlan& plan, const Sizes& s, double L) {
  if (plan.is_elementwise()) return 8 * s.bins * s.rows * s.groups;
  if (plan.lanes == Lanes::kTiles) return 8 * s.bins * fill(s.rows, L) * s.inner * s.channels_out * s.groups;
  return 8 * s.bins * std::max(s.rows, kFewRows) * s.inner * s.groups * fill(s.channels_out, L);
}

// Samples that are loaded one by one, because a stride or a dilation scatters them; with a stride and tiles in lanes,
// each lane's lie elsewhere. In columns, each one that is read or written takes a line of the cache, and those of all
// channels may share a few sets of it.
double scattered_samples(const ConvPlan& plan, const Sizes& s) {
  constexpr double kColumn = 25;   // a sample of a column takes 15 ns on Zen 3
  constexpr double kInTile = 4.5;  // a lane's takes 2 to 3 ns, there and on Emerald Rapids
  const AxisPlan& last = plan.axes[kMaxRank - 1];
  const double inputs = s.rows * s.groups * s.inner * s.points,
               outputs = s.rows * s.groups * s.channels_out * s.outputs;
  if (!plan.direct && last.length == 1) return kColumn * (inputs + outputs);
  if (last.stride > 1) return (plan.lanes == Lanes::kTiles ? kInTile : 1) * inputs;
  return !plan.direct && last.split_dilation ? inputs : 0;
}

}  // namespace

double most_spectra_bytes(const ConvPlan& plan) {
  double weights = 4.0 * double(plan.group * plan.in_channels * plan.out_channels);
  for (const AxisPlan& axis : plan.axes) weights *= double(axis.kernel);
  return 4 * weights + (32 << 20);
}

double weight_bytes(const ConvPlan& plan, int real_axis, int lanes) {
  const Sizes s = measure(plan, real_axis);
  const double L = lanes;
  if (plan.direct) return 4 * s.taps * fill(s.groups, L);
  if (plan.is_elementwise()) return 8 * s.bins * fill(s.groups, L);
  if (plan.lanes == Lanes::kChannels) return 8 * s.bins * s.inner * s.groups * fill(s.channels_out, L);
  return 8 * s.bins * fill(s.inner, L) * s.groups * s.channels_out;
}

double stage_bytes(const ConvPlan& plan, int real_axis) {
  if (plan.is_elementwise()) return 0;
  const Sizes s = measure(plan, real_axis);
  return 8 * s.bins * s.rows * s.groups * (s.inner + s.channels_out);
}

Work count_work(const ConvPlan& plan, int real_axis, int lanes) {
  const Sizes s = measure(plan, real_axis);
  const double L = lanes, transformed = transformed_lanes(plan, s, L);
  Work work;
  work.of[kBytes] = tensor_bytes(plan);
  work.of[kScatteredSamples] = scattered_samples(plan, s);
  work.of[kCalls] = 1;
  if (plan.direct) {
    const double tiles = transformed / 2, slow = 4 * s.points * L > kDirectBytes ? kMemoryFactor : 1;
    work.of[kDirectFlops] = slow * tiles * 2 * s.outputs * s.taps;
    work.of[kDirectSamples] = slow * tiles * (s.points + s.outputs);
    work.of[kTiles] = tiles / L;
    return work;
  }
  double slow = s.bins * 8 * L > kL2Bytes ? kMemoryFactor : 1;
  if (plan.axes[real_axis].length > kLongestLine) slow *= kColumnsFactor;
  const bool is_cube = std::all_of(plan.axes, plan.axes + kMaxRank, [](const AxisPlan& a) { return a.length > 1; });
  if (is_cube) slow *= kCubeFactor;
  work.of[kTransformFlops] = slow * transformed * 2.5 * s.points * std::log2(std::max(2.0, s.points));
  work.of[kProductFlops] = product_flops(plan, s, L);
  work.of[kBytes] += weight_bytes(plan, real_axis, lanes) + stage_bytes(plan, real_axis);
  work.of[kTiles] = transformed / L;
  return work;
}

}  // namespace onnx_fft
