"""Noise with the spectrum of photographs, the ground of all generated pictures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.float32]


def fractal_noise(rng: np.random.Generator, *, count: int, side: int, slope: float = 1.0) -> Pixels:
    """Return ``count`` periodic fields of ``side`` × ``side`` with mean 0 and standard deviation 1.

    Amplitude falls with spatial frequency f as 1/f**slope; photographs have a slope of about 1 (Field, J. Opt. Soc.
    Am. A 4, 1987).
    """
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    frequency[0, 0] = np.inf  # no mean
    amplitude = frequency**-slope
    fields = np.empty((count, side, side), dtype=np.float32)
    for field in fields:
        spectrum = np.fft.rfft2(rng.standard_normal((side, side), dtype=np.float32)) * amplitude
        noise = np.fft.irfft2(spectrum, s=(side, side))
        field[:] = noise / noise.std()
    return fields
