// Threads of our own, for work at a time when a session has none to lend: while it loads.
#pragma once

#include "engine/executor.h"

namespace onnx_fft {

// Runs tasks on the calling thread and on as many others as the process may use cores, at most 8 in all. They end with
// the call. If the system has no more threads, fewer run.
Executor own_threads();

}  // namespace onnx_fft
