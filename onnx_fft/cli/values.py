"""How values of flags are written: shapes, sizes and times. What does not read as one is an ArgumentTypeError."""

from __future__ import annotations

import argparse
import re

SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
SECONDS = {"s": 1, "m": 60, "h": 3600}


def parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """`NAME:1x3x224x224` as the name and the shape; a name may hold colons."""
    name, colon, dims = text.rpartition(":")
    if not colon or not re.fullmatch(r"\d+(x\d+)*", dims):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected NAME:1x3x224x224")
    return name, tuple(map(int, dims.split("x")))


def parse_size(text: str) -> int:
    """`500K`, `64M`, `1.5G` in bytes; a number alone is bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)(?:i?B)?", text, re.IGNORECASE)
    size = float(match[1]) * SIZES[match[2].upper()] if match else float("inf")
    if size == float("inf"):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a size such as 500K, 64M or 1G")
    return int(size)


def parse_seconds(text: str) -> float:
    """`90s`, `5m`, `1h` in seconds; a number alone is seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h)?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a time such as 90s or 5m")
    return float(match[1]) * SECONDS[match[2] or "s"]
