// Tasks of equal size on threads that may be too many for them.
#pragma once

#include <algorithm>
#include <cmath>
#include <thread>

namespace onnx_fft {

// How many times longer they take than if every thread had as much to do; 1 if there are none. Of more than four
// threads, four tasks are enough for most.
inline double uneven(double tasks) {
  if (tasks == 0) return 1;
  static const unsigned cores = std::thread::hardware_concurrency();  // 0: it is not known
  const double busy = cores == 0 ? 4 : std::min(cores, 4u);
  return std::ceil(tasks / busy) * busy / tasks;
}

}  // namespace onnx_fft
