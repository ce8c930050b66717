#!/usr/bin/env bash
# Sets up the runtimes of the conformance matrix if they are missing, each in an environment of its own, and runs
# `python -m scripts.conformance.run` with the arguments given. Needs Node, npm and Chromium (scripts/setup).
set -euo pipefail
cd "$(dirname "$0")/../.."

source scripts/conformance/environments.sh
bin="$(bash scripts/setup/venv.sh '.[test]')"

install_runtimes
"$bin/python" -m scripts.conformance.run --environments "$environments" "$@"
