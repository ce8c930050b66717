// Where the spectra of a dense plan lie, in reals. Blocks of one vector of `lanes` channels; a group's channels begin a
// new one.
//
//   inputs    [pair, tile, re of all inputs, im of all inputs], an input for each polyphase component of each channel
//   weights   [group, pair, as DenseProduct reads them]
//   outputs   [pair, tile, block, re, im]
#pragma once

#include <cstdint>

#include "kernels/dense.h"
#include "planner/dense_plan.h"

namespace onnx_fft {

struct DenseSpectra {
  DenseSpectra(const DensePlan& plan, int64_t lanes)
      : lanes(lanes),
        pairs(plan.pairs()),
        inputs(plan.inputs()),
        in_blocks(ceil_divide(plan.in_channels, lanes)),
        out_blocks(ceil_divide(plan.out_channels, lanes)),
        // the last vector of a component may reach into the next one; that of the last into this padding
        to_im(ceil_divide(inputs - plan.in_channels + in_blocks * lanes, lanes) * lanes),
        weights(inputs * out_blocks * (plan.form == DenseForm::kGauss ? 3 : 2) * lanes) {}

  int64_t in_row() const { return 2 * to_im; }
  int64_t out_row() const { return out_blocks * 2 * lanes; }

  // Reals from one pair to the next, for so many tiles of `row` reals: an odd number of cache lines, of `line` reals.
  // Any power of two in it would put the pairs of a tile into few sets of the cache.
  static int64_t stride(int64_t tiles, int64_t row, int64_t line) {
    return (ceil_divide(tiles * row, line) | 1) * line;
  }

  // Of a group.
  int64_t weight_reals() const { return pairs.count() * weights; }

  const int64_t lanes;
  const DensePairs pairs;
  const int64_t inputs, in_blocks, out_blocks, to_im;
  const int64_t weights;  // reals of a pair's weights
};

}  // namespace onnx_fft
