// A planned convolution, run: spectra of weights, and the three stages (DFTs, products, inverse DFTs) as tasks. Where a
// channel has one input and one output, all three are one task.
//
// Spectra, in [re, im] vectors of L lanes, with K = in_channels * phases of a group and blocks of L rounded up:
//
//                 inputs                   weights                            outputs
//   kChannels     [bin, row, block of k]   [bin, group, block of o, k]        [bin, row, group, block of o]
//   kTiles        [bin, block of rows, k]  [bin, group, o, block of k]        [bin, block of rows, group, o]
//   elementwise   -                        [block of groups, bin], or taps    -
#pragma once

#include <algorithm>

#include "kernels.h"
#include "scratch.h"
#include "weights.h"

namespace onnx_fft {

// Bytes both stages' spectra may take at once; more rows than fit are done in turns.
constexpr int64_t kStageBytes = 48 << 20;

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
        number_(2 * L_),
        K_(plan.in_channels * plan.phases) {}

  const Weights<Real>& weights() const { return weights_; }

  void run(const void* x, const Real* spectra, const Real* bias, void* y, size_t itemsize, const Activation& activation,
           const Executor& executor) const {
    const Call call{x, y, bias, static_cast<int64_t>(itemsize), activation, executor};
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
    const Real* bias;
    int64_t itemsize;
    const Activation& activation;
    const Executor& executor;
  };

  // Strides of whole pages would put every bin into the same few sets of the cache.
  int64_t padded(int64_t stride) const {
    return stride * static_cast<int64_t>(sizeof(Real)) % 4096 == 0 ? stride + number_ : stride;
  }

  // Where the tile of a row (n * tiles + tile) begins along each axis, counted in steps, and its residue.
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

  Source make_source() const {
    Source source;
    for (int axis = 0; axis < kMaxRank; ++axis) {
      source.extent[axis] = plan_.axes[axis].extent;
      source.step[axis] = plan_.axes[axis].input_step();
    }
    source.set_strides();
    return source;
  }

  void add_source_lane(const Call& call, Source& source, int64_t row, int64_t channel) const {
    const Place place = place_of(row);
    const AxisPlan* a = plan_.axes;
    Source::Lane& lane = source.lanes[source.count++];
    const int64_t image = a[0].extent * a[1].extent * a[2].extent;
    const int64_t plane = place.image * plan_.group * plan_.in_channels + channel / plan_.phases;
    lane.data = static_cast<const char*>(call.x) + plane * image * call.itemsize;
    int64_t phase = channel % plan_.phases;
    for (int axis = kMaxRank - 1; axis >= 0; --axis) {
      const int64_t offset = a[axis].stride > 1 ? phase % a[axis].phases * a[axis].phase_step : place.residue[axis];
      lane.origin[axis] = place.tile[axis] * a[axis].step * a[axis].input_step() + offset - a[axis].pad;
      phase /= a[axis].phases;
    }
  }

  Sink make_sink(const Call& call) const {
    Sink sink;
    sink.activation = call.activation;
    for (int axis = 0; axis < kMaxRank; ++axis) {
      sink.extent[axis] = plan_.axes[axis].outputs;
      sink.step[axis] = plan_.axes[axis].output_step();
      sink.outputs[axis] = plan_.axes[axis].step;
    }
    sink.set_strides();
    return sink;
  }

  void add_sink_lane(const Call& call, Sink& sink, int64_t row, int64_t output) const {
    const Place place = place_of(row);
    const AxisPlan* a = plan_.axes;
    sink.bias[sink.count] = call.bias == nullptr ? 0 : static_cast<double>(call.bias[output]);
    Sink::Lane& lane = sink.lanes[sink.count++];
    const int64_t image = a[0].outputs * a[1].outputs * a[2].outputs;
    const int64_t plane = place.image * plan_.group * plan_.out_channels + output;
    lane.data = static_cast<char*>(call.y) + plane * image * call.itemsize;
    for (int axis = 0; axis < kMaxRank; ++axis) {
      lane.origin[axis] = place.tile[axis] * a[axis].step * a[axis].output_step() + place.residue[axis];
    }
  }

  // Lanes `block * L ...` of `count` items.
  template <typename Add>
  void fill_lanes(int64_t block, int64_t count, const Add& add) const {
    for (int64_t item = block * L_; item < std::min(count, (block + 1) * L_); ++item) add(item);
  }

  void run_elementwise(const Call& call, const Real* spectra) const {
    const bool channels = plan_.lanes == Lanes::kChannels;
    const int64_t rows = plan_.batch * plan_.tiles, lanes = channels ? plan_.group : rows;
    const int64_t blocks = ceil_divide(lanes, L_);
    each(call.executor, blocks * (channels ? rows : plan_.group), [&](int64_t task) {
      const int64_t block = task % blocks, other = task / blocks;
      Source source = make_source();
      Sink sink = make_sink(call);
      fill_lanes(block, lanes, [&](int64_t item) {
        add_source_lane(call, source, channels ? other : item, channels ? item : other);
        add_sink_lane(call, sink, channels ? other : item, channels ? item : other);
      });
      const int64_t group_block = channels ? block : other / L_;
      const Factor<Real> factor{spectra + group_block * weights_.block_reals(),
                                channels ? -1 : static_cast<int>(other % L_)};
      const ScratchPool::Lease lease(pool_, scratch_bytes<Real>(tile_, L_));
      kernels_.convolve(tile_, source, factor, lease.template as<Real>(), sink);
    });
  }

  void forward_tile(const Source& source, Real* spectrum, int64_t stride) const {
    const ScratchPool::Lease lease(pool_, scratch_bytes<Real>(tile_, L_));
    kernels_.forward(tile_, source, lease.template as<Real>(), spectrum, stride);
  }

  void inverse_tile(const Real* spectrum, int64_t stride, const Sink& sink) const {
    const ScratchPool::Lease lease(pool_, scratch_bytes<Real>(tile_, L_));
    kernels_.inverse(tile_, spectrum, stride, lease.template as<Real>(), sink);
  }

  // Products of all bins, some of them a task.
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
    const int64_t out_numbers = plan_.group * weights_.out_blocks();
    const int64_t in_stride = padded(rows * in_blocks * number_), out_stride = padded(rows * out_numbers * number_);
    const ScratchPool::Lease lease(pool_, static_cast<size_t>(bins * (in_stride + out_stride)) * sizeof(Real));
    Real* const inputs = lease.template as<Real>();
    Real* const outputs = inputs + bins * in_stride;
    each(call.executor, rows * in_blocks, [&](int64_t task) {
      Source source = make_source();
      fill_lanes(task % in_blocks, all_k,
                 [&](int64_t k) { add_source_lane(call, source, first + task / in_blocks, k); });
      forward_tile(source, inputs + task * number_, in_stride);
    });
    each_bin(call.executor, [&](int64_t bin) {
      for (int64_t group = 0; group < plan_.group; ++group) {
        spectra_.multiply(
            {inputs + bin * in_stride, spectra + bin * weights_.stride() + group * weights_.out_blocks() * K_ * number_,
             outputs + bin * out_stride + group * weights_.out_blocks() * number_, rows, K_, weights_.out_blocks(),
             group * K_, in_blocks * number_, K_ * number_, out_numbers * number_, number_});
      }
    });
    each(call.executor, rows * out_numbers, [&](int64_t task) {
      const int64_t group = task % out_numbers / weights_.out_blocks();
      Sink sink = make_sink(call);
      fill_lanes(task % weights_.out_blocks(), plan_.out_channels, [&](int64_t o) {
        add_sink_lane(call, sink, first + task / out_numbers, group * plan_.out_channels + o);
      });
      inverse_tile(outputs + task * number_, out_stride, sink);
    });
  }

  void run_tiles(const Call& call, const Real* spectra, int64_t first, int64_t rows) const {
    const int64_t all_k = plan_.group * K_, all_o = plan_.group * plan_.out_channels,
                  bins = static_cast<int64_t>(tile_.bins);
    const int64_t blocks = ceil_divide(rows, L_), k_blocks = ceil_divide(K_, L_);
    const int64_t in_stride = padded(blocks * all_k * number_), out_stride = padded(blocks * all_o * number_);
    const ScratchPool::Lease lease(pool_, static_cast<size_t>(bins * (in_stride + out_stride)) * sizeof(Real));
    Real* const inputs = lease.template as<Real>();
    Real* const outputs = inputs + bins * in_stride;
    each(call.executor, blocks * all_k, [&](int64_t task) {
      Source source = make_source();
      fill_lanes(task / all_k, rows, [&](int64_t row) { add_source_lane(call, source, first + row, task % all_k); });
      forward_tile(source, inputs + task * number_, in_stride);
    });
    each_bin(call.executor, [&](int64_t bin) {
      for (int64_t group = 0; group < plan_.group; ++group) {
        spectra_.multiply({spectra + bin * weights_.stride() + group * plan_.out_channels * k_blocks * number_,
                           inputs + bin * in_stride + group * K_ * number_,
                           outputs + bin * out_stride + group * plan_.out_channels * number_, plan_.out_channels, K_,
                           blocks, 0, k_blocks * number_, all_k * number_, number_, all_o * number_});
      }
    });
    each(call.executor, blocks * all_o, [&](int64_t task) {
      Sink sink = make_sink(call);
      fill_lanes(task / all_o, rows, [&](int64_t row) { add_sink_lane(call, sink, first + row, task % all_o); });
      inverse_tile(outputs + task * number_, out_stride, sink);
    });
  }

  const ConvPlan& plan_;
  const TilePlan& tile_;
  const Kernels<Real>& kernels_;
  const SpectrumKernels<Real>& spectra_;
  ScratchPool& pool_;
  const Weights<Real> weights_;
  const int64_t L_, number_, K_;
};

}  // namespace onnx_fft
