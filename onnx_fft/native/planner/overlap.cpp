#include "planner/overlap.h"

#include <algorithm>
#include <cmath>

#include "planner/fourier_plan.h"
#include "planner/plan.h"
#include "planner/tasks.h"

namespace onnx_fft {
namespace {

// Cycles of one core for one vector: a row of inputs that is read, a sample that is added. Where and how: as in
// fourier_plan.cpp.
constexpr double kRowCycles = 10, kSampleCycles = 1;

// A task computes the frames at its beginning once more than the one before it: they are to be few, and its sums are to
// stay in the second-level cache.
constexpr int64_t kLeastTaps = 4, kMostTasks = 32, kLongestRange = 1 << 16;

int64_t choose_range(const OverlapPlan& plan) {
  const int64_t wanted = ceil_divide(plan.outputs * plan.signals, kMostTasks);
  return std::min(plan.outputs, std::min(std::max(wanted, kLeastTaps * plan.taps), kLongestRange));
}

Work count_work(const OverlapPlan& plan, int lanes) {
  const double ranges = double(ceil_divide(plan.outputs, plan.range) * plan.signals);
  const double frames = std::min(double(plan.frames), double(plan.range + plan.taps) / double(plan.stride) + 1);
  const double groups = ranges * std::ceil(frames / lanes);
  const double transform = count_transform_cycles({plan.length, FourierForm::kHalf, true, true});
  Work work;
  work.of[kCalls] = 1;
  work.of[kDenseTransforms] =
      groups * uneven(ranges) * (double(plan.rows) * kRowCycles + transform + double(plan.taps) * kSampleCycles);
  work.of[kBytes] = 4 * double(plan.signals) * (double(plan.rows * plan.frames) + double(plan.outputs));
  return work;
}

}  // namespace

std::shared_ptr<const OverlapPlan> plan_overlap(const TransposedAttributes& attributes, const int64_t* x_shape,
                                                const int64_t* y_shape, int64_t length, int lanes) {
  const ConvAttributes& conv = attributes.conv;
  auto plan = std::make_shared<OverlapPlan>();
  plan->signals = x_shape[0] * conv.group;
  plan->rows = x_shape[1] / conv.group;
  plan->length = length;
  for (int axis = 0; axis < conv.rank; ++axis) {
    if (conv.kernel[axis] == 1) {
      if (x_shape[2 + axis] != 1 || y_shape[2 + axis] != 1 || conv.pads_begin[axis] != 0) return nullptr;
      continue;
    }
    if (conv.dilations[axis] != 1) return nullptr;
    plan->frames = x_shape[2 + axis];
    plan->outputs = y_shape[2 + axis];
    plan->taps = conv.kernel[axis];
    plan->stride = conv.strides[axis];
    plan->first = conv.pads_begin[axis];
  }
  plan->range = choose_range(*plan);
  plan->work = count_work(*plan, lanes);
  return plan;
}

}  // namespace onnx_fft
