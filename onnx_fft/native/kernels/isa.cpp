#include "kernels/isa.h"

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

namespace onnx_fft {

namespace baseline {
extern const KernelTable table;
}
#if defined(__x86_64__)
namespace avx2 {
extern const KernelTable table;
}
namespace avx512 {
extern const KernelTable table;
}
#endif

namespace {

struct Candidate {
  const KernelTable* table;
  bool runs_here;
};

// The last that runs here, in an order from slowest to fastest.
const KernelTable& choose_table() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const Candidate candidates[] = {
      {&baseline::table, true},
      {&avx2::table, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
      {&avx512::table, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma")},
  };
#else
  const Candidate candidates[] = {{&baseline::table, true}};
#endif
  const char* wanted = std::getenv("ONNX_FFT_ISA");
  const KernelTable* chosen = nullptr;
  std::string names;
  for (const Candidate& candidate : candidates) {
    if (!candidate.runs_here) continue;
    names += std::string(names.empty() ? "" : ", ") + candidate.table->name;
    if (wanted == nullptr || std::strcmp(wanted, candidate.table->name) == 0) chosen = candidate.table;
  }
  if (chosen == nullptr) {
    throw std::runtime_error("got ONNX_FFT_ISA=" + std::string(wanted) + "; this CPU runs " + names +
                             "; set it to one of them or leave it unset");
  }
  return *chosen;
}

}  // namespace

const KernelTable& kernels() {
  static const KernelTable& table = choose_table();
  return table;
}

const char* isa_name() { return kernels().name; }

}  // namespace onnx_fft
