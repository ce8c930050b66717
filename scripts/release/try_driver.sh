#!/usr/bin/env bash
# Builds the native test driver for another machine with the toolchain of the wheels, and compares its kernels with sums
# by their definition there, in emulation. Arguments: arm64, windows or avx512 (a Linux machine), a scratch folder, and the
# number of convolutions. PYTHON names a Python that has requirements.txt installed; needs scripts/setup/emulators.sh, or
# wine.
set -euo pipefail
cd "$(dirname "$0")/../.."

machine="$1" scratch="$(realpath --canonicalize-missing "$2")" count="${3:-60}"
python="${PYTHON:-python3}"
case "$machine" in
  # Debian's C library for Arm, which comes with its cross compilers.
  arm64) ONNX_FFT_ZIG_TARGET=aarch64-linux-gnu.2.17 run=(qemu-aarch64-static -L /usr/aarch64-linux-gnu) isas=(neon) ;;
  windows) ONNX_FFT_ZIG_TARGET=x86_64-windows-gnu run=(wine) isas=(baseline avx2) ;;
  avx512) ONNX_FFT_ZIG_TARGET=x86_64-linux-musl run=(bash scripts/release/in_bochs.sh) isas=(avx512) ;;
  *) echo "got the machine $machine; expected arm64, windows or avx512" >&2; exit 2 ;;
esac
ONNX_FFT_ZIG="$("$python" -c 'import pathlib, ziglang; print(pathlib.Path(ziglang.__file__).parent / "zig")')"
export ONNX_FFT_ZIG ONNX_FFT_ZIG_TARGET WINEDEBUG=-all WINEPREFIX="$scratch/wine"

cmake -S onnx_fft/native -B "$scratch/$machine" -G Ninja -DONNX_FFT_DRIVER=ON \
  "-DCMAKE_TOOLCHAIN_FILE=$PWD/scripts/release/zig.cmake" >/dev/null
cmake --build "$scratch/$machine"
for program in "$scratch/$machine"/native_test*; do
  [[ "$program" != *.pdb ]] || continue
  for isa in "${isas[@]}"; do
    ONNX_FFT_ISA="$isa" "${run[@]}" "$program" "$count"
  done
done
