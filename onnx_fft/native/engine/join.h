// Makes of rows that were computed by themselves what a FrameForm wants: the power or the magnitude of bins, and
// turned.
#pragma once

#include <cmath>
#include <cstdint>

#include "engine/executor.h"
#include "engine/fourier_split.h"
#include "kernels/half.h"
#include "planner/frames.h"

namespace onnx_fft {

// sums [batch, rows, frames], real parts before imaginary ones -> y [batch, outputs, frames], or turned.
template <typename Storage>
void join_rows(const FrameForm& form, int64_t batch, int64_t rows, int64_t frames, const Storage* sums, Storage* y,
               const Executor& executor) {
  constexpr double kFlops = 8;  // a number, roughly
  const int64_t outputs = form.outputs(rows), step = form.turns ? outputs : 1;
  const double flops = kFlops * static_cast<double>(batch * outputs) * static_cast<double>(frames);
  each_range(executor, batch * outputs, count_tasks(flops), [&](int64_t row, int64_t last) {
    for (; row < last; ++row) {
      const int64_t signal = row / outputs, output = row % outputs;
      const Storage* const re = sums + (signal * rows + output) * frames;
      const Storage* const im = re + (rows - outputs) * frames;
      Storage* const to = y + (form.turns ? signal * outputs * frames + output : row * frames);
      for (int64_t frame = 0; frame < frames; ++frame) {
        const auto value = widen(re[frame]), other = widen(im[frame]);
        const auto power = value * value + other * other;
        narrow(!form.joins() ? value : form.bins == BinForm::kMagnitude ? std::sqrt(power) : power, to + frame * step);
      }
    }
  });
}

}  // namespace onnx_fft
