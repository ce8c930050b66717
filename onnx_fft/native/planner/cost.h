// What this library does for a planned convolution.
#pragma once

#include "planner/plan.h"
#include "planner/work.h"

namespace onnx_fft {

// Of a plan whose axes, lanes and kind are set; `real_axis`: along which the DFT is real.
Work count_work(const ConvPlan& plan, int real_axis, int lanes);

// Bytes of the spectra of all weights (of the taps, if the plan is direct), and of those between the stages of a run.
double weight_bytes(const ConvPlan& plan, int real_axis, int lanes);
double stage_bytes(const ConvPlan& plan, int real_axis);

// The most bytes that the spectra of one convolution may take: 3.5 times its weights, and 32 MiB.
double most_spectra_bytes(const ConvPlan& plan);

}  // namespace onnx_fft
