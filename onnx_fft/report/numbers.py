"""How numbers are written for people: times, sizes, ratios, errors and counts."""

from __future__ import annotations

import math

from onnx_fft import units
from onnx_fft.timing.stats import Spread

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def format_ms(seconds: float) -> str:
    """Milliseconds with three digits that mean something, without the unit."""
    ms = seconds * 1e3
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}" if ms >= 1 else f"{ms:.3f}"


def format_milliseconds(seconds: float | None) -> str:
    """Milliseconds with two decimals, for columns of them, without the unit; "" for None."""
    return "" if seconds is None else f"{seconds * 1e3:.2f}"


def format_time(seconds: float | None) -> str:
    """Seconds with three digits and the unit that suits; a dash for None."""
    if seconds is None:
        return "–"
    if seconds >= 1:
        return f"{seconds:.2f} s" if seconds < 100 else f"{seconds:.0f} s"
    return f"{seconds * 1e6:.3g} µs" if seconds < 1e-4 else f"{format_ms(seconds)} ms"


def format_spread(spread: Spread) -> str:
    """Median and quartiles: `12.3 ms (12.1 to 12.9)`."""
    return f"{format_ms(spread.median)} ms ({format_ms(spread.low)} to {format_ms(spread.high)})"


def format_bytes(count: int) -> str:
    """The size of a file or of memory: `1.20 MiB`, `31.0 KiB`."""
    return f"{count / 2**20:.2f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"


def format_peak(count: int | None) -> str:
    """Memory as `format_bytes`; `unknown` if the system does not say how much it was."""
    return "unknown" if count is None else format_bytes(count)


def format_growth(count: int) -> str:
    """`+2.6 MiB`, `−31.0 KiB`, `±0`."""
    return units.format_growth(count).replace("-", "−") if count else "±0"


def format_error(value: float) -> str:
    """`2.6×10⁻⁷`; a dash for NaN, which stands for what was not computed."""
    if math.isnan(value):
        return "–"
    if value == 0 or math.isinf(value):
        return "0" if value == 0 else "∞"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}×10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def plural(count: int, noun: str) -> str:
    """`1 convolution`, `3 convolutions`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
