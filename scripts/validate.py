"""Compare two ONNX models: the same as `onnx-fft validate`, for who has two files and a checkout of the repository.

    python scripts/validate.py original.onnx rewritten.onnx --input-shape image:1x3x224x224

Exit codes: 0 same, 2 bad usage or invalid model, 3 different.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from onnx_fft.errors import OnnxFftError, UsageError, ValidationFailedError
from onnx_fft.validate import validate


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compare a rewritten ONNX model with its original.")
    parser.add_argument("original")
    parser.add_argument("rewritten")
    parser.add_argument("--inputs", help="an .npz file with one array per model input; random inputs otherwise")
    parser.add_argument("--input-shape", action="append", default=[], metavar="NAME:1x3x224x224")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rtol", type=float, help="replaces the relative limits of the tolerance table")
    parser.add_argument("--atol", type=float, default=0.0, help="allowed on top, per element")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(arguments)
    try:
        result = validate(
            options.original,
            options.rewritten,
            inputs=options.inputs,
            input_shapes=dict(parse_shape(text) for text in options.input_shape),
            seed=options.seed,
            rtol=options.rtol,
            atol=options.atol,
        )
    except OnnxFftError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(result.to_dict(), indent=2) if options.json else "\n".join(result.describe()))
    return 0 if result.ok else ValidationFailedError.exit_code


def parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """`NAME:1x3x224x224`; the name itself may hold colons."""
    name, _, sizes = text.rpartition(":")
    try:
        return name, tuple(int(size) for size in sizes.split("x"))
    except ValueError:
        raise UsageError(f"got input shape {text!r}; expected NAME:1x3x224x224; correct it") from None


if __name__ == "__main__":
    sys.exit(main())
