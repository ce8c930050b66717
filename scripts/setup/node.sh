#!/usr/bin/env bash
# Installs Debian's Node and npm, with which scripts/conformance runs the ONNX Runtimes for JavaScript, if they are
# missing. Needs root.
set -euo pipefail

packages=()
command -v node >/dev/null || packages+=(nodejs)
command -v npm >/dev/null || packages+=(npm)
[ "${#packages[@]}" -gt 0 ] || exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet
apt-get install --yes --quiet --no-install-recommends "${packages[@]}"
