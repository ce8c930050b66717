// Prints how the library cuts convolutions into tiles, for tests/native/test_plans.py.
//
// Reads one convolution per line: lanes, batch, channels of a group in and out, group, rank, and for each axis extent,
// kernel, stride, dilation and both pads. Prints for each what is done with a tile, what runs along the lanes, and for
// each axis the samples and the outputs of a tile and the number of tiles; behind a bar, if the dense engine computes
// it, the lengths of its DFTs.
#include <algorithm>
#include <iostream>

#include "planner/dense_plan.h"
#include "planner/plan.h"
#include "planner/rates.h"

int main() {
  using namespace onnx_fft;
  int lanes = 0;
  while (std::cin >> lanes) {
    int64_t x_shape[kMaxRank + 2] = {}, y_shape[kMaxRank + 2] = {}, in_channels = 0, out_channels = 0;
    ConvAttributes a;
    std::cin >> x_shape[0] >> in_channels >> out_channels >> a.group >> a.rank;
    x_shape[1] = in_channels * a.group;
    y_shape[0] = x_shape[0];
    y_shape[1] = out_channels * a.group;
    for (int axis = 0; axis < a.rank; ++axis) {
      std::cin >> x_shape[2 + axis] >> a.kernel[axis] >> a.strides[axis] >> a.dilations[axis] >> a.pads_begin[axis] >>
          a.pads_end[axis];
      const int64_t room = x_shape[2 + axis] + a.pads_begin[axis] + a.pads_end[axis];
      y_shape[2 + axis] = (room - a.dilations[axis] * (a.kernel[axis] - 1) - 1) / a.strides[axis] + 1;
    }
    const ConvPlan plan = plan_convolution(a, x_shape, y_shape, in_channels, y_shape[1], lanes,
                                           shipped_rates(lanes == 16 ? "intel" : "amd", 4 * lanes));
    const char* const transformed = plan.is_elementwise() ? "elementwise" : "summed";
    std::cout << (plan.direct ? "direct" : transformed) << ' '
              << (plan.lanes == Lanes::kChannels ? "channels" : "tiles");
    for (int axis = kMaxRank - a.rank; axis < kMaxRank; ++axis) {
      const AxisPlan& planned = plan.axes[axis];
      std::cout << ' ' << planned.length << ' ' << planned.step << ' ' << planned.tiles * planned.residues;
    }
    if (plan.dense) {
      std::cout << " |";
      for (const AxisPlan& axis : plan.dense->axes) std::cout << ' ' << axis.length;
    }
    std::cout << '\n';
  }
}
