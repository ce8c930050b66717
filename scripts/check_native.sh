#!/usr/bin/env bash
# The native library in ways that Python's tests cannot see: the kernels under the address and undefined sanitizers on
# each instruction set, and builds by Clang and for Arm (NEON), where a warning is an error. Takes a scratch folder.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch="${1:-build/native}"
configure() { # folder, options of cmake...
  cmake -S . -B "$scratch/$1" -G Ninja -DCMAKE_CXX_FLAGS=-Werror --log-level=WARNING "${@:2}" >/dev/null
}

configure sanitize -DONNX_FFT_SANITIZE=ON
cmake --build "$scratch/sanitize"
for isa in baseline avx2 avx512; do
  status=0
  ONNX_FFT_ISA="$isa" "$scratch/sanitize/native_test" "${ONNX_FFT_NATIVE_CASES:-150}" || status=$?
  [ "$status" -eq 0 ] || [ "$status" -eq 2 ] || exit "$status" # 2: this CPU has no such instructions
done

configure clang -DCMAKE_CXX_COMPILER=clang++
cmake --build "$scratch/clang"

# Compiled only: linking takes the other machine's libraries.
configure arm -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_CXX_COMPILER_TARGET=aarch64-linux-gnu -DCMAKE_SYSTEM_NAME=Linux \
  -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY
cmake --build "$scratch/arm" --target kernels_baseline convolution
