#include "planner/choice.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "planner/cost.h"
#include "planner/dense_plan.h"
#include "planner/fourier_bytes.h"
#include "planner/frames.h"
#include "planner/ort_cost.h"

namespace onnx_fft {
namespace {

constexpr double kDenseScratchBytes = 8 << 20;  // a block that fits the second-level cache, of each thread

double sum_flops(const Work& work) { return work.of[kTransformFlops] + work.of[kProductFlops] + work.of[kDirectFlops]; }

// Of a basis: a DFT of frames, the window, and its rows.
void add_basis_bytes(const FourierSpec& spec, int64_t rows, int64_t taps, int lanes, Choice& choice) {
  constexpr double kRowBytes = 16;
  const FourierBytes bytes = count_fourier_bytes(spec, false, lanes, sizeof(float));
  choice.weight_bytes += bytes.tables + sizeof(float) * double(spec.length + lanes) + kRowBytes * double(rows);
  choice.scratch_bytes += bytes.scratch + sizeof(float) * double(taps * lanes);
}

}  // namespace

Choice choose_execution(const ConvAttributes& attributes, const int64_t* x_shape, const int64_t* y_shape,
                        int64_t in_channels, int64_t out_channels, int64_t basis_length, int lanes,
                        const Rates& rates) {
  Choice choice;
  choice.plan = plan_convolution(attributes, x_shape, y_shape, in_channels, out_channels, lanes, rates);
  std::shared_ptr<const FramesPlan> frames;
  if (basis_length > 0) frames = plan_frames(attributes, x_shape, y_shape, basis_length, lanes, rates);
  // A silent frame has a spectrum of exact zeros, which a general transform makes noise of: callers rely on that.
  if (frames != nullptr) {
    choice.plan.frames = frames;
    choice.plan.seconds = frames->seconds;
  }
  choice.seconds = choice.plan.seconds;
  if (choice.plan.frames != nullptr) {
    choice.work = frames->work;
    add_basis_bytes({frames->length, FourierForm::kReal, false, true}, out_channels, frames->taps, lanes, choice);
  } else if (const DensePlan* dense = choice.plan.dense.get()) {
    choice.work = dense->work;
    choice.flops = count_flops(*dense);
    choice.weight_bytes = spectra_bytes(*dense, lanes);
    choice.scratch_bytes = kDenseScratchBytes;
  } else if (choice.plan.tile != nullptr) {
    const int real_axis = choice.plan.tile->real_axis;
    choice.work = count_work(choice.plan, real_axis, lanes);
    choice.weight_bytes = weight_bytes(choice.plan, real_axis, lanes);
    choice.scratch_bytes = std::min(double(kStageBytes), stage_bytes(choice.plan, real_axis));
  }
  choice.flops += sum_flops(choice.work);
  const ConvShape shape{attributes, x_shape, y_shape, in_channels, out_channels};
  choice.kernel_seconds = rates.seconds(count_kernel_conv(shape));
  const Work in_model = count_model_conv(shape, lanes);
  choice.model_seconds = rates.seconds(in_model);
  choice.border_seconds = rates.of[kBlockedBytes] * in_model.of[kBlockedBytes];
  return choice;
}

namespace {

// By the equal convolution.
void choose_equal(const TransposedAttributes& attributes, const int64_t* x_shape, const int64_t* y_shape,
                  int64_t in_channels, int64_t out_channels, int lanes, const Rates& rates, TransposedChoice& choice) {
  if (!has_equal_conv(attributes, out_channels, in_channels)) {
    choice.plan.seconds = choice.seconds = INFINITY;
    return;
  }
  const std::vector<int64_t> equal = equal_shape(attributes, y_shape);
  static_cast<Choice&>(choice) = choose_execution(equal_conv(attributes), x_shape, equal.data(), in_channels,
                                                  out_channels * attributes.residues(), 0, lanes, rates);
  const Work interleave = count_interleave(attributes, y_shape);
  for (int unit = 0; unit < kUnits; ++unit) choice.work.of[unit] += interleave.of[unit];
  choice.seconds += rates.seconds(interleave);
  choice.weight_bytes += 4 * count_weights(attributes, out_channels, in_channels);
  if (attributes.residues() > 1)
    choice.scratch_bytes += 4 * double(count_elements(equal.data(), attributes.conv.rank + 2));
}

}  // namespace

TransposedChoice choose_transposed(const TransposedAttributes& attributes, const int64_t* x_shape,
                                   const int64_t* y_shape, int64_t in_channels, int64_t out_channels,
                                   int64_t basis_length, int lanes, const Rates& rates) {
  TransposedChoice choice;
  if (basis_length > 0) choice.overlap = plan_overlap(attributes, x_shape, y_shape, basis_length, lanes);
  if (choice.overlap != nullptr) {
    const OverlapPlan& overlap = *choice.overlap;
    const FourierSpec spec{overlap.length, FourierForm::kHalf, true, true};
    add_basis_bytes(spec, in_channels * attributes.conv.group, overlap.taps, lanes, choice);
    choice.scratch_bytes += sizeof(float) * double(overlap.range + 2 * overlap.taps);
    choice.work = overlap.work;
    choice.flops = sum_flops(choice.work);
    choice.seconds = rates.seconds(choice.work);
  } else {
    choose_equal(attributes, x_shape, y_shape, in_channels, out_channels, lanes, rates, choice);
  }
  const Work ort = count_transposed_conv({attributes.conv, x_shape, y_shape, in_channels, out_channels});
  choice.kernel_seconds = choice.model_seconds = rates.seconds(ort);
  choice.border_seconds = 0;
  return choice;
}

}  // namespace onnx_fft
