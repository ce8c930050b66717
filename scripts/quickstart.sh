#!/usr/bin/env bash
# Sets up .venv, rewrites a model that ships in models/, validates it and loads it in plain ONNX Runtime.
set -euo pipefail
cd "$(dirname "$0")/.."

bin="$(bash scripts/setup/venv.sh '.[cpu]')"
mkdir -p build
"$bin/onnx-fft" rewrite models/large_kernel.onnx build/large_kernel.fft.onnx
"$bin/onnx-fft" validate models/large_kernel.onnx build/large_kernel.fft.onnx
"$bin/python" - build/large_kernel.fft.onnx <<'PY'
import sys

import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
print(f"plain onnxruntime {onnxruntime.__version__} loads {sys.argv[1]}: {session.get_outputs()[0].shape}")
PY
echo "next: source ${bin%/bin}/bin/activate; onnx-fft inspect your_model.onnx"
