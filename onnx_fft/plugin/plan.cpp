#include "plan.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

namespace onnx_fft {
namespace {

constexpr double kPi = 3.14159265358979323846;

// What a butterfly of each radix costs an element, roughly in loads and stores: one of each, more as the registers
// fill.
struct Radix {
  int radix;
  double cost;
};
constexpr Radix kRadices[] = {{2, 1.3}, {3, 1.4}, {4, 1.4}, {5, 1.7},  {6, 1.7},
                              {7, 2.1}, {8, 1.8}, {9, 2.1}, {10, 2.2}, {12, 2.4}};

// Cheapest chain of radices whose product is `length`; infinite cost where there is none.
struct Chain {
  double cost = 0;
  std::vector<int> radices;
};

Chain factor(int length, std::map<int, Chain>& known) {
  if (length == 1) return {};
  const auto found = known.find(length);
  if (found != known.end()) return found->second;
  Chain best;
  best.cost = INFINITY;
  for (const Radix& r : kRadices) {
    if (length % r.radix != 0) continue;
    Chain rest = factor(length / r.radix, known);
    if (rest.cost + r.cost < best.cost) {
      rest.cost += r.cost;
      rest.radices.insert(rest.radices.begin(), r.radix);
      best = rest;
    }
  }
  return known[length] = best;
}

Chain factor(int length) {
  thread_local std::map<int, Chain> known;
  return factor(length, known);
}

bool is_smooth(int64_t n) {
  for (int prime : {2, 3, 5, 7}) {
    while (n % prime == 0) n /= prime;
  }
  return n == 1;
}

int64_t next_length(int64_t least, bool even) {
  int64_t n = std::max<int64_t>(least, even ? 2 : 1);
  while (!is_smooth(n) || (even && n % 2 != 0)) ++n;
  return n;
}

void push_root(std::vector<double>& roots, int64_t numerator, int64_t denominator) {
  const double angle = -2 * kPi * static_cast<double>(numerator % denominator) / static_cast<double>(denominator);
  roots.push_back(std::cos(angle));
  roots.push_back(std::sin(angle));
}

LinePlan plan_line(int length) {
  LinePlan line;
  line.length = length;
  int n = length, stride = 1;
  std::vector<int> radices = factor(length).radices;
  if (radices.empty()) radices.push_back(1);
  for (const int radix : radices) {
    const int count = n / radix;
    line.steps.push_back({radix, count, stride, line.roots.size()});
    for (int p = 0; p < count; ++p) {
      for (int k = 1; k < radix; ++k) push_root(line.roots, int64_t{p} * k, n);
    }
    n = count;
    stride *= radix;
  }
  return line;
}

// Longest real line that stays in the first-level cache with its scratch.
constexpr int kLongestLine = 320;

// Sequences a long real axis is cut into: the divisor that makes both DFTs about equally long.
int choose_columns(int64_t length) {
  if (length <= kLongestLine) return 1;
  int best = 1;
  for (int columns = 1; columns < length; ++columns) {
    if (length % columns != 0 || (length / columns) % 2 != 0) continue;
    const auto distance = [&](int c) { return std::abs(std::log(double(c) * c * 2 / double(length))); };
    if (distance(columns) < distance(best)) best = columns;
  }
  return best;
}

template <typename Real>
void fill_tables(const TilePlan& plan, const std::vector<double>& real_roots, TileTables<Real>& tables) {
  const auto cast = [](const std::vector<double>& values) { return std::vector<Real>(values.begin(), values.end()); };
  tables.real_roots = cast(real_roots);
  tables.line_roots.push_back(cast(plan.real_line.roots));
  for (const Pass& pass : plan.passes) {
    tables.line_roots.push_back(cast(pass.line.roots));
    tables.twiddles.push_back(cast(pass.twiddles));
  }
}

Pass plan_columns(int columns, ptrdiff_t half, ptrdiff_t outer) {
  Pass pass{plan_line(columns), half, outer, half, {}};
  const int64_t length = int64_t{columns} * (half - 1) * 2;
  for (ptrdiff_t k = 0; k < half; ++k) {
    for (int n = 0; n < columns; ++n) push_root(pass.twiddles, n * k, length);
  }
  return pass;
}

std::shared_ptr<const TilePlan> plan_tile(const int64_t* length, int real_axis) {
  auto plan = std::make_shared<TilePlan>();
  std::copy(length, length + kMaxRank, plan->length);
  plan->real_axis = real_axis;
  plan->columns = choose_columns(length[real_axis]);
  plan->real_length = static_cast<int>(length[real_axis] / plan->columns);
  plan->real_line = plan_line(plan->real_length / 2);
  const ptrdiff_t half = plan->real_length / 2 + 1;
  ptrdiff_t others = 1;
  for (int axis = 0; axis < kMaxRank; ++axis) others *= axis == real_axis ? 1 : length[axis];
  if (plan->columns > 1) plan->passes.push_back(plan_columns(plan->columns, half, others));
  ptrdiff_t stride = half * plan->columns, longest = half;
  for (int axis = kMaxRank - 1; axis >= 0; --axis) {
    for (int64_t n = 0; n < length[axis]; ++n) {
      const int64_t across = n % plan->columns * 2 * half + n / plan->columns;
      plan->position[axis].push_back(static_cast<int32_t>(axis == real_axis ? across : n * 2 * stride));
    }
    if (axis == real_axis || length[axis] == 1) continue;
    others /= length[axis];
    plan->passes.push_back({plan_line(static_cast<int>(length[axis])), stride, others, stride, {}});
    stride *= length[axis];
  }
  plan->bins = static_cast<size_t>(stride);
  for (const Pass& pass : plan->passes) longest = std::max<ptrdiff_t>(longest, pass.line.length);
  plan->work = static_cast<size_t>(4 * longest);
  std::vector<double> real_roots;
  for (int k = 0; 2 * k <= half; ++k) push_root(real_roots, k, plan->real_length);
  fill_tables(*plan, real_roots, plan->single);
  fill_tables(*plan, real_roots, plan->twofold);
  return plan;
}

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

// Tilings of one axis worth a look: for growing numbers of tiles the shortest DFT that gives enough outputs.
std::vector<AxisPlan> tilings(AxisPlan axis, bool real) {
  std::vector<AxisPlan> result;
  const int64_t outputs = ceil_divide(axis.outputs, axis.residues);
  constexpr int64_t kLongest = 1 << 17;
  for (int64_t tiles = 1; tiles <= outputs; tiles += 1 + tiles / 6) {
    const int64_t wanted = ceil_divide(outputs, tiles);
    const bool trivial = axis.taps == 1 && !real;
    axis.length = next_length(tiles == 1 ? whole_length(axis, outputs) : wanted + axis.taps - 1, real);
    if (trivial) axis.length = 1;
    axis.step = trivial ? 1 : tiles == 1 ? outputs : axis.length - axis.taps + 1;
    axis.tiles = ceil_divide(outputs, axis.step);
    if (axis.length <= kLongest && (result.empty() || result.back().length != axis.length)) result.push_back(axis);
    if (trivial || wanted * 3 < axis.taps) break;
  }
  return result;
}

// Speeds of one core in units a second; fitted by eye on a 2-core AMD EPYC (Zen 4, AVX-512), 2026-11. Only their ratios
// matter here: they choose among tilings.
constexpr double kTransformFlops = 30e9, kProductFlops = 90e9, kBytes = 8e9;
constexpr double kTileSeconds = 1.5e-6;  // finding out where a tile's lanes lie, and starting its task
constexpr double kL2Bytes = 768 << 10, kMemoryFactor = 1.6;

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

Estimate estimate(const ConvPlan& plan, int real_axis, int lanes) {
  double points = 1, bins = 1;
  for (int axis = 0; axis < kMaxRank; ++axis) {
    const double length = double(plan.axes[axis].length);
    points *= length;
    bins *= axis == real_axis ? length / 2 + 1 : length;
  }
  const Load load = count_load(plan, bins, lanes);
  const double tile_bytes = bins * 8 * lanes;
  const double flops =
      2.5 * points * std::log2(std::max(2.0, points)) * lanes * (tile_bytes > kL2Bytes ? kMemoryFactor : 1);
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

// Fills `axes[axis ...]` with every combination of tilings and keeps the best plan in `best`.
struct Search {
  std::vector<AxisPlan> choices[kMaxRank];
  int real_axis;
  int lanes;
  ConvPlan best;
  double least_bytes = INFINITY;

  void visit(ConvPlan& plan, int axis) {
    if (axis < kMaxRank) {
      for (const AxisPlan& choice : choices[axis]) {
        plan.axes[axis] = choice;
        visit(plan, axis + 1);
      }
      return;
    }
    plan.tiles = plan.phases = 1;
    for (const AxisPlan& a : plan.axes) {
      plan.tiles *= a.tiles * a.residues;
      plan.phases *= a.phases;
    }
    for (const Lanes lanes_of : {Lanes::kChannels, Lanes::kTiles}) {
      plan.lanes = lanes_of;
      const Estimate found = estimate(plan, real_axis, lanes);
      // where nothing fits, the smallest
      const bool fits = found.spectra_bytes <= most_spectra_bytes(plan);
      const bool best_fits = least_bytes <= most_spectra_bytes(plan);
      const bool better = fits ? !best_fits || found.seconds < best.seconds : found.spectra_bytes < least_bytes;
      if (better) {
        best = plan;
        best.seconds = found.seconds;
        least_bytes = found.spectra_bytes;
      }
    }
  }
};

}  // namespace

ConvPlan plan_convolution(const ConvAttributes& attributes, const int64_t* x_shape, const int64_t* y_shape,
                          int64_t in_channels, int64_t out_channels, int lanes) {
  Search search;
  search.lanes = lanes;
  const int shift = kMaxRank - attributes.rank;
  ConvPlan plan;
  plan.batch = x_shape[0];
  plan.group = attributes.group;
  plan.in_channels = in_channels;
  plan.out_channels = out_channels / attributes.group;
  search.real_axis = kMaxRank - 1;
  for (int axis = kMaxRank - 1; axis >= shift; --axis) {
    if (attributes.kernel[axis - shift] > 1) {
      search.real_axis = axis;
      break;
    }
  }
  for (int axis = 0; axis < kMaxRank; ++axis) {
    if (axis < shift) {
      search.choices[axis] = {AxisPlan{}};
      continue;
    }
    for (const bool split : {true, false}) {
      const int a = axis - shift;
      if (split ? attributes.strides[a] > 1 : attributes.strides[a] == 1 && attributes.dilations[a] == 1) continue;
      const AxisPlan sequences = plan_sequences(attributes, a, x_shape[2 + a], y_shape[2 + a], split);
      const std::vector<AxisPlan> found = tilings(sequences, axis == search.real_axis);
      search.choices[axis].insert(search.choices[axis].end(), found.begin(), found.end());
    }
  }
  search.visit(plan, 0);
  int64_t length[kMaxRank];
  for (int axis = 0; axis < kMaxRank; ++axis) length[axis] = search.best.axes[axis].length;
  search.best.tile = plan_tile(length, search.real_axis);
  return search.best;
}

// ONNX Runtime's Conv outside a graph's blocked layout: im2col and a matrix product.
double direct_seconds(const ConvPlan& plan) {
  double products = double(plan.batch * plan.group * plan.in_channels * plan.out_channels), elements = 0;
  for (const AxisPlan& axis : plan.axes) products *= double(axis.kernel * axis.outputs);
  elements = products / double(plan.out_channels);
  return 2 * products / kProductFlops + elements / 10e9;
}

}  // namespace onnx_fft
