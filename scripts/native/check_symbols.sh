#!/usr/bin/env bash
# Checks that no code for one instruction set can be called on a CPU without it. If several objects define a function (an
# inline one, a template), the linker keeps one of them for all callers. If it keeps the one compiled for AVX, older CPUs
# crash. So every name that such an object defines must contain its set. The argument is a folder where the library was
# built, for Linux on x86-64.
set -euo pipefail

for isa in avx2 avx512; do
  for object in $(find "$1/CMakeFiles/kernels_$isa.dir" -name '*.o'); do
    functions="$(nm --defined-only --extern-only "$object" | awk '$2 ~ /[TWi]/ { print $3 }')"
    foreign="$(grep -v "8onnx_fft${#isa}$isa" <<<"$functions" || true)"
    [ -n "$functions" ] && [ -z "$foreign" ] && continue
    printf 'got in %s:\n%s\nexpected functions of onnx_fft::%s alone\n' "$object" "${foreign:-none}" "$isa" | c++filt >&2
    exit 1
  done
done
