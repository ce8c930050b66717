// Makes one number of two rows: the power or the magnitude of bins whose parts were computed apart.
#pragma once

#include <cmath>
#include <cstdint>

#include "engine/executor.h"
#include "engine/fourier_split.h"
#include "kernels/half.h"
#include "planner/frames.h"

namespace onnx_fft {

// sums [batch, 2 * bins, frames], real parts before imaginary ones -> y [batch, bins, frames], or turned.
template <typename Storage>
void join_rows(const FrameForm& form, int64_t batch, int64_t bins, int64_t frames, const Storage* sums, Storage* y,
               const Executor& executor) {
  constexpr double kFlops = 8;  // a number, roughly
  const double flops = kFlops * static_cast<double>(batch * bins) * static_cast<double>(frames);
  each_range(executor, batch * bins, count_tasks(flops), [&](int64_t row, int64_t last) {
    for (; row < last; ++row) {
      const int64_t signal = row / bins, bin = row % bins;
      const Storage* const re = sums + (row + signal * bins) * frames;
      const Storage* const im = re + bins * frames;
      Storage* const to = y + (form.turns ? signal * bins * frames + bin : row * frames);
      for (int64_t frame = 0; frame < frames; ++frame) {
        const auto power = widen(re[frame]) * widen(re[frame]) + widen(im[frame]) * widen(im[frame]);
        narrow(form.bins == BinForm::kMagnitude ? std::sqrt(power) : power, to + frame * (form.turns ? bins : 1));
      }
    }
  });
}

}  // namespace onnx_fft
