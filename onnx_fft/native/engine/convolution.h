// One convolution on raw memory: plans it for each shape, prepares its weights, and runs it. Knows nothing of ONNX
// Runtime; the binding in ops/ and the test driver use it.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/executor.h"
#include "planner/conv.h"

namespace onnx_fft {

// x [batch, in_channels, *extents] * w [out_channels, in_channels / group, *kernel] -> y [batch, out_channels,
// *outputs]. Every const function may be called from several threads at once.
class Convolution {
 public:
  // `constant_weights`: w, if it never changes and outlives this object; its spectra are then computed once for each
  // tile size. nullptr if w comes with every run.
  Convolution(const ConvAttributes& attributes, DType dtype, int64_t out_channels, int64_t in_channels_per_group,
              const void* constant_weights);
  ~Convolution();

  // y_shape [rank + 2] for x_shape [rank + 2]; throws std::invalid_argument with a sentence if they do not fit.
  void output_shape(const int64_t* x_shape, int64_t* y_shape) const;

  // Computes the spectra for inputs of this shape ahead of the first run.
  void prepare(const int64_t* x_shape) const;

  // Whether one matrix product of the unfolded input (im2col) is expected to be faster for this shape.
  bool prefers_im2col(const int64_t* x_shape) const;

  // `w` is ignored if the weights are constant; `bias` [out_channels] may be nullptr. Arrays hold `dtype`.
  void run(const void* x, const int64_t* x_shape, const void* w, const void* bias, void* y,
           const Executor& executor) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Applies `activation` in place, to sums that were computed elsewhere.
void activate(const Activation& activation, DType dtype, void* y, size_t count);

}  // namespace onnx_fft
