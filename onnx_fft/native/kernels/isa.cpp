#include "kernels/isa.h"

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "kernels/cpu.h"

namespace onnx_fft {

#if defined(__aarch64__)
namespace neon {
extern const KernelTable table;
}
#else
namespace baseline {
extern const KernelTable table;
}
#endif
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
  const CpuFeatures cpu = find_cpu_features();
  const Candidate candidates[] = {
      {&baseline::table, true},
      {&avx2::table, cpu.avx2},
      {&avx512::table, cpu.avx512},
  };
#elif defined(__aarch64__)
  const Candidate candidates[] = {{&neon::table, true}};
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
