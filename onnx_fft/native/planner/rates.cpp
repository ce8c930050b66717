#include "planner/rates.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace onnx_fft {
namespace {

// Seconds of one core, in the order of `Unit`.
struct Shipped {
  const char* maker;
  int vector_bytes;
  Rates rates;
};

constexpr Shipped kShipped[] = {
    // Zen 4: fitted to the 150 Convs of scripts/bench/results/calibration_native_avx512.jsonl, 2 cores, 2026-11. These
    // have large kernels for the most part, whose transforms take half the time by the flop: 3e-11 s.
    {"amd",
     64,
     {{6e-11, 1.77e-11, 9.8e-12, 3.65e-10, 2.66e-11, 6.5e-10, 1e-08, 3.8e-05, 4.3e-10, 5.4e-10, 2.7e-11, 8.3e-12,
       4.2e-11, 1.7e-11, 1.06e-11, 1.8e-10, 4e-10, 2.8e-05}}},
    // Zen 3: fitted to the 100 Convs of scripts/bench/results/calibration_native_avx2.jsonl, and to 75 of them without
    // the
    // dense engine (calibration_generic_avx2.jsonl), 2 cores, 2026-11.
    {"amd",
     32,
     {{6.99e-11, 2.12e-11, 1.35e-11, 1.48e-09, 1.48e-10, 6.26e-10, 6.7e-07, 1.32e-05, 4.85e-10, 4.85e-10, 1.24e-10,
       1.56e-11, 1.97e-10, 5.24e-11, 1.67e-11, 5.32e-10, 1.13e-09, 9.5e-06}}},
    // A Xeon of 178 Gflop/s a core: fitted to the times of 10 dense Convs; what those do not show is scaled from AMD's.
    {"intel",
     64,
     {{6.4e-11, 1.16e-11, 7.5e-12, 2.74e-10, 5.56e-11, 4.88e-10, 1e-08, 3.8e-05, 3.6e-10, 3.6e-10, 3.6e-11, 7.68e-12,
       2.12e-11, 1.2e-11, 8.39e-12, 4.51e-10, 6e-10, 2.8e-05}}},
};

std::runtime_error wrong_profile(const std::string& path, const std::string& problem) {
  return std::runtime_error("got ONNX_FFT_PROFILE=" + path + ", " + problem +
                            "; expected 'amd', 'intel' or a file of all rates; correct it or leave it unset");
}

}  // namespace

Rates shipped_rates(const std::string& maker, int vector_bytes) {
  const Shipped* best = nullptr;
  for (const Shipped& shipped : kShipped) {
    if (maker == "amd" ? std::strcmp(shipped.maker, "amd") != 0 : std::strcmp(shipped.maker, "amd") == 0) continue;
    if (best == nullptr || std::abs(shipped.vector_bytes - vector_bytes) < std::abs(best->vector_bytes - vector_bytes))
      best = &shipped;
  }
  // Of narrower vectors than any that was measured, arithmetic takes as many times longer.
  Rates rates = best->rates;
  const double slower = double(best->vector_bytes) / double(vector_bytes);
  for (const Unit unit :
       {kTransformFlops, kProductFlops, kDirectFlops, kDirectSamples, kBlockedFlops, kDepthwiseFlops, kGemmFlops}) {
    if (slower > 1) rates.of[unit] *= slower;
  }
  return rates;
}

Rates read_profile(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw wrong_profile(path, "which cannot be read");
  Rates rates;
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string name;
    double seconds = 0;
    if (!(words >> name) || name[0] == '#') continue;
    int unit = 0;
    while (unit < kUnits && name != kUnitNames[unit]) ++unit;
    if (unit == kUnits || !(words >> seconds) || !(seconds > 0) || !std::isfinite(seconds))
      throw wrong_profile(path, "with the line '" + line + "'");
    rates.of[unit] = seconds;
  }
  for (int unit = 0; unit < kUnits; ++unit) {
    if (rates.of[unit] == 0) throw wrong_profile(path, std::string("without '") + kUnitNames[unit] + "'");
  }
  return rates;
}

}  // namespace onnx_fft
