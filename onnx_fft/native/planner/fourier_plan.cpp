#include "planner/fourier_plan.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "planner/fourier_bytes.h"

namespace onnx_fft {
namespace {

constexpr int64_t kMostPoints = int64_t{1} << 27;

// For a point, times the cost of its butterflies; the second of a DFT by a chirp, of both DFTs of the padded points.
// Fitted to sites as scripts/bench/calibrate_frames.py draws and judges them, on a 2-core Intel Xeon (Emerald Rapids),
// 2026-11: 2.3 to 3.8 and 4.5 to 5 cycles with AVX-512, 2.8 to 5.2 and 4 to 5 with AVX2.
constexpr double kPointCycles = 3.6, kChirpCycles = 5;

// Whether a DFT of so many points takes a chirp.
bool has_large_prime(int64_t n) {
  for (int64_t factor = 2; factor <= kLargestRadix; ++factor) {
    while (n % factor == 0) n /= factor;
  }
  return n > 1;
}

template <typename Real>
std::vector<Real> cast(const std::vector<double>& values) {
  return std::vector<Real>(values.begin(), values.end());
}

// The divisor of `points` for the columns: near to the square root, and rather one that fills vectors.
int64_t choose_column(int64_t points, int64_t lanes) {
  const auto filled = [&](int64_t n) { return double((n + lanes - 1) / lanes * lanes) / double(n); };
  int64_t best = 1;
  double least = INFINITY;
  for (int64_t a = 2; a * 2 <= points; ++a) {
    if (points % a != 0) continue;
    const int64_t b = points / a;
    const double cost = filled(a) * filled(b) * (1 + 0.02 * std::abs(std::log2(double(a) / double(b))));
    if (cost < least) {
      least = cost;
      best = a;
    }
    if (a > (int64_t{1} << 20)) break;
  }
  return best;
}

template <typename Real>
void plan_columns(int64_t points, int64_t lanes, ComplexDft<Real>& dft) {
  const int64_t column = choose_column(points, lanes);
  dft.line = plan_line(static_cast<int>(column));
  dft.rows = points / column;
  dft.row_line = plan_line(static_cast<int>(dft.rows));
  dft.row_roots = cast<Real>(dft.row_line.roots);
  std::vector<double> roots;
  for (int64_t first = 0; first < dft.rows; first += lanes) {
    for (int64_t c = 0; c < column; ++c) push_root(roots, first * c, points);
  }
  dft.block_roots = cast<Real>(roots);
  dft.lane_roots.resize(static_cast<size_t>(2 * lanes * column));
  Real* to = dft.lane_roots.data();
  for (int64_t c = 0; c < column; ++c, to += 2 * lanes) {
    for (int64_t lane = 0; lane < lanes; ++lane) {
      roots.clear();
      push_root(roots, lane * c, points);
      to[lane] = static_cast<Real>(roots[0]);
      to[lane + lanes] = static_cast<Real>(roots[1]);
    }
  }
}

template <typename Real>
ComplexDft<Real> plan_complex(int64_t points, bool is_long, int64_t lanes) {
  ComplexDft<Real> dft;
  if (is_long) {
    plan_columns(points, lanes, dft);
  } else {
    dft.line = plan_line(static_cast<int>(points));
    dft.places = find_places(dft.line);
  }
  dft.roots = cast<Real>(dft.line.roots);
  return dft;
}

// Of a long line, k = 1, 2, ... lie as vectors; the last one is filled up.
template <typename Real>
std::vector<Real> make_real_roots(const FourierSpec& spec, bool is_long, int64_t lanes) {
  std::vector<double> roots;
  const int64_t last = spec.points() / 2;
  if (!is_long) {
    for (int64_t k = 0; k <= last; ++k) push_root(roots, k, spec.length);
    return cast<Real>(roots);
  }
  std::vector<Real> vectors;
  for (int64_t first = 1; first <= last; first += lanes) {
    roots.clear();
    for (int64_t lane = 0; lane < lanes; ++lane) push_root(roots, first + lane, spec.length);
    for (size_t part = 0; part < 2; ++part) {
      for (int64_t lane = 0; lane < lanes; ++lane) {
        vectors.push_back(static_cast<Real>(roots[static_cast<size_t>(2 * lane) + part]));
      }
    }
  }
  return vectors;
}

// What a chirp gives is in order, and so is what is made from the core's bins beyond them.
template <typename Real>
std::vector<int32_t> place_outputs(const FourierPlan<Real>& plan) {
  std::vector<int32_t> places;
  if (!plan.has_chirp()) places = plan.dft.places;
  const size_t count = static_cast<size_t>(plan.spec.length + 1 + plan.lanes);
  for (size_t k = places.size(); k < count; ++k) places.push_back(static_cast<int32_t>(k));
  return places;
}

template <typename Real>
Real find_scale(const FourierSpec& spec) {
  const double part = spec.inverse ? 1.0 / static_cast<double>(spec.length) : 1.0;
  // `separate` gives twice the half-spectrum.
  return static_cast<Real>(spec.form == FourierForm::kReal && spec.is_packed() ? part / 2 : part);
}

// For the columns of a long line a length that is rich in powers of two.
int64_t choose_padded(int64_t points, bool is_long) {
  constexpr int64_t kPower = 1024;
  if (!is_long) return next_length(2 * points - 1, false);
  return next_length((2 * points - 1 + kPower - 1) / kPower, false) * kPower;
}

// Of a `LinePlan`, whose steps have n - n / radix complex roots each, in float64 and as the kernels read them.
double line_bytes(int64_t points, int real_bytes) { return 2 * double(points - 1) * (sizeof(double) + real_bytes); }

}  // namespace

double count_transform_cycles(const FourierSpec& spec) {
  const int64_t points = spec.points();
  if (!has_large_prime(points)) return kPointCycles * double(points) * line_cost(static_cast<int>(points));
  const int64_t padded = choose_padded(points, false);
  return 2 * kChirpCycles * double(padded) * line_cost(static_cast<int>(padded));
}

template <typename Real>
std::shared_ptr<FourierPlan<Real>> plan_fourier(const FourierSpec& spec, bool is_long, int64_t lanes) {
  if (spec.length > kMostPoints) {
    throw std::invalid_argument("got a DFT of " + std::to_string(spec.length) + " points; expected at most " +
                                std::to_string(kMostPoints));
  }
  auto plan = std::make_shared<FourierPlan<Real>>();
  plan->spec = spec;
  plan->lanes = lanes;
  const int64_t points = spec.points();
  if (has_large_prime(points)) {
    std::vector<double> chirp;
    for (int64_t n = 0; n < points; ++n) push_root(chirp, n * n % (2 * points), 2 * points);
    plan->chirp = cast<Real>(chirp);
    plan->dft = plan_complex<Real>(choose_padded(points, is_long), is_long, lanes);
  } else {
    plan->dft = plan_complex<Real>(points, is_long, lanes);
  }
  if (spec.is_packed()) plan->real_roots = make_real_roots<Real>(spec, is_long, lanes);
  if (!is_long) plan->places = place_outputs(*plan);
  plan->scale = find_scale<Real>(spec);
  return plan;
}

template std::shared_ptr<FourierPlan<float>> plan_fourier(const FourierSpec&, bool, int64_t);
template std::shared_ptr<FourierPlan<double>> plan_fourier(const FourierSpec&, bool, int64_t);

FourierBytes count_fourier_bytes(const FourierSpec& spec, bool is_long, int64_t lanes, int real_bytes) {
  const int64_t points = spec.points();
  const bool has_chirp = has_large_prime(points);
  const int64_t core = has_chirp ? choose_padded(points, is_long) : points;
  double reals = has_chirp ? 2 * double(points + core) : 0, lines;
  if (is_long) {
    const int64_t column = choose_column(core, lanes), rows = core / column;
    lines = line_bytes(column, real_bytes) + line_bytes(rows, real_bytes);
    reals += 2 * double(column) * double((rows + lanes - 1) / lanes + lanes);
  } else {
    lines = line_bytes(core, real_bytes);
  }
  const double places = is_long ? 0 : double(core) + double(spec.length + 1 + lanes);
  const int64_t last = points / 2;
  if (spec.is_packed()) reals += 2 * double(is_long ? (last + lanes - 1) / lanes * lanes : last + 1);
  const double chirped = has_chirp ? 4 * double(core) : 0;
  const double scratch = is_long ? 4 * double(core) + chirped + double(spec.in_samples() + spec.out_samples()) * 2
                                 : 2 * double(lanes) * double(spec.length + 1 + lanes + (has_chirp ? 2 * core : 0));
  return {lines + reals * real_bytes + places * sizeof(int32_t), scratch * real_bytes};
}

std::vector<double> make_chirp_kernel(int64_t points, int64_t padded) {
  std::vector<double> values(static_cast<size_t>(2 * padded)), root;
  for (int64_t n = 0; n < points; ++n) {
    root.clear();
    push_root(root, n * n % (2 * points), 2 * points);
    for (const int64_t at : {n, (padded - n) % padded}) {
      values[static_cast<size_t>(2 * at)] = root[0] / static_cast<double>(padded);
      values[static_cast<size_t>(2 * at + 1)] = -root[1] / static_cast<double>(padded);
    }
  }
  return values;
}

}  // namespace onnx_fft
