// The frequency of a sine behind a window that nobody knows.
#pragma once

#include <cstdint>

namespace onnx_fft {

// Cycles a sample, between 0 and 1/2: where a parabola through the peak of the spectrum has its top. A few hundredths
// of 1 / count off, unless it is so near to either end that the peak of the sine's other half disturbs it. `share` is
// that of the peak in the energy: 1/2 of a sine behind no window, about ln(count) / count of noise.
double find_frequency(const double* samples, int64_t count, double* share);

}  // namespace onnx_fft
