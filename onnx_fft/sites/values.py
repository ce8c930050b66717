"""Can transforms take these weights? Numbers that a direct sum confines to one place, a transform spreads over all.

One NaN or Inf in a weight makes one output channel NaN where it meets the input; behind a transform, whole tiles are.
And a spectrum is larger than its weight: a bin is at most `S`, the sum of an output channel's absolute weights; the
input's transform at most `T max |x|` with `T` points; Gauss's products at most four times both. So with `T` and `|x|`
up to 2^16, nothing overflows if `S` is below the largest number of the dtype divided by 2^34. At the other end, numbers
lose their digits: the inverse transform divides by `T`, and flushing to zero is usual below the smallest normal number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnx_fft.errors import Refusal
from onnx_fft.sites.conv import ConvSite
from onnx_fft.sites.conv_transpose import ConvTransposeSite
from onnx_fft.sites.dft import FourierSite
from onnx_fft.sites.matmul import MatMulSite
from onnx_fft.sites.site import Site

HEADROOM = 2.0**34
"""The dtype's largest number divided by the largest sum of absolute weights, and that by its smallest; see above."""

COMPUTED_IN = {"float16": "float32", "float32": "float32", "float64": "float64"}
"""What transforms compute in, by the dtype of the convolution."""


def refuse_values(site: Site) -> Refusal | None:
    """Why a site is not replaced because of what its constants hold, None if nothing speaks against it."""
    assert site.spec is not None
    if isinstance(site, ConvSite | ConvTransposeSite):
        return _refuse_weights(site, site.spec.dtype)
    if isinstance(site, MatMulSite):  # a basis holds no NaN
        assert site.spec is not None
        largest = float(np.abs(site.read_weight()).sum(axis=1 if site.spec.in_columns else 0).max())
        return _refuse_size(largest, "the weights of an output add up to", site.spec.dtype)
    window = site.read_window() if isinstance(site, FourierSite) else None
    if window is None:
        return None
    if problem := _find_problem(window, site.spec.dtype):
        return Refusal("nonfinite", f"its window {problem}")
    return _refuse_size(float(np.abs(window).sum()), "its window adds up to", site.spec.dtype)


def _refuse_weights(site: ConvSite | ConvTransposeSite, dtype: str) -> Refusal | None:
    weights = site.read_weights()
    folded = ", with the BatchNormalization folded in," if site.followers else ""
    for what, values in (("weight", weights.weight), ("bias", weights.bias)):
        if values is not None and (problem := _find_problem(values, dtype)):
            return Refusal("nonfinite", f"its {what}{folded} {problem}")
    with np.errstate(over="ignore"):
        sizes = np.abs(weights.weight)
        if isinstance(site, ConvTransposeSite):  # input channels first; those of one group meet in an output channel
            assert site.spec is not None
            sizes = sizes.reshape(site.spec.group, -1, *sizes.shape[1:]).sum(axis=1)
            sizes = sizes.reshape(site.spec.out_channels, -1)
        largest = float(sizes.reshape(len(sizes), -1).sum(axis=1).max())
    return _refuse_size(largest, "the weights of an output channel add up to", dtype)


def _refuse_size(largest: float, what: str, dtype: str) -> Refusal | None:
    """`what` is said of `largest`, the largest sum of absolute weights."""
    least, most = find_range(dtype)
    if largest > most:
        return Refusal("overflow", f"{what} {largest:.1e}, beyond {most:.0e} a transform may overflow")
    if 0 < largest < least:
        return Refusal("underflow", f"{what} {largest:.1e} at most, and below {least:.0e} a transform loses digits")
    return None


def find_range(dtype: str) -> tuple[float, float]:
    """Between which sizes a transform of numbers of the dtype neither loses digits nor overflows."""
    limits = np.finfo(COMPUTED_IN[dtype])
    return float(limits.tiny) * HEADROOM, float(limits.max) / HEADROOM


def _find_problem(values: NDArray[np.float64], dtype: str) -> str:
    if np.isnan(values).any():
        return "holds NaN"
    largest, limit = float(np.abs(values).max(initial=0.0)), float(np.finfo(dtype).max)
    if np.isinf(largest):
        return "holds Inf"
    return f"reaches {largest:.1e}, and {dtype} ends at {limit:.1e}" if largest > limit else ""
