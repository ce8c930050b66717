"""Synthetic images that look a little like MRI slices of a head, with and without a bright blob: data for the article.

A slice is a skull (a bright ring) around a brain (an ellipse of uneven grey) with two dark ventricles and a few small
bright vessels. One with a tumour has a bright blob of 9 to 20 pixels' radius as well. A network that learns from them
learns nothing about real scans.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float64]

SIZE = 225
"""Pixels a side."""
LEVELS = 255
"""Grey levels above black, as in a file of 8 bits a pixel."""


@dataclass(frozen=True, slots=True)
class Images:
    """`pixels` `[count, SIZE, SIZE]`, uint8; `labels` `[count]`, whether there is a tumour."""

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.labels)

    def scale(self) -> Image:
        """The pixels as the network takes them: float64 in [0, 1], `[count, SIZE, SIZE]`."""
        return self.pixels / float(LEVELS)


def draw_images(count: int, seed: int) -> Images:
    """`count` images, about half with a tumour; each depends only on `seed` and its own number."""
    pixels = np.empty((count, SIZE, SIZE), np.uint8)
    labels = np.empty(count, np.bool_)
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        labels[number] = rng.random() < 0.5
        image = draw_slice(rng, bool(labels[number]))
        pixels[number] = np.rint(LEVELS * np.clip(image, 0.0, 1.0))
    return Images(pixels, labels)


def draw_slice(rng: np.random.Generator, has_tumour: bool) -> Image:
    """One slice, `[SIZE, SIZE]`, black 0 and white 1 before noise."""
    middle = (SIZE - 1) / 2
    center = (middle + rng.uniform(-8, 8), middle + rng.uniform(-8, 8))
    radii = (rng.uniform(88, 102), rng.uniform(72, 86))
    turn = rng.uniform(-0.2, 0.2)
    head = _ellipse(center, radii, turn)
    thick = rng.uniform(0.07, 0.11)
    brain = _fill(head, 1 - thick - 0.04)
    skull = _fill(head, 1.0) - _fill(head, 1 - thick)
    grey = rng.uniform(0.28, 0.42) + 0.10 * _clouds(rng, 9) + 0.05 * _clouds(rng, 33)
    image = rng.uniform(0.55, 0.8) * skull + grey * brain
    for side in (-1, 1):
        place = (center[0] + rng.uniform(-8, 8), center[1] + side * rng.uniform(10, 16))
        ventricle = _fill(_ellipse(place, (rng.uniform(16, 26), rng.uniform(4, 8)), turn + side * 0.25), 1.0)
        image = image * (1 - 0.7 * ventricle)
    for _ in range(rng.integers(2, 6)):
        vessel = _fill(_ellipse(_place_within(rng, center, radii, 0.75), (rng.uniform(1.5, 3.0),) * 2, 0.0), 1.0)
        image = image + rng.uniform(0.2, 0.4) * vessel
    if has_tumour:
        size = rng.uniform(9, 20)
        place = _place_within(rng, center, radii, 0.6)
        blob = _fill(_ellipse(place, (size, size * rng.uniform(0.7, 1.0)), rng.uniform(0, np.pi)), 1.0, soft=0.25)
        image = image + blob * (rng.uniform(0.22, 0.45) + 0.06 * _clouds(rng, 33))
    noisy: Image = image + rng.uniform(0.015, 0.04) * rng.standard_normal((SIZE, SIZE))
    return noisy


def _ellipse(center: tuple[float, float], radii: tuple[float, float], turn: float) -> Image:
    """The distance from the centre of each pixel, 1 on the ellipse, whose first radius is turned by `turn` radians."""
    rows = np.arange(SIZE)[:, None] - center[0]
    columns = np.arange(SIZE)[None, :] - center[1]
    along = rows * np.cos(turn) + columns * np.sin(turn)
    across = columns * np.cos(turn) - rows * np.sin(turn)
    distance: Image = np.sqrt((along / radii[0]) ** 2 + (across / radii[1]) ** 2)  # np.hypot is slower
    return distance


def _fill(distance: Image, edge: float, soft: float = 0.03) -> Image:
    """1 within `edge`, 0 beyond, with a slope of the width `soft` between."""
    inside: Image = np.clip((edge - distance) / soft + 0.5, 0.0, 1.0)
    return inside


def _place_within(
    rng: np.random.Generator, center: tuple[float, float], radii: tuple[float, float], share: float
) -> tuple[float, float]:
    """A point of the ellipse `share` times as large, evenly spread."""
    angle, distance = rng.uniform(0, 2 * np.pi), share * np.sqrt(rng.random())
    return center[0] + radii[0] * distance * np.cos(angle), center[1] + radii[1] * distance * np.sin(angle)


def _clouds(rng: np.random.Generator, points: int) -> Image:
    """Smooth unevenness of about 1 either way: noise on a grid of `points` a side, interpolated bilinearly."""
    weights = np.maximum(0.0, 1 - np.abs(np.linspace(0, points - 1, SIZE)[:, None] - np.arange(points)))
    smooth: Image = weights @ rng.standard_normal((points, points)) @ weights.T
    return smooth
