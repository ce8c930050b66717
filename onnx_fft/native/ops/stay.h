// The library stays loaded until the process ends: Java's SessionOptions.close(), for one, closes it under sessions
// that still run its kernels.
#pragma once

namespace onnx_fft {

// Throws std::runtime_error if the system refuses. On ELF systems the linker has seen to it (-z nodelete).
void stay_loaded();

}  // namespace onnx_fft
