"""Paints the generated CIFAR-10: a shape that tells the class, on a ground that does not, thousands at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from loadtune.workloads.textures import fractal_noise

SIDE = 32
CLASSES = 10
_MASKS_PER_CLASS = 128
_TEXTURES = 512
_CHUNK = 500  # pictures painted at once: the arrays stay within the processor's cache

Plane: TypeAlias = npt.NDArray[Any]


class Painter:
    """Paints pictures of ten classes; the same seed and the same calls give the same bytes.

    All arithmetic is on 16-bit integers over banks of masks and textures that are made once: 60,000 pictures take
    about a second.
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng((seed, SIDE))
        self._masks = np.stack([_class_masks(label, self._rng) for label in range(CLASSES)])
        noise = fractal_noise(self._rng, count=_TEXTURES, side=SIDE)
        self._textures = np.clip(noise * 32, -127, 127).astype(np.int16).reshape(_TEXTURES, -1)

    def shuffled_labels(self, count: int) -> npt.NDArray[np.int64]:
        """Return ``count`` class numbers in random order, each class as often as the others (or once more)."""
        labels = np.arange(count, dtype=np.int64) % CLASSES
        self._rng.shuffle(labels)
        return labels

    def paint(self, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Return one row of 3,072 bytes for each label: the red plane, the green, the blue, each 32 × 32."""
        rows = np.empty((len(labels), 3 * SIDE * SIDE), dtype=np.uint8)
        for start in range(0, len(labels), _CHUNK):
            chunk = labels[start : start + _CHUNK]
            rows[start : start + _CHUNK] = self._paint_chunk(chunk).reshape(len(chunk), -1)
        return rows

    def _paint_chunk(self, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        rng, count = self._rng, len(labels)
        ground = rng.integers(50, 205, (count, 3, 1), dtype=np.int16)
        contrast = rng.integers(40, 110, (count, 3, 1), dtype=np.int16)
        # away from the nearer end of the scale, so that the shape is seen on every ground
        shape = np.where(ground < 128, contrast, -contrast)  # noqa: PLR2004 - middle grey
        mask = self._masks[labels, rng.integers(0, _MASKS_PER_CLASS, count)][:, None]
        pixels = ground + ((mask * shape) >> 6)
        roughness = rng.integers(8, 40, (count, 1, 1), dtype=np.int16)
        pixels += (self._textures[rng.integers(0, _TEXTURES, (count, 1))] * roughness) >> 5
        pixels += self._textures[rng.integers(0, _TEXTURES, (count, 3))] >> 2
        return np.clip(pixels, 0, 255).astype(np.uint8)


def _class_masks(label: int, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Return masks of one class, from 0 (ground) to 64 (shape), at random places, sizes and slants."""
    across, down = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    centre = rng.uniform(11, 21, (_MASKS_PER_CLASS, 2, 1, 1))
    radius = rng.uniform(7, 12, (_MASKS_PER_CLASS, 1, 1))
    angle = rng.uniform(-0.3, 0.3, (_MASKS_PER_CLASS, 1, 1))
    x, y = (across - centre[:, 0]) / radius, (down - centre[:, 1]) / radius
    u = (np.cos(angle) * x + np.sin(angle) * y).astype(np.float32)
    v = (np.cos(angle) * y - np.sin(angle) * x).astype(np.float32)
    outside = _SHAPES[label](u, v) * radius  # pixels from the edge, about
    return np.rint(64 * np.clip(0.5 - outside, 0, 1)).astype(np.int16).reshape(_MASKS_PER_CLASS, -1)


def _disc(u: Plane, v: Plane) -> Plane:
    distance: Plane = np.hypot(u, v) - 1
    return distance


def _bars(along: Plane, u: Plane, v: Plane) -> Plane:
    bars: Plane = np.maximum(np.hypot(u, v) - 1.2, np.sin(6 * along) / 6)
    return bars


_SHAPES: tuple[Callable[[Plane, Plane], Plane], ...] = (
    _disc,
    lambda u, v: np.maximum(abs(u), abs(v)) - 0.9,  # square
    lambda u, v: abs(_disc(u, v) + 0.25) - 0.25,  # ring
    lambda u, v: _bars(v, u, v),  # level bars
    lambda u, v: _bars(u, u, v),  # upright bars
    lambda u, v: np.minimum(np.maximum(abs(u) - 1, abs(v) - 0.3), np.maximum(abs(u) - 0.3, abs(v) - 1)),  # cross
    lambda u, v: np.maximum(v - 0.8, (2 * abs(u) - v - 0.9) / 2),  # triangle
    lambda u, v: (abs(u) + abs(v) - 1.2) * 0.7,  # diamond
    lambda u, v: np.maximum(_disc(u, v) - 0.2, np.sin(5 * u) * np.sin(5 * v) / 5),  # chequers
    lambda u, v: np.hypot(abs(u) - 0.6, v) - 0.45,  # two discs
)
