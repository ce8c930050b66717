#!/usr/bin/env bash
# The native library in ways that Python's tests cannot see: the kernels under the address and undefined sanitizers on
# each instruction set, and builds by Clang and for Arm (NEON), where a warning is an error. Takes a scratch folder.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch="${1:-build/native}"
build() { # folder, options of cmake...
  local folder="$scratch/$1"
  shift
  cmake -S . -B "$folder" -G Ninja -DCMAKE_CXX_FLAGS=-Werror "$@" >/dev/null
  cmake --build "$folder"
}

build sanitize -DONNX_FFT_SANITIZE=ON
for isa in baseline avx2 avx512; do
  status=0
  ONNX_FFT_ISA="$isa" "$scratch/sanitize/native_test" "${ONNX_FFT_NATIVE_CASES:-150}" || status=$?
  [ "$status" -eq 0 ] || [ "$status" -eq 2 ] || exit "$status" # 2: this CPU has no such instructions
done

build clang -DCMAKE_CXX_COMPILER=clang++
build arm -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_CXX_COMPILER_TARGET=aarch64-linux-gnu -DCMAKE_SYSTEM_NAME=Linux \
  -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY --log-level=WARNING
