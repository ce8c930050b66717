// One convolution on raw memory: plans it for each shape, prepares its weights, and runs it. Knows nothing of ONNX
// Runtime; the binding in ops/ and the test driver use it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/executor.h"
#include "planner/conv.h"

namespace onnx_fft {

struct ConvPlan;
struct FrameForm;

// What is decided for inputs of one shape, once.
struct Execution {
  std::vector<int64_t> y_shape;
  int64_t outputs = 0;  // elements of y
  // Nothing if y is empty. Otherwise how to compute it, and whether ONNX Runtime's own Conv is expected to be faster.
  std::shared_ptr<const ConvPlan> plan;
  bool prefers_ort_conv = false;
  // Instead of a plan, if rows are joined that frames do not give: what computes them.
  std::shared_ptr<const Execution> sums;
};

// What the epilogue reads, each nullptr if the convolution has no such step.
struct EpilogueOperands {
  const void* bias = nullptr;      // [out_channels]
  const void* residual = nullptr;  // of y's shape
  const double* slope = nullptr;   // of PRelu, [out_channels]
  const double* scale = nullptr;   // [out_channels]
  const double* shift = nullptr;   // [out_channels]
};

// x [batch, in_channels, *extents] * w [out_channels, in_channels / group, *kernel] -> y [batch, out_channels,
// *outputs]. Every const function may be called from several threads at once.
class Convolution {
 public:
  // `constant_weights`: w, if it never changes and outlives this object; its spectra are then computed once for each
  // tile size. nullptr if w comes with every run.
  Convolution(const ConvAttributes& attributes, DType dtype, int64_t out_channels, int64_t in_channels_per_group,
              const void* constant_weights);
  // What the rows of an STFT become, see planner/frames.h; of weights that are no windowed DFT basis of one input
  // channel, too. Throws std::invalid_argument for an odd number of rows, or more than one axis.
  Convolution(const ConvAttributes& attributes, DType dtype, int64_t out_channels, int64_t in_channels_per_group,
              const void* constant_weights, const FrameForm& form);
  ~Convolution();

  // Throws std::invalid_argument with a sentence if x_shape [rank + 2] does not fit. What was decided for the last 64
  // shapes is kept.
  std::shared_ptr<const Execution> execution_for(const int64_t* x_shape) const;

  // Computes the spectra that a run needs ahead of the first.
  void prepare(const Execution& execution) const;

  // `execution` is that of x's shape. `w` is ignored if the weights are constant. Tensors hold `dtype`.
  void run(const Execution& execution, const void* x, const void* w, const EpilogueOperands& operands, void* y,
           const Executor& executor) const;

  // The epilogue alone, in place, for sums [y_shape] that were computed elsewhere.
  void finish(const int64_t* y_shape, const EpilogueOperands& operands, void* y, const Executor& executor) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace onnx_fft
