#!/usr/bin/env bash
# Installs Debian's emulator of Arm programs, with which scripts/release/try_driver.sh runs the kernels, if it is missing.
# Needs root.
set -euo pipefail

command -v qemu-aarch64-static >/dev/null && exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet
apt-get install --yes --quiet --no-install-recommends qemu-user-static
