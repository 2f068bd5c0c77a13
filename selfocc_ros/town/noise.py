# SPDX-License-Identifier: Apache-2.0
"""Surface noise: periodic tiles with a mip pyramid, looked up once per pixel, and lattice randoms.

The tiles are made once with numpy from a fixed seed; towns and surfaces differ by where they look.
Choosing the pyramid level by the size of a pixel on the surface keeps the picture free of flicker.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

SIZE = 512
LEVELS = 8
FINE_TEXEL = 0.022
"""Metres per texel of the fine lookup; it repeats after 11 m, the coarse one after 92 m."""
COARSE_TEXEL = 0.18
RANDOMS = 65536


def _filtered(rng: np.random.Generator, low: float, high: float, power: float) -> np.ndarray:
    """Periodic noise of unit variance with wavelengths of ``low`` to ``high`` texels, amplitude ~ f^-power."""
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None, :])
    frequency[0, 0] = 1.0
    gain = frequency**-power * (frequency <= 1.0 / low) * (frequency >= 1.0 / high)
    gain[0, 0] = 0.0
    tile = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((SIZE, SIZE))) * gain, s=(SIZE, SIZE))
    return np.asarray(tile / tile.std())


@lru_cache(maxsize=1)
def _pyramid() -> tuple[np.ndarray, tuple[int, ...]]:
    """Texels (n, 4) of all levels one after another, and where each level starts."""
    rng = np.random.default_rng(20240229)
    fractal = _filtered(rng, 2.0, 512.0, 1.0)
    ridges = np.maximum(0.0, 1.0 - np.abs(_filtered(rng, 10.0, 200.0, 1.2)) * 14.0)  # thin lines: cracks
    leaves = np.tanh(2.0 * _filtered(rng, 5.0, 24.0, 0.2))
    speckle = np.clip(_filtered(rng, 2.0, 6.0, 0.0), -2.5, 2.5)
    level = np.stack([np.clip(fractal, -2.5, 2.5), ridges, leaves, speckle], axis=-1).astype(np.float32)
    flat, starts, total = [], [], 0
    for _ in range(LEVELS):
        starts.append(total)
        flat.append(level.reshape(-1, 4))
        total += level.shape[0] ** 2
        level = level.reshape(level.shape[0] // 2, 2, level.shape[1] // 2, 2, 4).mean(axis=(1, 3))
    return np.concatenate(flat), tuple(starts)


class Noise:
    """The pyramid and the table of randoms on one device."""

    def __init__(self, device: torch.device) -> None:
        texels, starts = _pyramid()
        self._texels = torch.from_numpy(texels).to(device)
        self._starts = torch.tensor(starts, dtype=torch.int32, device=device)
        table = np.random.default_rng(77).random(RANDOMS).astype(np.float32)
        self._table = torch.from_numpy(table).to(device)

    def surface(self, u: torch.Tensor, v: torch.Tensor, footprint: torch.Tensor, texel: float) -> torch.Tensor:
        """Four kinds of noise (n, 4) at surface coordinates u, v (n,) in metres.

        Columns: fractal, cracks (0 to 1), blobs, speckle. ``footprint`` (n,) is a pixel's size there in metres.
        """
        level = torch.log2(footprint.clamp_min(1e-4) * (0.7 / texel)).round_().clamp_(0, LEVELS - 1).to(torch.int32)
        column = torch.floor(u * (1.0 / texel)).to(torch.int32)
        row = torch.floor(v * (1.0 / texel)).to(torch.int32)
        column = torch.bitwise_right_shift(torch.bitwise_and(column, SIZE - 1), level)
        row = torch.bitwise_right_shift(torch.bitwise_and(row, SIZE - 1), level)
        width = torch.bitwise_right_shift(torch.full_like(level, SIZE), level)
        index = self._starts[level.long()] + row * width + column
        return self._texels[index.long()]

    def lattice(self, i: torch.Tensor, j: torch.Tensor, seed: torch.Tensor | int) -> torch.Tensor:
        """A random number in [0, 1) for every integer place (i, j) of the lattice numbered ``seed``."""
        # Small factors keep every sum below 2^31: 32-bit arithmetic is the same and fast everywhere.
        number = (seed % 65521) * 2017 if isinstance(seed, int) else (seed.to(torch.int32) % 65521) * 2017
        mixed = i.to(torch.int32) * 7919 + j.to(torch.int32) * 15013 + number
        mixed = mixed ^ torch.bitwise_right_shift(mixed, 9)
        return self._table[torch.bitwise_and(mixed, RANDOMS - 1).long()]
