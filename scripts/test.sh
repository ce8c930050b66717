#!/usr/bin/env bash
# Every check of the project, in its own .venv; arguments go to pytest. Ends 0 only if all of them passed.
set -euo pipefail
cd "$(dirname "$0")/.."

bin="$(bash scripts/setup/venv.sh '.[test]')"
run() { echo "+ $*" >&2; "$bin/$@"; }

run ruff check .
run ruff format --check .
run clang-format --dry-run --Werror onnx_fft/native/*/*.h onnx_fft/native/*/*.cpp tests/native/driver/*.cpp tests/runtime/*.cpp \
  scripts/serving/*.cpp scripts/serving/standin/*.h
run mypy
run lint-imports
run python -m scripts.models.fetch
run python -m pytest -n "${ONNX_FFT_TEST_WORKERS:-2}" "$@"
