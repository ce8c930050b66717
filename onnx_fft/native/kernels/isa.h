// Which compilation of the kernels runs on this CPU. They are compiled once for each instruction set, and the fastest
// that the CPU has is chosen when they are first used.
#pragma once

#include "kernels/kernels.h"

namespace onnx_fft {

// The kernels in use.
const KernelTable& kernels();

// The name of their instruction set: "baseline", "avx2", "avx512" or "neon"; ONNX_FFT_ISA forces one.
// Throws std::runtime_error if the name is unknown or this CPU has no such instructions.
const char* isa_name();

}  // namespace onnx_fft
