#!/usr/bin/env bash
# Installs Debian's Chromium, which tests/report looks at reports in, if no browser is found. Needs root.
set -euo pipefail

for name in "${ONNX_FFT_CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable; do
  if [ -n "$name" ] && command -v "$name" >/dev/null; then exit 0; fi
done
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet
apt-get install --yes --quiet --no-install-recommends chromium
