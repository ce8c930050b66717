#include "planner/frames.h"

#include <cmath>

#include "planner/fourier_plan.h"
#include "planner/tasks.h"

namespace onnx_fft {
namespace {

// Cycles of one core for one vector, as in dense_plan.cpp: a sample that is read, along a frame or from a channel; a
// row that is written, beside other frames' or turned, beside other rows of its frame. Where and how: as in
// fourier_plan.cpp.
constexpr double kReadCycles = 1.5, kChannelCycles = 5, kRowCycles = 6, kTurnedCycles = 3;
constexpr double kNoThread = 0.75;  // of a call that wakes no other thread

Work count_work(const FramesPlan& plan, int64_t out_channels, int64_t batch, int lanes) {
  const double groups = plan.frames == 1 ? std::ceil(double(plan.signals) / lanes)
                                         : std::ceil(double(plan.frames) / lanes) * double(plan.signals);
  const double reading = double(plan.taps) * (plan.tap_step > 1 ? kChannelCycles : kReadCycles);
  const double transform = count_transform_cycles({plan.length, FourierForm::kReal, false, true});
  const double writing = double(plan.rows) * (plan.frames > 1 ? kRowCycles : kTurnedCycles);
  Work work;
  work.of[kCalls] = groups > 1 ? 1 : kNoThread;
  work.of[kDenseTransforms] = groups * uneven(groups) * (reading + transform + writing);
  work.of[kBytes] = 4 * double(plan.signals * plan.extent * plan.tap_step + batch * out_channels * plan.frames);
  return work;
}

// Of taps that are channels.
bool plan_channels(const ConvAttributes& attributes, const int64_t* x_shape, const int64_t* y_shape, FramesPlan& plan) {
  for (int axis = 0; axis < attributes.rank; ++axis) {
    if (attributes.strides[axis] != 1 || attributes.pads_begin[axis] != 0 || attributes.pads_end[axis] != 0)
      return false;
  }
  plan.taps = plan.extent = x_shape[1];
  plan.frames = plan.tap_step = count_elements(y_shape + 2, attributes.rank);
  return true;
}

}  // namespace

std::shared_ptr<const FramesPlan> plan_frames(const ConvAttributes& attributes, const int64_t* x_shape,
                                              const int64_t* y_shape, int64_t length, int lanes, const Rates& rates) {
  auto plan = std::make_shared<FramesPlan>();
  plan->signals = x_shape[0] * attributes.group;
  plan->rows = y_shape[1] / attributes.group;
  plan->length = length;
  const bool is_pointwise = count_elements(attributes.kernel, attributes.rank) == 1;
  if (is_pointwise && !plan_channels(attributes, x_shape, y_shape, *plan)) return nullptr;
  for (int axis = 0; axis < attributes.rank && !is_pointwise; ++axis) {
    if (attributes.kernel[axis] == 1) {
      if (x_shape[2 + axis] != 1 || y_shape[2 + axis] != 1 || attributes.pads_begin[axis] != 0) return nullptr;
      continue;
    }
    plan->extent = x_shape[2 + axis];
    plan->frames = y_shape[2 + axis];
    plan->taps = attributes.kernel[axis];
    plan->stride = attributes.strides[axis];
    plan->dilation = attributes.dilations[axis];
    plan->pad = attributes.pads_begin[axis];
  }
  plan->work = count_work(*plan, y_shape[1], x_shape[0], lanes);
  plan->seconds = rates.seconds(plan->work);
  return plan;
}

}  // namespace onnx_fft
