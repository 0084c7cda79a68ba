"""Paints pictures that cost a JPEG decoder what photographs cost: occluding objects, texture at all scales, soft light.

The composition is the "dead leaves" model: objects of power-law sizes that hide one another have the edges and the
spectrum of natural scenes (Lee, Mumford and Huang, Int. J. Computer Vision 41, 2001).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from loadtune.workloads.textures import Pixels, fractal_noise

CLASSES = 10
LONG_SIDE, SHORT_SIDE = 500, 375
_BANK_SIDE = 1024  # larger than any picture, so that a crop is a slice
_BANK_FIELDS = 6
_SMALLEST_OBJECT = 6.0  # pixels

Point = tuple[float, float]


class Photographer:
    """Paints pictures by number; the same seed and number give the same pixels, whatever was painted before."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        rng = np.random.default_rng((seed, _BANK_SIDE))
        self._textures = fractal_noise(rng, count=_BANK_FIELDS, side=_BANK_SIDE)
        self._grain = rng.standard_normal((_BANK_SIDE, _BANK_SIDE), dtype=np.float32)

    def rng(self, number: int) -> np.random.Generator:
        """Return the random numbers of one picture."""
        return np.random.default_rng((self._seed, number))

    def paint(self, rng: np.random.Generator, label: int) -> Image.Image:
        """Return an RGB picture of about 500 × 375, ± 30 %, one in three upright."""
        size = _random_size(rng)
        scene = _dead_leaves(rng, size, label).filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.2)))
        return Image.fromarray(self._textured(rng, np.asarray(scene)))

    def _textured(self, rng: np.random.Generator, scene: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Add what surfaces, light and the sensor add: texture stronger in some places than others, and grain."""
        where = self._crop(self._textures, rng, scene.shape)
        surface = self._crop(self._textures, rng, scene.shape)
        grain = self._crop(self._grain[None], rng, scene.shape)
        light = 1 + 0.06 * self._crop(self._textures, rng, scene.shape)
        relief = surface * (rng.uniform(4, 10) * np.clip(1 + where, 0.2, 2.5)) + grain * rng.uniform(0.5, 2.5)
        pixels = scene * light[..., None]
        pixels += relief[..., None]
        return np.clip(pixels, 0, 255, out=pixels).astype(np.uint8)

    @staticmethod
    def _crop(bank: Pixels, rng: np.random.Generator, shape: tuple[int, ...]) -> Pixels:
        height, width = shape[:2]
        top, left = rng.integers(0, _BANK_SIDE - height), rng.integers(0, _BANK_SIDE - width)
        crop: Pixels = bank[rng.integers(len(bank)), top : top + height, left : left + width]
        return crop


def _random_size(rng: np.random.Generator) -> tuple[int, int]:
    """Return width and height."""
    scale = rng.uniform(0.7, 1.3)
    sides = round(LONG_SIDE * scale), round(SHORT_SIDE * scale * rng.uniform(0.9, 1.1))
    return sides if rng.random() < 2 / 3 else sides[::-1]


def _dead_leaves(rng: np.random.Generator, size: tuple[int, int], label: int) -> Image.Image:
    """Return objects of all sizes over a soft ground, in the shape and about the hues of the class."""
    ground = rng.integers(40, 215, (3, 4, 3), dtype=np.uint8)
    scene = Image.fromarray(ground).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(scene)
    count = int(rng.integers(60, 260))
    largest = min(size) / 3
    # radii with a density of r**-3: the model's scale-free case, in which every size covers as much of the picture
    shares = rng.uniform((_SMALLEST_OBJECT / largest) ** 2, 1, count)
    radii = _SMALLEST_OBJECT / np.sqrt(shares)
    hue = np.array([np.cos(0.628 * label + phase) for phase in (0.0, 2.094, 4.189)])
    for radius in radii:
        colour = np.clip(rng.uniform(60, 195) + 40 * hue + rng.normal(0, 30, 3), 0, 255).astype(int)
        outline = _OUTLINES[label % len(_OUTLINES)] if rng.random() < 0.7 else _blob  # noqa: PLR2004
        centre = rng.uniform(0, size[0]), rng.uniform(0, size[1])
        draw.polygon(outline(rng, centre, float(radius)), fill=tuple(int(channel) for channel in colour))
    return scene


def _polygon(angles: npt.NDArray[np.float64], radii: npt.NDArray[np.float64], centre: Point) -> list[Point]:
    x, y = centre[0] + radii * np.cos(angles), centre[1] + radii * np.sin(angles)
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _corners(number: int) -> Callable[[np.random.Generator, Point, float], list[Point]]:
    """Return the outline of polygons with ``number`` corners, each a little out of place."""

    def outline(rng: np.random.Generator, centre: Point, radius: float) -> list[Point]:
        angles = rng.uniform(0, 2 * np.pi) + 2 * np.pi * (np.arange(number) + rng.uniform(-0.15, 0.15, number)) / number
        return _polygon(angles, radius * rng.uniform(0.8, 1.2, number), centre)

    return outline


def _blob(rng: np.random.Generator, centre: Point, radius: float) -> list[Point]:
    """Return a smooth outline, a circle with two waves on it."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    waves = rng.uniform(0, 0.25) * np.sin(2 * angles + rng.uniform(0, 6)) + rng.uniform(0, 0.12) * np.sin(
        3 * angles + rng.uniform(0, 6)
    )
    return _polygon(angles, radius * (1 + waves), centre)


_OUTLINES = (_blob, _corners(3), _corners(4), _corners(5), _corners(7))
