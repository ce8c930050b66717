// Ranges of work for the threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "engine/executor.h"

namespace onnx_fft {

// Runs `body(first, last)` for at most `most` ranges that cover [0, count).
template <typename Body>
void each_range(const Executor& executor, int64_t count, int64_t most, const Body& body) {
  const int64_t tasks = std::min(count, std::max<int64_t>(most, 1));
  if (tasks == 1) return body(0, count);
  each(executor, tasks, [&](int64_t task) { body(count * task / tasks, count * (task + 1) / tasks); });
}

// Into how many tasks so many steps are split: none is shorter than what it takes to start it, and there are some for
// each thread. Does not depend on the number of threads.
inline int64_t count_tasks(double flops) {
  constexpr double kLeast = 1e5, kMost = 32;
  return static_cast<int64_t>(std::min(flops / kLeast, kMost));
}

}  // namespace onnx_fft
