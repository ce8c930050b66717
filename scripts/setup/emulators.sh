#!/usr/bin/env bash
# Installs Debian's emulators with which scripts/release/try_driver.sh runs the kernels, if they are missing: qemu for
# programs for Arm; Bochs, and what makes a disk for it to boot from. Needs root.
set -euo pipefail

# One `command -v` for all would be content with any of them.
is_complete=true
for program in qemu-aarch64-static bochs grub-mkrescue xorriso mformat cpio busybox; do
  command -v "$program" >/dev/null || is_complete=false
done
"$is_complete" && exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet
apt-get install --yes --quiet --no-install-recommends qemu-user-static bochs bochs-term bochsbios busybox-static cpio \
  grub-common grub-pc-bin mtools xorriso
