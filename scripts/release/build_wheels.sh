#!/usr/bin/env bash
# Makes the sdist, and from it a wheel for every line of platforms.txt that matches the second argument (a regular
# expression; default: all), in a folder (default: dist), and checks them. One Linux machine compiles for all of them.
# PYTHON names a Python that has requirements.txt installed.
set -euo pipefail
cd "$(dirname "$0")/../.."

dist="$(realpath --canonicalize-missing "${1:-dist}")"
python="${PYTHON:-python3}"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$dist"
rm -f "$dist"/onnx_fft-*.{whl,tar.gz}
ONNX_FFT_ZIG="$("$python" -c 'import pathlib, ziglang; print(pathlib.Path(ziglang.__file__).parent / "zig")')"
SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" # the same sources make the same bytes
export ONNX_FFT_ZIG SOURCE_DATE_EPOCH CMAKE_TOOLCHAIN_FILE="$PWD/scripts/release/zig.cmake"

"$python" -m build --sdist --no-isolation --outdir "$dist" . >"$scratch/log" 2>&1 || { cat "$scratch/log" >&2; exit 1; }
tar -xzf "$dist"/onnx_fft-*.tar.gz -C "$scratch"
sources=("$scratch"/onnx_fft-*/)

build_wheel() { # tag, target
  # zig has no strip, and this machine's knows its own files only: the linker has left out what is not needed.
  ONNX_FFT_ZIG_TARGET="$2" CMAKE_GENERATOR=Ninja "$python" -m build --wheel --no-isolation --outdir "$scratch/wheels" \
    -C "build-dir=$scratch/$2" -C install.strip=false -C wheel.cmake=true "${sources[0]}" >"$scratch/log" 2>&1 || { cat "$scratch/log" >&2; return 1; }
  "$python" -m wheel tags --remove --platform-tag "$1" "$scratch"/wheels/*.whl >/dev/null
  mv "$scratch"/wheels/*.whl "$dist"
}

grep -v '^#' scripts/release/platforms.txt | grep -E -- "${2:-.}" >"$scratch/platforms"
while read -r tag target; do build_wheel "$tag" "$target"; done <"$scratch/platforms"
"$python" -m scripts.release.check_wheels "$dist"/*.whl
