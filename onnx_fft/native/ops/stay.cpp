#include "ops/stay.h"

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#elif defined(__APPLE__)
#include <dlfcn.h>
#endif

#include <stdexcept>
#include <string>

namespace onnx_fft {

#if defined(_WIN32)

void stay_loaded() {
  constexpr DWORD kFlags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN;
  HMODULE library = nullptr;
  if (GetModuleHandleExW(kFlags, reinterpret_cast<LPCWSTR>(&stay_loaded), &library)) return;
  throw std::runtime_error("got error " + std::to_string(GetLastError()) + " of GetModuleHandleExW");
}

#elif defined(__APPLE__)

void stay_loaded() {
  Dl_info library;
  if (dladdr(reinterpret_cast<const void*>(&stay_loaded), &library) != 0 &&
      dlopen(library.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE) != nullptr) {
    return;
  }
  const char* problem = dlerror();
  throw std::runtime_error(std::string("got ") + (problem != nullptr ? problem : "no path") + " from dlopen");
}

#else

void stay_loaded() {}

#endif

}  // namespace onnx_fft
