# CMake toolchain: cross-compiles with the Clang of the Python package ziglang, which links its libc++ in. Environment:
# ONNX_FFT_ZIG is the path of `zig`, ONNX_FFT_ZIG_TARGET a target as it takes it ("aarch64-linux-gnu.2.17").
string(REGEX MATCH "^([^-]+)-([^-.]+)" target "$ENV{ONNX_FFT_ZIG_TARGET}")
set(CMAKE_SYSTEM_PROCESSOR ${CMAKE_MATCH_1})
if(CMAKE_MATCH_2 STREQUAL "linux")
  set(CMAKE_SYSTEM_NAME Linux)
elseif(CMAKE_MATCH_2 STREQUAL "macos")
  set(CMAKE_SYSTEM_NAME Darwin)
elseif(CMAKE_MATCH_2 STREQUAL "windows")
  set(CMAKE_SYSTEM_NAME Windows)
else()
  message(FATAL_ERROR "got ONNX_FFT_ZIG_TARGET=$ENV{ONNX_FFT_ZIG_TARGET}; expected one for linux, macos or windows")
endif()

set(ONNX_FFT_MACHINES "$ENV{ONNX_FFT_ZIG_TARGET}")
# Zig traps undefined behaviour by default, and keeps debug information unless told. It compiles its C++ library anew for
# each target and optimization; as parts of the compiler, these options are the same in CMake's trials and in the build.
set(CMAKE_CXX_COMPILER "$ENV{ONNX_FFT_ZIG}" c++ -target $ENV{ONNX_FFT_ZIG_TARGET} -O3 -fno-sanitize=all -g0)
set(CMAKE_MODULE_LINKER_FLAGS_INIT "-s")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
