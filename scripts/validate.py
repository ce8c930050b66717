"""The same as `onnx-fft validate`, as a script.

python scripts/validate.py original.onnx rewritten.onnx --input-shape image:1x3x224x224
"""

from __future__ import annotations

import sys

from onnx_fft.cli import main

if __name__ == "__main__":
    sys.exit(main(["validate", *sys.argv[1:]]))
