#!/usr/bin/env bash
# Makes the virtual environment $ONNX_FFT_VENV (default .venv) if it is absent, installs the given requirement
# (".[cpu]", ".[test]") there in editable form, and prints the folder of its programs.
set -euo pipefail
cd "$(dirname "$0")/../.."

venv="${ONNX_FFT_VENV:-.venv}"
python="${PYTHON:-python3}"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10) and
  f"Python 3.10 or newer is needed, this is {sys.version.split()[0]}: set PYTHON to a newer one")' >&2
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv" >&2
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$1" >&2
echo "$venv/bin"
