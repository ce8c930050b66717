"""Where the packages for JavaScript are: as scripts/conformance/run.sh installs them."""

from __future__ import annotations

import os
from pathlib import Path

from scripts.shared.paths import CACHE

ENVIRONMENTS = Path(os.environ.get("ONNX_FFT_CONFORMANCE", CACHE / "conformance"))
MODULES = ENVIRONMENTS / "node_modules"
