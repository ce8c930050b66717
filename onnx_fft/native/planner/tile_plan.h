// How a tile is transformed, or convolved as it is. Plain data: tile_plan.cpp makes it, the kernels read it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "planner/conv.h"

namespace onnx_fft {

struct AxisPlan;

// A DFT along one line as a chain of short ones: while n > 1, radix r takes elements apart by n / r.
struct LinePlan {
  struct Step {
    int radix;
    int count;       // butterflies with a twiddle of their own: n / r
    int stride;      // butterflies that share it
    size_t twiddle;  // where its twiddles begin: w_n^(p k), k = 1 .. r - 1, for each p < count
  };
  int length = 1;
  std::vector<Step> steps;
  std::vector<double> roots;  // re, im
};

// The DFT of a real tile, dimension by dimension. The samples of the real axis (the last one that is transformed) lie
// as `columns` sequences n mod columns, each of `real_length` = T / columns; if columns > 1, a twiddle w_T^(n k) and a
// DFT along the columns follow. The array is [other axes..., columns, real_length / 2 + 1] complex vectors.
struct Pass {
  LinePlan line;
  ptrdiff_t stride;              // between elements, in complex vectors
  ptrdiff_t outer, inner;        // lines: index o * length * stride + i for o < outer, i < inner (= stride)
  std::vector<double> twiddles;  // [inner, length] re, im; empty if there are none
};

// The arrays a kernel reads, cast to its precision.
template <typename Real>
struct TileTables {
  std::vector<std::vector<Real>> line_roots;  // for the real line, then for each pass
  std::vector<std::vector<Real>> twiddles;    // for each pass
  std::vector<Real> real_roots;               // exp(-2 pi i k / real_length) for k <= real_length / 4
};

struct TilePlan {
  int64_t length[kMaxRank] = {1, 1, 1};
  std::vector<int32_t> position[kMaxRank];  // of each sample, in real vectors from the tile's begin

  size_t bins = 0;  // complex vectors of scratch: those of the spectrum, or as many as hold the samples

  // Of a direct tile, which is convolved as it is: taps along each axis, and samples from one to the next. A tile that
  // is transformed has none; what follows is for that.
  int64_t taps[kMaxRank] = {}, spacing[kMaxRank] = {};
  int real_axis = 0;
  int real_length = 2;
  int columns = 1;
  LinePlan real_line;        // complex, of real_length / 2
  std::vector<Pass> passes;  // in forward order
  size_t work = 0;           // complex vectors of scratch a line needs
  TileTables<float> f32;
  TileTables<double> f64;

  bool is_direct() const { return taps[0] > 0; }
  template <typename Real>
  const TileTables<Real>& tables() const;
};

template <>
inline const TileTables<float>& TilePlan::tables<float>() const {
  return f32;
}
template <>
inline const TileTables<double>& TilePlan::tables<double>() const {
  return f64;
}

// Longest real line that stays in the first-level cache with its scratch; a longer one is cut into columns.
constexpr int kLongestLine = 320;

// The shortest DFT of at least so many points: 2^a 3^b 5^c 7^d.
int64_t next_length(int64_t least, bool even);

// The line's DFT; `length` has no prime factor above kLargestRadix.
constexpr int kLargestRadix = 13;
LinePlan plan_line(int length);

// What the butterflies of such a line cost for each element, roughly in loads and stores.
double line_cost(int length);

// Where a DFT in place leaves each bin: with steps of radices r and counts m, bin k[0] + r[0] (k[1] + r[1] (...)) at
// k[0] m[0] + k[1] m[1] + ...
std::vector<int32_t> find_places(const LinePlan& line);

// Appends exp(-2 pi i numerator / denominator).
void push_root(std::vector<double>& roots, int64_t numerator, int64_t denominator);

// A tile of `length` [kMaxRank] samples that is transformed, and one that is convolved tap by tap.
std::shared_ptr<const TilePlan> plan_tile(const int64_t* length, int real_axis);
std::shared_ptr<const TilePlan> plan_direct_tile(const AxisPlan* axes);

}  // namespace onnx_fft
