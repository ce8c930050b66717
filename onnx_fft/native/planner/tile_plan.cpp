// The tables of a tile's DFT: radices, roots, and where its samples lie.
#include "planner/tile_plan.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "planner/plan.h"

namespace onnx_fft {
namespace {

constexpr double kPi = 3.14159265358979323846;

// What a butterfly of each radix costs for one element, roughly in loads and stores: one of each, and more as the
// registers run out.
struct Radix {
  int radix;
  double cost;
};
constexpr Radix kRadices[] = {{2, 1.3}, {3, 1.4}, {4, 1.4},  {5, 1.7},  {6, 1.7},  {7, 2.1},
                              {8, 1.8}, {9, 2.1}, {10, 2.2}, {11, 3.5}, {12, 2.4}, {13, 4.2}};

// Cheapest chain of radices whose product is `length`; infinite cost if there is none.
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

}  // namespace

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

double line_cost(int length) { return factor(length).cost; }

std::vector<int32_t> find_places(const LinePlan& line) {
  std::vector<int32_t> places(static_cast<size_t>(line.length));
  for (int place = 0; place < line.length; ++place) {
    int bin = 0, rest = place;
    for (const LinePlan::Step& step : line.steps) {
      bin += rest / step.count * step.stride;
      rest %= step.count;
    }
    places[static_cast<size_t>(bin)] = place;
  }
  return places;
}

int64_t next_length(int64_t least, bool even) {
  int64_t n = std::max<int64_t>(least, even ? 2 : 1);
  while (!is_smooth(n) || (even && n % 2 != 0)) ++n;
  return n;
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
  fill_tables(*plan, real_roots, plan->f32);
  fill_tables(*plan, real_roots, plan->f64);
  return plan;
}

std::shared_ptr<const TilePlan> plan_direct_tile(const AxisPlan* axes) {
  auto plan = std::make_shared<TilePlan>();
  int64_t stride = 1;
  for (int axis = kMaxRank - 1; axis >= 0; --axis) {
    plan->length[axis] = axes[axis].length;
    plan->taps[axis] = axes[axis].kernel;
    plan->spacing[axis] = axes[axis].spacing();
    for (int64_t n = 0; n < axes[axis].length; ++n) {
      plan->position[axis].push_back(static_cast<int32_t>(n * stride));
    }
    stride *= axes[axis].length;
  }
  plan->bins = static_cast<size_t>(ceil_divide(stride, 2));
  return plan;
}

}  // namespace onnx_fft
