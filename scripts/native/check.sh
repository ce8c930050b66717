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

cases="${ONNX_FFT_NATIVE_CASES:-150}"
configure sanitize -DONNX_FFT_SANITIZE=ON
cmake --build "$scratch/sanitize"
run_test() { # name, instruction set, cases
  local status=0
  ONNX_FFT_ISA="$2" "$scratch/sanitize/$1" "$3" || status=$?
  [ "$status" -eq 0 ] || [ "$status" -eq 2 ] || exit "$status" # 2: this CPU has no such instructions
}
for isa in baseline avx2 avx512; do
  run_test native_test "$isa" "$cases"
  run_test native_test_dense "$isa" "$((cases / 3))"
  run_test native_test_frames "$isa" "$((cases / 3))"
  run_test native_test_fourier "$isa" "$((4 * cases))"
done

# If several objects define a function (an inline one, a template), the linker keeps one of them for all callers. If it
# keeps the one compiled for AVX, older CPUs crash. So every name that such an object defines must contain its set.
check_symbols() { # folder
  local isa object functions foreign
  for isa in avx2 avx512; do
    for object in $(find "$scratch/$1/CMakeFiles/kernels_$isa.dir" -name '*.o'); do
      functions="$(nm --defined-only --extern-only "$object" | awk '$2 ~ /[TWi]/ { print $3 }')"
      foreign="$(grep -v "8onnx_fft${#isa}$isa" <<<"$functions" || true)"
      [ -n "$functions" ] && [ -z "$foreign" ] && continue
      printf 'got in %s:\n%s\nexpected functions of onnx_fft::%s alone\n' "$object" "${foreign:-none}" "$isa" | c++filt >&2
      return 1
    done
  done
}

for compiler in g++ clang++; do
  configure "$compiler" -DCMAKE_CXX_COMPILER="$compiler"
  cmake --build "$scratch/$compiler"
  check_symbols "$compiler"
done

# Compiled only, by a second compiler: scripts/release/try_driver.sh runs what zig compiles.
configure arm -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_CXX_COMPILER_TARGET=aarch64-linux-gnu -DCMAKE_SYSTEM_NAME=Linux \
  -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY
cmake --build "$scratch/arm" --target kernels_neon engine
python3 -m scripts.native.arm_loops
