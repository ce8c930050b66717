#!/usr/bin/env bash
# Linters, type checks and every test, in a .venv of its own; arguments go to pytest. Ends 0 only if all of them passed.
set -euo pipefail
cd "$(dirname "$0")/.."

bin="$(bash scripts/setup/venv.sh '.[test]')"
run() { echo "+ $*" >&2; "$bin/$@"; }

run ruff check .
run ruff format --check .
mapfile -t sources < <(find onnx_fft scripts tests -name '*.cpp' -o -name '*.h')
run clang-format --dry-run --Werror "${sources[@]}"
run mypy & # takes as long as the others and the download together
types="$!"
# str.decode: taken for one of Python 2.
run vermin --quiet --violations --no-tips --target=3.10- --exclude str.decode onnx_fft scripts tests
run lint-imports
run python -m scripts.models.fetch
wait "$types"
export OPENBLAS_NUM_THREADS=1 # threads of one worker would wait for those of the other
# worksteal: neighbours, which share models and programs that they make, run in one worker.
run python -m pytest -n "${ONNX_FFT_TEST_WORKERS:-2}" --dist worksteal "$@"
