// One transposed convolution on raw memory: by the convolution of stride 1 that it equals, whose outputs are
// interleaved, or frame by frame if its weights are an inverse DFT basis. Knows nothing of ONNX Runtime.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/convolution.h"
#include "engine/executor.h"
#include "planner/transposed.h"

namespace onnx_fft {

struct OverlapPlan;

// What is decided for inputs of one shape, once.
struct TransposedExecution {
  std::vector<int64_t> y_shape;
  int64_t outputs = 0;                         // elements of y; if there are none, nothing else is decided
  Execution equal;                             // of the equal convolution; without a plan if that would take gigabytes
  std::shared_ptr<const OverlapPlan> overlap;  // in place of that
  bool prefers_ort = false;                    // whether ORT's own ConvTranspose is expected to be faster
};

// x [batch, in_channels, *extents], w [in_channels, out_channels / group, *kernel] -> y [batch, out_channels,
// *outputs]. Every const function may be called from several threads at once.
class TransposedConvolution {
 public:
  // `constant_weights`: w, if it never changes and outlives this object; nullptr if w comes with every run.
  TransposedConvolution(const TransposedAttributes& attributes, DType dtype, int64_t in_channels,
                        int64_t out_channels_per_group, const void* constant_weights);
  ~TransposedConvolution();

  // Throws std::invalid_argument with a sentence if x_shape [rank + 2] does not fit. What was decided for the last 64
  // shapes is kept.
  std::shared_ptr<const TransposedExecution> execution_for(const int64_t* x_shape) const;

  // Computes what a run needs of constant weights ahead of the first.
  void prepare(const TransposedExecution& execution) const;

  // `execution` is that of x's shape. `w` is ignored if the weights are constant; `bias` [out_channels] or nullptr.
  void run(const TransposedExecution& execution, const void* x, const void* w, const void* bias, void* y,
           const Executor& executor) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace onnx_fft
