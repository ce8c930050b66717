#!/usr/bin/env bash
# Random convolutions through the native library under the address and undefined sanitizers: in the test driver, which
# no Python is part of, and as nodes in ONNX Runtime, in several threads and sessions. Seconds for each of the two come
# first; the rest is for both, such as --seed. $PYTHON is the interpreter (default .venv/bin/python), and
# $ONNX_FFT_SANITIZED a folder where the library is built (default build/sanitize).
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds="${1:?seconds}"
built="${ONNX_FFT_SANITIZED:-build/sanitize}"
cmake -S onnx_fft/native -B "$built" -G Ninja -DCMAKE_CXX_COMPILER=g++ -DCMAKE_CXX_FLAGS=-Werror -DONNX_FFT_SANITIZE=ON \
  --log-level=WARNING >/dev/null
cmake --build "$built" >/dev/null

python="${PYTHON:-.venv/bin/python}"
ONNX_FFT_TEST_DRIVER="$built/native_test" "$python" -m scripts.fuzz.wild --seconds "$seconds" "${@:2}"

# Python is not built with the sanitizers, so they come first. Python itself leaks by design.
preload="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libubsan.so) $(g++ -print-file-name=libstdc++.so.6)"
LD_PRELOAD="$preload" ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
  ONNX_FFT_LIBRARY="$(realpath "$built/libonnx_fft.so")" \
  "$python" -m scripts.fuzz.nodes --seconds "$seconds" "${@:2}"
