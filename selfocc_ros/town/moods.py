# SPDX-License-Identifier: Apache-2.0
"""Light and air: where the sun is, how bright things are, what the sky looks like."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from selfocc_ros.town.noise import Noise

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Mood:
    """Light of one drive. Colours are linear RGB; ``sun`` is the unit direction towards the sun."""

    name: str
    sun: Colour
    sunlight: Colour
    ambient: Colour
    zenith: Colour
    horizon: Colour
    clouds: float
    shadow: float
    haze_m: float
    exposure: float


def _towards(azimuth: float, elevation: float) -> Colour:
    return (math.cos(azimuth) * math.cos(elevation), math.sin(azimuth) * math.cos(elevation), math.sin(elevation))


def random_mood(rng: np.random.Generator) -> Mood:
    """One of five kinds of light, with its own sun and air."""
    kind = int(rng.integers(5))
    azimuth = float(rng.uniform(0.0, 2.0 * math.pi))
    haze = float(rng.uniform(250.0, 700.0))
    exposure = float(rng.uniform(0.9, 1.12))
    if kind == 0:
        return Mood(
            "sunny",
            _towards(azimuth, float(rng.uniform(0.7, 1.1))),
            (1.15, 1.08, 0.95),
            (0.50, 0.55, 0.64),
            (0.20, 0.38, 0.75),
            (0.62, 0.74, 0.90),
            0.45,
            0.50,
            haze,
            exposure,
        )
    if kind == 1:
        return Mood(
            "overcast",
            _towards(azimuth, 1.0),
            (0.22, 0.22, 0.22),
            (0.86, 0.88, 0.92),
            (0.62, 0.65, 0.70),
            (0.80, 0.82, 0.84),
            0.8,
            0.10,
            haze * 0.6,
            exposure,
        )
    if kind == 2:
        return Mood(
            "low sun",
            _towards(azimuth, float(rng.uniform(0.22, 0.4))),
            (1.35, 1.00, 0.62),
            (0.46, 0.50, 0.62),
            (0.28, 0.42, 0.70),
            (0.95, 0.78, 0.58),
            0.35,
            0.45,
            haze,
            exposure,
        )
    if kind == 3:
        return Mood(
            "dusk",
            _towards(azimuth, 0.2),
            (0.42, 0.28, 0.24),
            (0.40, 0.42, 0.56),
            (0.14, 0.18, 0.36),
            (0.72, 0.48, 0.42),
            0.5,
            0.18,
            haze * 0.8,
            exposure * 1.15,
        )
    return Mood(
        "hazy",
        _towards(azimuth, float(rng.uniform(0.5, 0.9))),
        (0.72, 0.68, 0.60),
        (0.66, 0.68, 0.70),
        (0.55, 0.62, 0.72),
        (0.84, 0.84, 0.80),
        0.3,
        0.28,
        haze * 0.45,
        exposure,
    )


def sky(mood: Mood, noise: Noise, directions: Tensor, angle: Tensor, seed: int) -> Tensor:
    """Colours (n, 3) of the sky in directions (n, 3): gradient, clouds and a far skyline."""
    dz = directions[:, 2]
    up = dz.clamp(0.0, 1.0)
    device = directions.device
    zenith = torch.tensor(mood.zenith, device=device)
    horizon = torch.tensor(mood.horizon, device=device)
    colour = horizon + (zenith - horizon) * (1.0 - torch.exp(-4.0 * up))[:, None]
    height = up + 0.12
    u, v = directions[:, 0] / height * 14.0, directions[:, 1] / height * 14.0
    puff = noise.surface(u + 31.7 * (seed % 97), v, angle * 14.0 / height, 0.18)[:, 0]
    cover = torch.sigmoid((puff - 1.2 + 2.4 * mood.clouds) * 2.5)[:, None] * 0.75
    white = 0.5 * horizon + 0.45 + 0.06 * puff[:, None]
    colour = colour + (white - colour) * cover
    # A skyline of hills and roofs, as far away as the eye can see.
    around = torch.atan2(directions[:, 1], directions[:, 0]) * 12.0
    hills = noise.surface(around, torch.full_like(around, 3.0 * (seed % 53)), angle * 12.0, 0.18)[:, 0]
    edge = 0.022 + 0.012 * hills
    land = ((edge - dz) / angle + 0.5).clamp(0.0, 1.0)[:, None]
    return colour + (horizon * 0.72 - colour) * land
