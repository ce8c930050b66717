#!/usr/bin/env bash
# Checks of the native library that Python's tests cannot do: it runs under the address and undefined sanitizers on each
# instruction set; it builds with GCC, with Clang and for Arm (NEON) without a warning; no code for one instruction set can
# be called on a CPU without it; and the product on Arm takes no more instructions than it has to. The argument is a
# scratch folder.
set -euo pipefail
cd "$(dirname "$0")/../.."

scratch="${1:-build/native}"
configure() { # folder, options of cmake...
  cmake -S onnx_fft/native -B "$scratch/$1" -G Ninja -DCMAKE_CXX_FLAGS=-Werror --log-level=WARNING "${@:2}" >/dev/null
}

configure g++ -DCMAKE_CXX_COMPILER=g++
cmake --build "$scratch/g++"
bash scripts/native/check_symbols.sh "$scratch/g++"

# Warnings alone: the Clang that makes the wheels compiles all of it, with warnings as errors as well.
configure clang++ -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_CXX_FLAGS_RELEASE=-fsyntax-only
ninja -C "$scratch/clang++" $(ninja -C "$scratch/clang++" -t targets all | sed -n 's/\.o: .*/.o/p')

# Compiled only, without optimization, which takes longest: scripts/release/try_driver.sh runs what zig compiles.
configure arm -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_CXX_COMPILER_TARGET=aarch64-linux-gnu -DCMAKE_SYSTEM_NAME=Linux \
  -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY -DCMAKE_CXX_FLAGS_RELEASE=-O0
cmake --build "$scratch/arm" --target kernels_neon engine
python3 -m scripts.native.arm_loops

cases="${ONNX_FFT_NATIVE_CASES:-150}"
configure sanitize -DCMAKE_CXX_COMPILER=g++ -DONNX_FFT_SANITIZE=ON
cmake --build "$scratch/sanitize"
run_test() { # name, instruction set, cases
  local status=0
  ONNX_FFT_ISA="$2" "$scratch/sanitize/$1" "$3" || status=$?
  [ "$status" -eq 0 ] || [ "$status" -eq 2 ] || exit "$status" # 2: this CPU has no such instructions
}
run_tests() { # instruction set
  run_test native_test "$1" "$cases"
  run_test native_test_dense "$1" "$((cases / 3))"
  run_test native_test_frames "$1" "$((cases / 3))"
  run_test native_test_transposed "$1" "$cases"
  run_test native_test_fourier "$1" "$((4 * cases))"
}
running=()
for isa in baseline avx2 avx512; do # side by side: each has one thread
  run_tests "$isa" &
  running+=("$!")
done
for process in "${running[@]}"; do wait "$process"; done
