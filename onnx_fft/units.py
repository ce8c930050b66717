"""How sizes are written."""

from __future__ import annotations


def format_size(count: int) -> str:
    """`2.6 MiB`, or `31.0 KiB` if that would be 0.0 MiB."""
    if count < 2**20 / 10:
        return f"{count / 2**10:.1f} KiB" if count else "0 bytes"
    return f"{count / 2**20:.1f} MiB"


def format_growth(count: int) -> str:
    """`+2.6 MiB`, `-31.0 KiB`."""
    return f"{'-' if count < 0 else '+'}{format_size(abs(count))}"
