#include "engine/machine.h"

#include <cstdlib>
#include <string>

#include "kernels/cpu.h"
#include "kernels/isa.h"
#include "planner/rates.h"

namespace onnx_fft {
namespace {

const char* maker_here() {
#if defined(__x86_64__)
  if (is_amd_cpu()) return "amd";
#endif
  return "intel";
}

Rates choose_rates() {
  const char* given = std::getenv("ONNX_FFT_PROFILE");
  if (given == nullptr || *given == '\0') return shipped_rates(maker_here(), kernels().vector_bytes);
  const std::string profile = given;
  return profile == "amd" || profile == "intel" ? shipped_rates(profile, kernels().vector_bytes)
                                                : read_profile(profile);
}

}  // namespace

const Rates& machine_rates() {
  static const Rates rates = choose_rates();
  return rates;
}

}  // namespace onnx_fft
