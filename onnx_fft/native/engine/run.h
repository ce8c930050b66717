// Runs a planned convolution in three stages (DFTs, products, inverse DFTs), each of them many tasks. If every group
// has one input and one output, all three are one task.
//
// Spectra, in [re, im] vectors of L lanes, with K = in_channels * polyphase of a group and blocks of L rounded up:
//
//                 inputs                   weights                            outputs
//   kChannels     [bin, row, block of k]   [bin, group, block of o, k]        [bin, row, group, block of o]
//   kTiles        [bin, block of rows, k]  [bin, group, o, block of k]        [bin, block of rows, group, o]
//   elementwise   -                        [block of groups, bin], or taps    -
#pragma once

#include <algorithm>

#include "engine/executor.h"
#include "engine/scratch.h"
#include "engine/task_scratch.h"
#include "engine/weights.h"
#include "kernels/kernels.h"
#include "planner/plan.h"

namespace onnx_fft {

template <typename Real>
class Runner {
 public:
  Runner(const ConvPlan& plan, const Kernels<Real>& kernels, const SpectrumKernels<Real>& spectra, int vector_bytes,
         ScratchPool& pool)
      : plan_(plan),
        tile_(*plan.tile),
        kernels_(kernels),
        spectra_(spectra),
        pool_(pool),
        weights_(plan, spectra, vector_bytes / static_cast<int>(sizeof(Real)), pool),
        L_(vector_bytes / static_cast<int>(sizeof(Real))),
        pair_(2 * L_),
        K_(plan.in_channels * plan.polyphase) {}

  const Weights<Real>& weights() const { return weights_; }

  void run(const void* x, const Real* spectra, void* y, size_t itemsize, const Epilogue<Real>& epilogue,
           const Executor& executor) const {
    const Call call{x, y, static_cast<int64_t>(itemsize), epilogue, executor};
    if (plan_.is_elementwise()) return run_elementwise(call, spectra);
    const int64_t rows = plan_.batch * plan_.tiles;
    const bool channels = plan_.lanes == Lanes::kChannels;
    const int64_t row_bytes =
        (plan_.group * (K_ + plan_.out_channels)) * 2 * static_cast<int64_t>(tile_.bins * sizeof(Real));
    const int64_t unit = channels ? 1 : L_;
    const int64_t most = std::max<int64_t>(unit, kStageBytes / row_bytes / unit * unit);
    for (int64_t first = 0; first < rows; first += most) {
      const int64_t count = std::min(most, rows - first);
      channels ? run_channels(call, spectra, first, count) : run_tiles(call, spectra, first, count);
    }
  }

 private:
  struct Call {
    const void* x;
    void* y;
    int64_t itemsize;
    const Epilogue<Real>& epilogue;
    const Executor& executor;
  };

  // A stride of whole pages would put every bin into the same few sets of the cache.
  int64_t padded(int64_t stride) const {
    return stride * static_cast<int64_t>(sizeof(Real)) % 4096 == 0 ? stride + pair_ : stride;
  }

  // The image of a row (image * tiles + tile), and along each axis the number of its tile and its residue.
  struct Place {
    int64_t image, tile[kMaxRank], residue[kMaxRank];
  };

  Place place_of(int64_t row) const {
    Place place;
    place.image = row / plan_.tiles;
    int64_t rest = row % plan_.tiles;
    for (int axis = kMaxRank - 1; axis >= 0; --axis) {
      const AxisPlan& a = plan_.axes[axis];
      place.tile[axis] = rest % a.tiles;
      place.residue[axis] = rest / a.tiles % a.residues;
      rest /= a.tiles * a.residues;
    }
    return place;
  }

  InputPlanes make_input_planes() const {
    InputPlanes input;
    for (int axis = 0; axis < kMaxRank; ++axis) {
      input.extent[axis] = plan_.axes[axis].extent;
      input.step[axis] = plan_.axes[axis].input_step();
    }
    input.set_strides();
    return input;
  }

  // Adds k = in_channel * polyphase + component, counted over all groups, of the row's tile.
  void add_input_lane(const Call& call, InputPlanes& input, int64_t row, int64_t k) const {
    const Place place = place_of(row);
    const AxisPlan* a = plan_.axes;
    InputPlanes::Lane& lane = input.lanes[input.count++];
    const int64_t image = a[0].extent * a[1].extent * a[2].extent;
    const int64_t plane = place.image * plan_.group * plan_.in_channels + k / plan_.polyphase;
    lane.data = static_cast<const char*>(call.x) + plane * image * call.itemsize;
    int64_t component = k % plan_.polyphase;
    for (int axis = kMaxRank - 1; axis >= 0; --axis) {
      const int64_t offset =
          a[axis].stride > 1 ? component % a[axis].polyphase * a[axis].polyphase_step : place.residue[axis];
      lane.origin[axis] = place.tile[axis] * a[axis].step * a[axis].input_step() + offset - a[axis].pad;
      component /= a[axis].polyphase;
    }
  }

  OutputPlanes<Real> make_output_planes(const Call& call) const {
    OutputPlanes<Real> output;
    output.epilogue = &call.epilogue;
    for (int axis = 0; axis < kMaxRank; ++axis) {
      output.extent[axis] = plan_.axes[axis].outputs;
      output.step[axis] = plan_.axes[axis].output_step();
      output.outputs[axis] = plan_.axes[axis].step;
    }
    output.set_strides();
    return output;
  }

  // Adds output channel `channel`, counted over all groups, of the row's tile.
  void add_output_lane(const Call& call, OutputPlanes<Real>& output, int64_t row, int64_t channel) const {
    const Place place = place_of(row);
    const AxisPlan* a = plan_.axes;
    const int64_t image = a[0].outputs * a[1].outputs * a[2].outputs;
    const int64_t plane = place.image * plan_.group * plan_.out_channels + channel;
    output.channel[output.count] = channel;
    if (const void* residual = call.epilogue.residual) {
      output.residual[output.count] = static_cast<const char*>(residual) + plane * image * call.itemsize;
    }
    auto& lane = output.lanes[output.count++];
    lane.data = static_cast<char*>(call.y) + plane * image * call.itemsize;
    for (int axis = 0; axis < kMaxRank; ++axis) {
      lane.origin[axis] = place.tile[axis] * a[axis].step * a[axis].output_step() + place.residue[axis];
    }
  }

  // Calls `add` for the items of one block of lanes, of `count` in all.
  template <typename Add>
  void fill_lanes(int64_t block, int64_t count, const Add& add) const {
    for (int64_t item = block * L_; item < std::min(count, (block + 1) * L_); ++item) add(item);
  }

  void run_elementwise(const Call& call, const Real* spectra) const {
    const bool channels = plan_.lanes == Lanes::kChannels;
    const int64_t rows = plan_.batch * plan_.tiles, lanes = channels ? plan_.group : rows;
    const int64_t blocks = ceil_divide(lanes, L_);
    TaskScratch scratch(pool_, scratch_bytes<Real>(tile_, L_));
    each(call.executor, blocks * (channels ? rows : plan_.group), [&](int64_t task) {
      const int64_t block = task % blocks, other = task / blocks;
      InputPlanes input = make_input_planes();
      OutputPlanes<Real> output = make_output_planes(call);
      fill_lanes(block, lanes, [&](int64_t item) {
        add_input_lane(call, input, channels ? other : item, channels ? item : other);
        add_output_lane(call, output, channels ? other : item, channels ? item : other);
      });
      const int64_t group_block = channels ? block : other / L_;
      const Factor<Real> factor{spectra + group_block * weights_.block_reals(),
                                channels ? -1 : static_cast<int>(other % L_)};
      const TaskScratch::Use use(scratch);
      kernels_.convolve(tile_, input, factor, use.template as<Real>(), output);
    });
  }

  void forward_tile(TaskScratch& scratch, const InputPlanes& input, Real* spectrum, int64_t stride) const {
    const TaskScratch::Use use(scratch);
    kernels_.forward(tile_, input, use.template as<Real>(), spectrum, stride);
  }

  void inverse_tile(TaskScratch& scratch, const Real* spectrum, int64_t stride,
                    const OutputPlanes<Real>& output) const {
    const TaskScratch::Use use(scratch);
    kernels_.inverse(tile_, spectrum, stride, use.template as<Real>(), output);
  }

  // Products of all bins, several to a task.
  template <typename Body>
  void each_bin(const Executor& executor, const Body& body) const {
    constexpr int64_t kTasks = 64;
    const int64_t bins = static_cast<int64_t>(tile_.bins), tasks = std::min(kTasks, bins);
    each(executor, tasks, [&](int64_t task) {
      for (int64_t bin = bins * task / tasks; bin < bins * (task + 1) / tasks; ++bin) body(bin);
    });
  }

  void run_channels(const Call& call, const Real* spectra, int64_t first, int64_t rows) const {
    const int64_t all_k = plan_.group * K_, in_blocks = ceil_divide(all_k, L_), bins = static_cast<int64_t>(tile_.bins);
    const int64_t out_pairs = plan_.group * weights_.out_blocks();
    const int64_t in_stride = padded(rows * in_blocks * pair_), out_stride = padded(rows * out_pairs * pair_);
    const ScratchPool::Lease lease(pool_, static_cast<size_t>(bins * (in_stride + out_stride)) * sizeof(Real));
    Real* const inputs = lease.template as<Real>();
    Real* const outputs = inputs + bins * in_stride;
    TaskScratch scratch(pool_, scratch_bytes<Real>(tile_, L_));
    each(call.executor, rows * in_blocks, [&](int64_t task) {
      InputPlanes input = make_input_planes();
      fill_lanes(task % in_blocks, all_k, [&](int64_t k) { add_input_lane(call, input, first + task / in_blocks, k); });
      forward_tile(scratch, input, inputs + task * pair_, in_stride);
    });
    each_bin(call.executor, [&](int64_t bin) {
      for (int64_t group = 0; group < plan_.group; ++group) {
        spectra_.multiply({inputs + bin * in_stride,
                           spectra + bin * weights_.stride() + group * weights_.out_blocks() * K_ * pair_,
                           outputs + bin * out_stride + group * weights_.out_blocks() * pair_, rows, K_,
                           weights_.out_blocks(), group * K_, in_blocks * pair_, K_ * pair_, out_pairs * pair_, pair_});
      }
    });
    each(call.executor, rows * out_pairs, [&](int64_t task) {
      const int64_t group = task % out_pairs / weights_.out_blocks();
      OutputPlanes<Real> output = make_output_planes(call);
      fill_lanes(task % weights_.out_blocks(), plan_.out_channels, [&](int64_t o) {
        add_output_lane(call, output, first + task / out_pairs, group * plan_.out_channels + o);
      });
      inverse_tile(scratch, outputs + task * pair_, out_stride, output);
    });
  }

  void run_tiles(const Call& call, const Real* spectra, int64_t first, int64_t rows) const {
    const int64_t all_k = plan_.group * K_, all_o = plan_.group * plan_.out_channels,
                  bins = static_cast<int64_t>(tile_.bins);
    const int64_t blocks = ceil_divide(rows, L_), k_blocks = ceil_divide(K_, L_);
    const int64_t in_stride = padded(blocks * all_k * pair_), out_stride = padded(blocks * all_o * pair_);
    const ScratchPool::Lease lease(pool_, static_cast<size_t>(bins * (in_stride + out_stride)) * sizeof(Real));
    Real* const inputs = lease.template as<Real>();
    Real* const outputs = inputs + bins * in_stride;
    TaskScratch scratch(pool_, scratch_bytes<Real>(tile_, L_));
    each(call.executor, blocks * all_k, [&](int64_t task) {
      InputPlanes input = make_input_planes();
      fill_lanes(task / all_k, rows, [&](int64_t row) { add_input_lane(call, input, first + row, task % all_k); });
      forward_tile(scratch, input, inputs + task * pair_, in_stride);
    });
    each_bin(call.executor, [&](int64_t bin) {
      for (int64_t group = 0; group < plan_.group; ++group) {
        spectra_.multiply({spectra + bin * weights_.stride() + group * plan_.out_channels * k_blocks * pair_,
                           inputs + bin * in_stride + group * K_ * pair_,
                           outputs + bin * out_stride + group * plan_.out_channels * pair_, plan_.out_channels, K_,
                           blocks, 0, k_blocks * pair_, all_k * pair_, pair_, all_o * pair_});
      }
    });
    each(call.executor, blocks * all_o, [&](int64_t task) {
      OutputPlanes<Real> output = make_output_planes(call);
      fill_lanes(task / all_o, rows, [&](int64_t row) { add_output_lane(call, output, first + row, task % all_o); });
      inverse_tile(scratch, outputs + task * pair_, out_stride, output);
    });
  }

  const ConvPlan& plan_;
  const TilePlan& tile_;
  const Kernels<Real>& kernels_;
  const SpectrumKernels<Real>& spectra_;
  ScratchPool& pool_;
  const Weights<Real> weights_;
  const int64_t L_, pair_, K_;
};

}  // namespace onnx_fft
