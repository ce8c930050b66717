#!/usr/bin/env bash
# Sets up the versions of ONNX Runtime that are given (all of scripts/conformance/versions.py without any), and runs that
# script with the same arguments.
set -euo pipefail
cd "$(dirname "$0")/../.."

source scripts/conformance/environments.sh
bin="$(bash scripts/setup/venv.sh '.[test]')"
mapfile -t versions < <("$bin/python" -m scripts.conformance.versions --list "$@")
for version in "${versions[@]}"; do
  make_venv "onnxruntime-$version" 'numpy<2' "onnxruntime==$version" # 1.18 and older are built against NumPy 1
done
"$bin/python" -m scripts.conformance.versions --environments "$environments" "$@"
