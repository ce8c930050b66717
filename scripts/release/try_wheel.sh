#!/usr/bin/env bash
# Runs a wheel where there is no compiler: in the Python of a bare Debian of another release or machine, with ONNX Runtime
# from its own wheels. Arm runs in qemu's emulation. Arguments: folder of wheels, machine, release of Debian, and
# "oldest" for the oldest dependencies that the project allows, else the newest. Needs root, mmdebstrap and
# qemu-user-static.
#
#     bash scripts/release/try_wheel.sh dist amd64 bookworm oldest
#     bash scripts/release/try_wheel.sh dist amd64 forky
#     bash scripts/release/try_wheel.sh dist arm64 bookworm
set -euo pipefail
cd "$(dirname "$0")/../.."

dist="$1" machine="$2" release="$3" versions="${4:-newest}"
python="${PYTHON:-python3}"
root="$(mktemp -d)"
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
# Mirrors lag behind with releases to come.
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' --architectures="$machine" \
  --include=python3,base-files,libstdc++6 "$release" "$root"
mkdir -p "$root/proc"

case "$machine" in
  amd64) name=x86_64 run=(unshare --mount sh -c 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"' "$root") place= ;;
  arm64) name=aarch64 run=(qemu-aarch64-static -L "$root") place="$root" ;;
  *) echo "got the machine $machine; expected amd64 or arm64" >&2; exit 2 ;;
esac
if [ "$machine" = arm64 ]; then
  # ONNX Runtime reads what CPU there is, and crashes on the description of this one.
  printf 'processor\t: %d\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd08\n\n' 0 1 \
    >"$root/proc/cpuinfo"
fi
programs=("$root"/usr/bin/python3.*)
version="${programs[0]##*python}"

# pip runs on this machine, for the other.
options=(--quiet --target "$root/site" --only-binary=:all: --python-version "$version" --implementation cp)
for abi in "cp${version/./}" abi3 none; do options+=(--abi "$abi"); done
for glibc in 2_17 2_24 2_27 2_28 2_31 2_34; do options+=(--platform "manylinux_${glibc}_$name"); done
options+=(--platform "manylinux2014_$name")
[ "$versions" != oldest ] || options+=(--constraint tests/oldest.txt)
wheel=("$dist"/onnx_fft-*manylinux*"$name".whl)
"$python" -m pip install "${options[@]}" "${wheel[0]}[cpu]"

cp models/large_kernel.onnx "$root/model.onnx"
onnx_fft() { # the wheel's, not that of the folder that this runs in
  PYTHONSAFEPATH=1 PYTHONPATH="$place/site" "${run[@]}" "$place/usr/bin/python$version" -m onnx_fft.cli "$@"
}
onnx_fft doctor | tee "$root/doctor"
grep -q "^built *ready-made" "$root/doctor"
onnx_fft rewrite "$place/model.onnx" "$place/native.onnx" --target native
onnx_fft validate "$place/model.onnx" "$place/native.onnx"
echo "passed: Debian $release $machine, Python $version, $versions dependencies"
