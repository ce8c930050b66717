"""`python -m onnx_fft.cli`."""

import sys

from onnx_fft.cli import main

sys.exit(main())
