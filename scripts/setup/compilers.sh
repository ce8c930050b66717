#!/usr/bin/env bash
# Installs the compilers of Debian with which scripts/native/check.sh builds, and ccache, with which .ci/run compiles the
# same only once, if they are missing. Needs root.
set -euo pipefail

packages=()
command -v g++ >/dev/null || packages+=(g++)
command -v clang++ >/dev/null || packages+=(clang)
command -v ccache >/dev/null || packages+=(ccache)
command -v cmake >/dev/null || packages+=(cmake)
command -v ninja >/dev/null || packages+=(ninja-build)
[ -d /usr/aarch64-linux-gnu/include ] || packages+=(libstdc++-12-dev-arm64-cross)
[ "${#packages[@]}" -gt 0 ] || exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet
apt-get install --yes --quiet --no-install-recommends "${packages[@]}"
