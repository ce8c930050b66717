"""The article's two ways to compute a one-filter Conv in NumPy, and what its second one gets wrong.

The article: P. Khetrapal, "Fast - CNN: Substitution of Convolution layers with FFT layers", 2020, which predicted 253
images in 188 s by Python loops and in 39 s by FFT, 4.8 times faster. This is new code after its description.

A Conv of ONNX (and of every framework) correlates: `y[t] = sum_k w[k] x[t + k]`. The article multiplies the spectra of
the image and of the kernel, which lies zero-padded in the middle of an image of odd side `L = 2 h + 1`, and swaps the
quadrants of the product's inverse. Along each axis, with indices modulo L:

- A product of spectra convolves: the kernel comes out flipped, `z[t] = sum_k w[k] x[t - (h - 1) - k]` for 3 taps.
- The kernel's middle lies at h, so the output at t belongs to `z[t + h]`. Swapping the halves around index 0, which is
  left out, takes `z[t + h]` for t = 1 to h, but `z[t - h]` for t = h + 1 to 2 h, where `z[t + h - L] = z[t - h - 1]`
  is right: past the middle, everything comes from one pixel too far on.
- So the last output takes `x[L]`, which modulo L is the other edge of the image. An image of even side loses its last
  row and column before all that, and its last two outputs come from the other edge.

`conv_by_fft` does the same work correctly: the conjugate spectrum correlates, and with the kernel at the origin there
is nothing to swap.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from onnx_fft.fourier.oracle import ConvGeometry, conv_direct
from scripts.article.network import CONVS, Tensors

Array = npt.NDArray[np.float64]
Conv = Callable[[Array, Array, float], Array]
"""`image [L, L]`, `weight [k, k]`, bias -> the valid outputs `[L - k + 1, L - k + 1]`."""


def conv_by_loops(image: Array, weight: Array, bias: float) -> Array:
    """The Conv as the article's baseline has it: in Python, output by output, over a last axis of one channel."""
    kernel = len(weight)
    pixels, taps, offsets = image[:, :, None], weight[:, :, None, None], np.array([bias])
    rows, columns = (side - kernel + 1 for side in image.shape)
    output = np.zeros((rows, columns, 1))
    for row in range(rows):
        for column in range(columns):
            for channel in range(1):
                window = pixels[row : row + kernel, column : column + kernel, :]
                output[row, column, channel] = _weigh(window, taps[:, :, :, channel], offsets[channel])
    return output[:, :, 0]


def _weigh(window: Array, taps: Array, offset: float) -> float:
    return float(np.sum(np.multiply(window, taps)) + float(offset))


def conv_as_in_article(image: Array, weight: Array, bias: float) -> Array:
    """The article's FFT layer, which is not the Conv: see above."""
    valid = len(image) - len(weight) + 1
    odd = len(image) - (len(image) + 1) % 2
    return swap_quadrants(convolve_circular(image[:odd, :odd], weight))[:valid, :valid] + bias


def convolve_circular(image: Array, weight: Array) -> Array:
    """`image [L, L]` convolved, with indices modulo L, with `weight [k, k]` in the middle of L x L zeros; both odd."""
    margin = (len(image) - len(weight)) // 2
    product = np.fft.fft2(image) * np.fft.fft2(np.pad(weight, margin))
    convolved: Array = np.fft.ifft2(product).real
    return convolved


def swap_quadrants(values: Array) -> Array:
    """The halves of both axes around index 0, in turn: `[2 h + 1, 2 h + 1]` -> `[2 h, 2 h]`."""
    half = len(values) // 2
    swapped = np.empty((2 * half, 2 * half))
    first, second = slice(1, half + 1), slice(half + 1, None)
    near, far = slice(0, half), slice(half, None)
    swapped[near, near], swapped[near, far] = values[second, second], values[second, first]
    swapped[far, near], swapped[far, far] = values[first, second], values[first, first]
    return swapped


def conv_by_fft(image: Array, weight: Array, bias: float) -> Array:
    """The Conv by the same three FFTs, done correctly."""
    valid = len(image) - len(weight) + 1
    product = np.fft.fft2(image) * np.conj(np.fft.fft2(weight, s=image.shape))
    correlated: Array = np.fft.ifft2(product).real
    return correlated[:valid, :valid] + bias


def conv_by_oracle(image: Array, weight: Array, bias: float) -> Array:
    """The Conv by the definition: float64, one tap at a time."""
    geometry = ConvGeometry(1, (1, 1), (1, 1), (0, 0), (0, 0))
    output: Array = conv_direct(image[None, None], weight[None, None], [bias], geometry)[0, 0]
    return output


def pool_by_loops(values: Array) -> Array:
    """MaxPool 2x2 in Python, as in both networks of the article."""
    rows, columns = (side // 2 for side in values.shape)
    output = np.zeros((rows, columns))
    for row in range(rows):
        for column in range(columns):
            output[row, column] = np.max(values[2 * row : 2 * row + 2, 2 * column : 2 * column + 2])
    return output


def pool_by_slices(values: Array) -> Array:
    """MaxPool 2x2 without loops."""
    rows, columns = (side // 2 for side in values.shape)
    pooled: Array = values[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2).max(axis=(1, 3))
    return pooled


def predict_logit(image: Array, tensors: Tensors, conv: Conv, pool: Callable[[Array], Array] = pool_by_loops) -> float:
    """The network's logit for one image `[225, 225]`, with the Convs and the pooling given."""
    value = image
    for name in (f"conv{number + 1}" for number in range(CONVS)):
        weight = tensors[f"{name}.weight"][0, 0].astype(np.float64)
        value = pool(np.maximum(0, conv(value, weight, float(tensors[f"{name}.bias"][0]))))
    hidden = np.maximum(0, tensors["hidden.weight"] @ value.ravel() + tensors["hidden.bias"])
    return float(tensors["logit.weight"][0] @ hidden + tensors["logit.bias"][0])


def sigmoid(logits: npt.ArrayLike) -> Array:
    """Probabilities of logits."""
    values: Array = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    return values
