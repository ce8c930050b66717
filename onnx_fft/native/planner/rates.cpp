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

// What a call takes is Zen 3's in all: these fits hold it.
constexpr Shipped kShipped[] = {
    // Zen 4: fitted to the 150 Convs of scripts/bench/results/calibration_native_avx512.jsonl, 2 cores, 2026-11. These
    // have large kernels for the most part, whose transforms take half the time by the flop: 3e-11 s.
    {"amd",
     64,
     {{6e-11, 1.77e-11, 9.8e-12, 3.65e-10, 2.66e-11, 6.5e-10, 1e-08, 1.32e-05, 4.3e-10, 5.4e-10, 2.7e-11, 8.3e-12,
       4.2e-11, 1.7e-11, 1.06e-11, 1.8e-10, 4e-10, 9.5e-06}}},
    // Zen 3: fitted to the 100 Convs of scripts/bench/results/calibration_native_avx2.jsonl, and to 75 of them without
    // the dense engine (calibration_generic_avx2.jsonl), 2 cores, 2026-11.
    {"amd",
     32,
     {{6.99e-11, 2.12e-11, 1.35e-11, 1.48e-09, 1.48e-10, 6.26e-10, 6.7e-07, 1.32e-05, 4.85e-10, 4.85e-10, 1.24e-10,
       1.56e-11, 1.97e-10, 5.24e-11, 1.67e-11, 5.32e-10, 1.13e-09, 9.5e-06}}},
    // Emerald Rapids: fitted to the 120 Convs of scripts/bench/results/calibration_native_intel.jsonl, and to 75 of
    // them without the dense engine (calibration_generic_intel.jsonl), 2 cores, 2026-11; the dense engine's three to 70
    // plans of 15 layers of scripts/shared/layers.py. Sums of direct tiles, of which few of those Convs have one, take
    // what an FMA takes at least.
    {"intel",
     64,
     {{3.17e-11, 1.44e-11, 6.6e-12, 6.0e-10, 8.35e-11, 4.87e-10, 1.12e-06, 1.32e-05, 5.9e-10, 5.0e-10, 4.5e-11,
       8.17e-12, 1.68e-10, 2.24e-11, 9.52e-12, 4.38e-10, 9.59e-10, 9.5e-06}}},
};

std::runtime_error wrong_profile(const std::string& path, const std::string& problem) {
  return std::runtime_error("got ONNX_FFT_PROFILE=" + path + ", " + problem +
                            "; expected 'amd', 'intel' or a file of all rates; correct it or leave it unset");
}

}  // namespace

ProbedMachine probed_machine(int vector_bytes) {
  constexpr Probes kZen3 = {5.25e-11, 1.08e-11, 9.9e-12, 9.05e-10, 6.3e-11},
                   kEmeraldRapids = {3.0e-11, 6.2e-12, 4.25e-12, 4.65e-10, 5.5e-11};
  if (vector_bytes >= 64) return {64, shipped_rates("intel", 64), kEmeraldRapids};
  return {32, shipped_rates("amd", 32), kZen3};
}

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
