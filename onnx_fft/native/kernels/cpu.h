// What an x86 CPU and its operating system support, and who made it. By hand: what __builtin_cpu_supports reads is
// filled in by the compiler's own library, and the one that MinGW links on Windows finds nothing.
#pragma once

#if defined(__x86_64__)

#include <cpuid.h>

#include <cstdint>

namespace onnx_fft {

struct CpuFeatures {
  bool avx2 = false;    // with FMA
  bool avx512 = false;  // F, DQ and VL, with FMA
};

// The registers that the system saves for each thread (XCR0); to be asked only if it has OSXSAVE.
inline uint64_t saved_registers() {
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

// Bits as in Intel's manual: CPUID leaves 1 and 7, XCR0.
inline CpuFeatures find_cpu_features() {
  constexpr uint32_t kFma = 1u << 12, kOsXsave = 1u << 27, kAvx = 1u << 28;
  constexpr uint32_t kAvx2 = 1u << 5, kAvx512 = 1u << 16 | 1u << 17 | 1u << 31;
  constexpr uint64_t kYmm = 0x6;
  CpuFeatures found;
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return found;
  constexpr uint32_t kNeeded = kFma | kOsXsave | kAvx;
  if ((ecx & kNeeded) != kNeeded || (saved_registers() & kYmm) != kYmm) return found;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return found;
  found.avx2 = (ebx & kAvx2) != 0;
#if defined(__APPLE__)
  const bool saves_zmm = true;  // macOS does from their first use on; until then XCR0 denies it
#else
  constexpr uint64_t kZmm = 0xe6;
  const bool saves_zmm = (saved_registers() & kZmm) == kZmm;
#endif
  found.avx512 = found.avx2 && (ebx & kAvx512) == kAvx512 && saves_zmm;
  return found;
}

// By the first letters of the maker's name.
inline bool is_amd_cpu() {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  __get_cpuid(0, &eax, &ebx, &ecx, &edx);
  return ebx == signature_AMD_ebx;
}

}  // namespace onnx_fft

#endif
