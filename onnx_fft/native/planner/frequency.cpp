#include "planner/frequency.h"

#include <cmath>
#include <complex>
#include <vector>

namespace onnx_fft {
namespace {

constexpr double kPi = 3.14159265358979323846;

// In place; as many values as a power of two.
void transform(std::vector<std::complex<double>>& values) {
  const size_t count = values.size();
  for (size_t i = 1, reversed = 0; i < count; ++i) {
    size_t bit = count >> 1;
    for (; reversed & bit; bit >>= 1) reversed ^= bit;
    reversed ^= bit;
    if (i < reversed) std::swap(values[i], values[reversed]);
  }
  for (size_t half = 1; half < count; half *= 2) {
    const double angle = -kPi / double(half);
    for (size_t offset = 0; offset < half; ++offset) {
      const std::complex<double> root = std::polar(1.0, angle * double(offset));
      for (size_t i = offset; i < count; i += 2 * half) {
        const std::complex<double> odd = root * values[i + half];
        values[i + half] = values[i] - odd;
        values[i] += odd;
      }
    }
  }
}

}  // namespace

double find_frequency(const double* samples, int64_t count, double* share) {
  size_t points = 1;
  while (points < static_cast<size_t>(4 * count)) points *= 2;
  std::vector<std::complex<double>> spectrum(samples, samples + count);
  spectrum.resize(points);
  transform(spectrum);
  double energy = 0;
  for (int64_t i = 0; i < count; ++i) energy += samples[i] * samples[i];
  size_t peak = 1;
  for (size_t k = 1; k < points / 2; ++k) {
    if (std::norm(spectrum[k]) > std::norm(spectrum[peak])) peak = k;
  }
  *share = std::norm(spectrum[peak]) / (double(count) * energy);
  const double before = std::abs(spectrum[peak - 1]), at = std::abs(spectrum[peak]),
               after = std::abs(spectrum[peak + 1]);
  const double bend = before - 2 * at + after;
  return (double(peak) + (bend < 0 ? 0.5 * (before - after) / bend : 0)) / double(points);
}

}  // namespace onnx_fft
