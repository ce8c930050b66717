// To and from the convolution that a transposed one equals: its weights, and its outputs.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "engine/executor.h"
#include "engine/fourier_split.h"
#include "kernels/transposed.h"
#include "planner/plan.h"
#include "planner/transposed.h"

namespace onnx_fft {

// Where tap k of one axis goes: to a tap of a residue.
struct TapPlace {
  int64_t residue, tap;
};

inline TapPlace place_tap(const TransposedAttributes& attributes, const ConvAttributes& equal, int axis, int64_t k) {
  const int64_t stride = attributes.conv.strides[axis], last = equal.kernel[axis] - 1;
  if (stride == 1) return {0, last - k};
  const int64_t at = k * attributes.conv.dilations[axis];
  return {at % stride, last - at / stride};
}

// w [in_channels, out_channels / group, *kernel] -> [out_channels * residues, in_channels / group, *equal kernel].
template <typename Element>
void arrange_weights(const TransposedAttributes& attributes, int64_t in_channels, int64_t outputs, const Element* w,
                     Element* arranged, const Executor& executor) {
  const ConvAttributes& conv = attributes.conv;
  const ConvAttributes equal = equal_conv(attributes);
  const int64_t inputs = in_channels / conv.group, residues = attributes.residues();
  const int64_t taps = count_elements(conv.kernel, conv.rank), equal_taps = count_elements(equal.kernel, conv.rank);
  std::vector<int64_t> places;  // of each tap, in the weights of one channel to another
  for (int64_t tap = 0; tap < taps; ++tap) {
    int64_t rest = tap, residue = 0, place = 0, residue_step = 1, place_step = 1;
    for (int axis = conv.rank - 1; axis >= 0; --axis) {
      const TapPlace at = place_tap(attributes, equal, axis, rest % conv.kernel[axis]);
      residue += at.residue * residue_step;
      place += at.tap * place_step;
      rest /= conv.kernel[axis];
      residue_step *= conv.strides[axis];
      place_step *= equal.kernel[axis];
    }
    places.push_back(residue * inputs * equal_taps + place);
  }
  each_range(executor, outputs * conv.group, outputs * conv.group, [&](int64_t channel, int64_t last) {
    for (; channel < last; ++channel) {
      Element* const to = arranged + channel * residues * inputs * equal_taps;
      std::fill_n(to, residues * inputs * equal_taps, Element{});
      const int64_t first = channel / outputs * inputs;
      for (int64_t input = 0; input < inputs; ++input) {
        const Element* const from = w + ((first + input) * outputs + channel % outputs) * taps;
        for (int64_t tap = 0; tap < taps; ++tap) to[input * equal_taps + places[static_cast<size_t>(tap)]] = from[tap];
      }
    }
  });
}

// The outputs of the equal convolution -> y. Rows of y are cut into parts, which are spread over tasks.
class Interleaver {
 public:
  Interleaver(const TransposedAttributes& attributes, const int64_t* y_shape, const int64_t* equal_shape,
              size_t element_bytes)
      : bytes_(static_cast<int64_t>(element_bytes)), planes_(y_shape[0] * y_shape[1]) {
    const int missing = kMaxRank - attributes.conv.rank;
    for (int axis = 0; axis < attributes.conv.rank; ++axis) {
      axes_[missing + axis] = {attributes.conv.strides[axis],
                               attributes.conv.pads_begin[axis] % attributes.conv.strides[axis], y_shape[2 + axis],
                               equal_shape[2 + axis]};
    }
  }

  void run(void (*interleave)(const Residues&, void*), const void* equal, void* y, const Executor& executor) const {
    constexpr int64_t kPart = 1 << 14, kFlops = 1;  // outputs; what one takes, roughly
    const Axis &rows = axes_[1], &last = axes_[2];
    const int64_t parts = ceil_divide(last.outputs, kPart), count = planes_ * axes_[0].outputs * rows.outputs * parts;
    const double flops = static_cast<double>(kFlops * count) * static_cast<double>(std::min(kPart, last.outputs));
    each_range(executor, count, count_tasks(flops), [&](int64_t part, int64_t end) {
      for (; part < end; ++part) {
        const int64_t row = part / parts, begin = part % parts * kPart;
        const int64_t outputs = std::min(kPart, last.outputs - begin);
        const Residues residues{static_cast<const char*>(equal) + find_row(row) * bytes_, residue_step(), last.stride,
                                last.first + begin, outputs};
        interleave(residues, static_cast<char*>(y) + (row * last.outputs + begin) * bytes_);
      }
    });
  }

 private:
  struct Axis {
    int64_t stride = 1, first = 0, outputs = 1, extent = 1;  // `extent` of the equal convolution's outputs
  };

  int64_t residue_step() const { return axes_[0].extent * axes_[1].extent * axes_[2].extent; }

  // Where sample 0 of residue 0 along the last axis is.
  int64_t find_row(int64_t row) const {
    const int64_t plane = row / (axes_[0].outputs * axes_[1].outputs);
    const int64_t depth = row / axes_[1].outputs % axes_[0].outputs + axes_[0].first;
    const int64_t height = row % axes_[1].outputs + axes_[1].first;
    const int64_t channel =
        ((plane * axes_[0].stride + depth % axes_[0].stride) * axes_[1].stride + height % axes_[1].stride) *
        axes_[2].stride;
    return ((channel * axes_[0].extent + depth / axes_[0].stride) * axes_[1].extent + height / axes_[1].stride) *
           axes_[2].extent;
  }

  const int64_t bytes_, planes_;
  Axis axes_[kMaxRank];
};

}  // namespace onnx_fft
