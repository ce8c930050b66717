// What a plan for DFTs takes in memory, without making it: of a million points it takes tens of megabytes.
#pragma once

#include <cstdint>

#include "planner/fourier_plan.h"

namespace onnx_fft {

struct FourierBytes {
  double tables;   // of the plan: roots, chirp and its spectrum
  double scratch;  // that a thread works on beside the tensors
};

// As `plan_fourier` makes it, in reals of so many bytes.
FourierBytes count_fourier_bytes(const FourierSpec& spec, bool is_long, int64_t lanes, int real_bytes);

}  // namespace onnx_fft
