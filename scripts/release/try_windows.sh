#!/usr/bin/env bash
# Runs the DLL of the wheel for Windows in Wine, in a session of ONNX Runtime's own DLL: try_dll.c compares the output with
# that of the original model here. Arguments: folder of wheels, scratch folder. PYTHON names a Python that has onnx-fft
# and requirements.txt installed; needs wine.
set -euo pipefail
cd "$(dirname "$0")/../.."

dist="$1" scratch="$(realpath --canonicalize-missing "$2")"
python="${PYTHON:-python3}"
export WINEDEBUG=-all WINEPREFIX="$scratch/wine"
mkdir -p "$scratch"
"$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --platform win_amd64 \
  --dest "$scratch/onnxruntime" onnxruntime
for wheel in "$scratch"/onnxruntime/*.whl "$dist"/onnx_fft-*-win_amd64.whl; do
  "$python" -m zipfile -e "$wheel" "$scratch/site"
done
"$python" -m ziglang cc -target x86_64-windows-gnu -municode -O1 -Wall -Wno-deprecated-non-prototype -o "$scratch/try_dll.exe" scripts/release/try_dll.c

"$python" - "$scratch" <<'PY'
import sys

import numpy
import onnx
import onnxruntime

import onnx_fft

original = "models/large_kernel.onnx"
model = onnx_fft.rewrite(original, target="native").model
del model.functions[:]  # which would compute without the library
onnx.save(model, f"{sys.argv[1]}/native.onnx")
x = numpy.random.default_rng(1).standard_normal((1, 64, 56, 56), numpy.float32)
(y,) = onnxruntime.InferenceSession(original, providers=["CPUExecutionProvider"]).run(None, {"x": x})
x.tofile(f"{sys.argv[1]}/x.bin")
y.tofile(f"{sys.argv[1]}/y.bin")
PY
cd "$scratch"
for isa in baseline avx2; do
  ONNX_FFT_ISA="$isa" wine ./try_dll.exe site/onnxruntime/capi/onnxruntime.dll site/onnx_fft/native/onnx_fft.dll \
    native.onnx 1x64x56x56 x.bin y.bin
done
