#!/usr/bin/env bash
# Builds run_model and load_model in a folder (default: build) against the C library of ONNX Runtime: the file given, or the one in the
# Python package, which has had one since 1.19. Linux; takes PYTHON, CXX and CXXFLAGS from the environment.
set -euo pipefail

here="$(dirname "$0")"
folder="${1:-build}"
library="${2:-$("${PYTHON:-python3}" -c '
import sys
from pathlib import Path

import onnxruntime

found = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
version = onnxruntime.__version__
print(*found or sys.exit(f"got onnxruntime {version}, whose package holds no libonnxruntime.so; give the path of one"))
')}"
mkdir -p "$folder"
# The names by which versions of ONNX Runtime want to be found; the package has the first only.
ln -sf "$(realpath "$library")" "$folder/$(basename "$library")"
ln -sf "$(realpath "$library")" "$folder/libonnxruntime.so.1"
for program in run_model load_model; do
  # shellcheck disable=SC2086  # several flags
  "${CXX:-c++}" -std=c++17 -O2 -Wall -Wextra -pthread ${CXXFLAGS:-} -I "$here/standin" "$here/$program.cpp" \
    "$folder/libonnxruntime.so.1" -Wl,-rpath,'$ORIGIN' -o "$folder/$program"
done
