# SPDX-License-Identifier: Apache-2.0
"""Paint of the ground: asphalt with patches, cracks and marks, kerbstones, paving, grass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from selfocc_ros.town.noise import Noise
from selfocc_ros.town.objects import Label
from selfocc_ros.town.paint import blend, edge, fade
from selfocc_ros.town.raycast import KERB_FACE, ROAD
from selfocc_ros.town.route import CrossSection


@dataclass(frozen=True)
class GroundStyle:
    """Colours and marks of one town's street."""

    section: CrossSection
    zebras: Tensor
    asphalt: tuple[float, float, float]
    paving: tuple[float, float, float]
    verge: tuple[float, float, float]
    tile: float
    wear: float
    seed: int

    @staticmethod
    def random(
        rng: np.random.Generator, section: CrossSection, zebras: np.ndarray, device: torch.device
    ) -> GroundStyle:
        """Draw a street surface."""
        grey, warm = rng.uniform(0.22, 0.36), rng.normal(0.0, 0.012)
        stone, tint = rng.uniform(0.42, 0.6), rng.normal(0.0, 0.03)
        places = np.sort(zebras) if len(zebras) else np.array([-1e6])
        return GroundStyle(
            section,
            torch.from_numpy(places).to(device, torch.float32),
            (float(grey + warm), float(grey), float(grey - warm)),
            (float(stone + tint), float(stone), float(stone - tint)),
            (float(rng.uniform(0.16, 0.34)), float(rng.uniform(0.26, 0.34)), float(rng.uniform(0.08, 0.16))),
            float(rng.uniform(0.4, 0.8)),
            float(rng.uniform(0.1, 0.6)),
            int(rng.integers(1, 65521)),
        )


def ground_label(section: CrossSection, d: Tensor, part: Tensor) -> Tensor:
    """Occ3D class (n,) of ground hits."""
    outside = torch.where(d.abs() > section.wall, int(Label.TERRAIN), int(Label.SIDEWALK))
    return torch.where(part == ROAD, int(Label.DRIVEABLE_SURFACE), outside)


def _grey(value: Tensor) -> Tensor:
    return value[:, None].expand(-1, 3)


def _road(noise: Noise, style: GroundStyle, d: Tensor, s: Tensor, fp: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
    section = style.section
    base = d.new_tensor(style.asphalt).expand(len(d), 3)
    tone = 1.0 + 0.20 * coarse[:, 0] + 0.15 * fine[:, 0] + 0.16 * fine[:, 3] - 0.35 * coarse[:, 1] - 0.45 * fine[:, 1]
    track = torch.minimum((d.abs() - section.lane * 0.5 - 0.8).abs(), (d.abs() - section.lane * 0.5 + 0.8).abs())
    tone = tone - 0.10 * (1.0 - track / 0.4).clamp(0.0, 1.0)
    # Patches of newer and older asphalt, of uneven size within their cells.
    for length, width, number in ((6.3, 2.1, 1), (2.3, 1.3, 2)):
        i, j = torch.floor(s / length), torch.floor(d / width)
        r = noise.lattice(i, j, style.seed + number)
        q = noise.lattice(i, j, style.seed + number + 50)
        x, y = (s / length - i - 0.5).abs(), (d / width - j - 0.5).abs()
        inside = torch.minimum((0.2 + 0.3 * q - x) * length, (0.25 + 0.22 * q - y) * width)
        chosen = (r < 0.3).to(d.dtype)
        tone = tone + chosen * edge(inside, fp) * (q - 0.55) * 0.7
        tone = tone - chosen * edge(0.03 - inside.abs(), fp) * 0.3 * fade(fp, 0.2)
    # Manhole covers.
    i = torch.floor(s / 11.0)
    r, q = noise.lattice(i, i * 0, style.seed + 5), noise.lattice(i, i * 0 + 1, style.seed + 5)
    away = torch.hypot((s / 11.0 - i - 0.2 - 0.6 * r) * 11.0, d - (q - 0.5) * 2.4 * section.lane * 0.7)
    tone = tone - 0.5 * edge(0.34 - away, fp) * (1.0 - 0.8 * edge(0.04 - (away - 0.2).abs(), fp))
    colour = base * _grey(tone.clamp_min(0.15))
    # Marks: dashed centre line, parking bays, zebra crossings.
    near = torch.searchsorted(style.zebras, s.contiguous()).clamp(0, len(style.zebras) - 1)
    to_zebra = torch.minimum((s - style.zebras[near]).abs(), (s - style.zebras[(near - 1).clamp_min(0)]).abs())
    dash = edge(torch.minimum(1.5 - ((s % 6.0) - 3.0).abs(), 0.07 - d.abs()), fp) * (to_zebra > 4.0)
    side = (d.abs() - section.lane).abs()
    bay = edge(0.05 - side, fp) * (to_zebra > 3.0)
    tick = edge(torch.minimum(0.05 - ((s % 6.0) - 3.0).abs(), d.abs() - section.lane), fp) * (to_zebra > 7.0)
    bars = edge(torch.minimum(1.6 - to_zebra, 0.25 - ((d % 1.0) - 0.5).abs()), fp)
    stop = edge(torch.minimum(0.15 - (to_zebra - 2.6).abs(), section.lane - d.abs()), fp)
    marks = torch.maximum(torch.maximum(torch.maximum(dash, bay * 0.8), torch.maximum(tick * 0.8, bars)), stop)
    worn = (1.0 - style.wear * (0.5 + 0.5 * fine[:, 2] + 0.3 * coarse[:, 0])).clamp(0.15, 1.0)
    white = 0.78 * (1.0 + 0.06 * fine[:, 0])
    return blend(colour, _grey(white), marks * worn)


def _paving(noise: Noise, style: GroundStyle, d: Tensor, s: Tensor, fp: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
    across = d.abs() - style.section.kerb
    tile = style.tile
    row = torch.floor(across / tile)
    along = s / tile + 0.5 * (row.to(torch.int64) & 1)
    column = torch.floor(along)
    shade = noise.lattice(column, row * torch.sign(d), style.seed + 7)
    gap = torch.minimum(0.5 - (along - column - 0.5).abs(), 0.5 - (across / tile - row - 0.5).abs()) * tile
    tone = (
        1.0
        + 0.45 * (shade - 0.5) * fade(fp, tile)
        + 0.14 * fine[:, 0]
        + 0.2 * coarse[:, 0]
        - 0.3 * fine[:, 1]
        - 0.35 * (1.0 - edge(gap - 0.012, fp)) * fade(fp, 0.4)
        - 0.25 * (fine[:, 2] > 0.8) * fade(fp, 0.1)
    )
    return d.new_tensor(style.paving) * _grey(tone.clamp_min(0.2))


def paint_ground(
    noise: Noise,
    style: GroundStyle,
    x: Tensor,
    y: Tensor,
    z: Tensor,
    d: Tensor,
    s: Tensor,
    part: Tensor,
    footprint: Tensor,
) -> Tensor:
    """Albedo (n, 3) of ground hits at x, y, z with road coordinates d, s; ``footprint`` in metres."""
    shift = 0.37 * (style.seed % 211)
    face = part == KERB_FACE
    v = torch.where(face, z * 1.0, y)
    u = torch.where(face, s, x)
    fine = noise.surface(u + shift, v, footprint, 0.022)
    coarse = noise.surface(x, y + shift, footprint, 0.18)
    colour = torch.empty(len(x), 3, device=x.device)
    outside = (part != ROAD) & (d.abs() > style.section.wall)
    for where, painter in (((part == ROAD), _road), ((part != ROAD) & ~outside, _paving)):
        which = where.nonzero(as_tuple=True)[0]
        if len(which):
            colour[which] = painter(noise, style, d[which], s[which], footprint[which], fine[which], coarse[which])
    verge = d.new_tensor(style.verge) * _grey(
        (1.0 + 0.3 * fine[:, 2] + 0.3 * fine[:, 3] + 0.3 * coarse[:, 0]).clamp_min(0.2)
    )
    colour = torch.where(outside[:, None], verge, colour)
    # Kerbstones: a light strip of stones of one metre, on top and in front.
    stone = noise.lattice(torch.floor(s), torch.sign(d) + 2, style.seed + 9)
    kerb = _grey(
        (0.50 + 0.2 * (stone - 0.5) + 0.06 * fine[:, 0]) - 0.2 * edge(0.02 - ((s % 1.0) - 0.5).abs(), footprint)
    )
    strip = edge(0.16 - (d.abs() - style.section.kerb), footprint) * (part != ROAD)
    colour = blend(colour, kerb, strip)
    gutter = edge(0.25 - (style.section.kerb - d.abs()), footprint) * (part == ROAD)
    return blend(colour, colour * 0.7, gutter)
