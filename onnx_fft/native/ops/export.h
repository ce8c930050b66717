// Marks what the library exports; exports.map and CMakeLists.txt list the same names.
#pragma once

#if defined(_WIN32)
#define ONNX_FFT_EXPORT __declspec(dllexport)
#else
#define ONNX_FFT_EXPORT __attribute__((visibility("default")))
#endif
