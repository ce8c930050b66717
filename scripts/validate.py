"""The same as `onnx-fft validate`, for a checkout of the repository in which the command is not installed.

python scripts/validate.py original.onnx rewritten.onnx --input-shape image:1x3x224x224
"""

from __future__ import annotations

import sys

from onnx_fft.cli import main

if __name__ == "__main__":
    sys.exit(main(["validate", *sys.argv[1:]]))
