#!/usr/bin/env bash
# Makes the sdist, and from it a wheel for every line of platforms.txt that matches the second argument (a regular
# expression; default: all), in a folder (default: dist), and checks them. One Linux machine compiles for all of them. What
# is compiled lies in the third argument, a folder for each target; by default nothing of it stays. PYTHON names a Python
# that has requirements.txt installed.
set -euo pipefail
cd "$(dirname "$0")/../.."

dist="$(realpath --canonicalize-missing "${1:-dist}")"
python="${PYTHON:-python3}"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
build="$(realpath --canonicalize-missing "${3:-$scratch}")"
mkdir -p "$dist"
rm -f "$dist"/onnx_fft-*.{whl,tar.gz}
ONNX_FFT_ZIG="$("$python" -c 'import pathlib, ziglang; print(pathlib.Path(ziglang.__file__).parent / "zig")')"
SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" # the same sources make the same bytes
export ONNX_FFT_ZIG SOURCE_DATE_EPOCH CMAKE_TOOLCHAIN_FILE="$PWD/scripts/release/zig.cmake"

run() { # log, command...: prints only what fails
  "${@:2}" >"$1" 2>&1 || { cat "$1" >&2; exit 1; }
}
run "$scratch/log" "$python" -m build --sdist --no-isolation --outdir "$dist" .
tar -xzf "$dist"/onnx_fft-*.tar.gz -C "$scratch"

build_wheel() { # tag, target
  local wheels="$scratch/wheels/$2"
  # zig has no strip, and this machine's knows its own files only: the linker has left out what is not needed.
  ONNX_FFT_ZIG_TARGET="$2" CMAKE_GENERATOR=Ninja run "$scratch/$2.log" "$python" -m build --wheel --no-isolation \
    --outdir "$wheels" -C "build-dir=$build/$2" -C install.strip=false -C wheel.cmake=true "$scratch"/onnx_fft-*/
  "$python" -m wheel tags --remove --platform-tag "$1" "$wheels"/*.whl >/dev/null
  mv "$wheels"/*.whl "$dist"
}

# Two at a time: one compiles while the other configures, links or packs.
export python dist scratch build
export -f run build_wheel
grep -v '^#' scripts/release/platforms.txt | grep -E -- "${2:-.}" |
  xargs --max-lines=1 --max-procs=2 bash -c 'set -euo pipefail; build_wheel "$@"' bash
"$python" -m scripts.release.check_wheels "$dist"/*.whl
