// What this machine takes for each unit of work: measured, from a file, or as shipped for machines of its kind.
#pragma once

#include "planner/work.h"

namespace onnx_fft {

// The rates that nodes decide by: those of the profile that ONNX_FFT_PROFILE names (a file, or "amd" or "intel"), or
// those shipped for this CPU's maker and instruction set. Throws std::runtime_error if the profile cannot be used.
const Rates& machine_rates();

// Measured on the calling thread, in well under a second.
Rates measure_rates();

}  // namespace onnx_fft
