// DFTs of many lines on raw memory. Knows nothing of ONNX Runtime; the binding in ops/ and the test driver use it.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/executor.h"
#include "planner/conv.h"
#include "planner/fourier_bytes.h"
#include "planner/fourier_plan.h"

namespace onnx_fft {

// Where the lines lie: `outer` x `inner` of them. Line (o, i) of the input begins at real
// (o / near_count) * far + (o % near_count) * near + i * in_parts, and its samples are inner * in_parts reals apart.
// The output is [outer, out_samples, inner, out_parts].
struct FourierLayout {
  int64_t outer, inner;
  int64_t near_count, near, far;
  int64_t available;  // samples of the input; those behind them, up to what the DFT reads, are zero
  BinForm form;       // of the output; if it is not kParts, `inner` is 1, and so are the parts

  int out_parts(const FourierSpec& spec) const { return form == BinForm::kParts ? spec.out_parts() : 1; }
};

// [outer, samples, inner, parts], as of a tensor along one of its axes.
inline FourierLayout lay_out_axis(int64_t outer, int64_t samples, int64_t inner, int parts) {
  return {outer, inner, 1, 0, samples * inner * parts, samples, BinForm::kParts};
}

// Frames of a signal [batch, length, parts], `step` samples apart; each is as long as the DFT.
inline FourierLayout lay_out_frames(int64_t batch, int64_t length, int parts, int64_t frames, int64_t step,
                                    int64_t frame_length, BinForm form) {
  return {batch * frames, 1, frames, step * parts, length * parts, frame_length, form};
}

// What DFTs of such lines take, on vectors of so many bytes: the tables, which all nodes of the process share, and what
// a run takes beside the tensors.
FourierBytes count_engine_bytes(const FourierSpec& spec, DType dtype, const FourierLayout& layout, int vector_bytes);

// Shares its plans with all others of the process; every function may be called from several threads at once.
class FourierEngine {
 public:
  FourierEngine();
  ~FourierEngine();

  // Tensors hold `dtype`; `x_count` is the number of the input's elements. `window`, if there is one, holds a factor
  // for each sample of a line, and `inner` is 1. Throws std::invalid_argument if the DFT is too long.
  void run(const FourierSpec& spec, DType dtype, const FourierLayout& layout, const void* x, int64_t x_count,
           const void* window, void* y, const Executor& executor) const;

  // The plan of lines that are transformed in groups; float or double.
  template <typename Real>
  std::shared_ptr<const FourierPlan<Real>> plan_lines(const FourierSpec& spec) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace onnx_fft
