# SPDX-License-Identifier: Apache-2.0
"""Paint of everything above the ground: facades, cars, people, trees, furniture.

Every pattern lives in coordinates attached to its surface, in metres, so it moves with the thing and
looks the same from everywhere. Edges are filtered over one pixel's footprint and fine detail fades
before it would flicker. All functions take n hits and return albedo (n, 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selfocc_ros.town.noise import Noise
from selfocc_ros.town.objects import Material


@dataclass(frozen=True)
class Hits:
    """n hits on solids. ``u``: metres along the face, ``v``: metres above the foot (or across, on tops).

    ``local`` (n, 3) is the place in the solid's own axes, ``face`` 0, 1, 2 the axis of the face (2 = top or
    bottom, also for balls), ``footprint`` a pixel's size there in metres. Per-solid values are spread.
    """

    u: Tensor
    v: Tensor
    local: Tensor
    face: Tensor
    footprint: Tensor
    size: Tensor
    colour: Tensor
    seed: Tensor
    parameters: Tensor
    fine: Tensor
    coarse: Tensor

    def part(self, start: int, stop: int) -> Hits:
        """Hits ``start`` to ``stop``, as views."""
        return Hits(*(getattr(self, name)[start:stop] for name in self.__dataclass_fields__))


def edge(inside_m: Tensor, footprint: Tensor) -> Tensor:
    """Coverage (n,) of a pixel whose centre lies ``inside_m`` metres inside an edge."""
    return (inside_m / footprint + 0.5).clamp(0.0, 1.0)


def fade(footprint: Tensor, scale: float) -> Tensor:
    """1 where detail of ``scale`` metres is resolved, 0 where it is not."""
    return (1.6 - 2.0 * footprint / scale).clamp(0.0, 1.0)


def blend(base: Tensor, over: Tensor, share: Tensor) -> Tensor:
    """Base + share (over - base), share (n,)."""
    return base + (over - base) * share[:, None]


def _grey(value: Tensor) -> Tensor:
    return value[:, None].expand(-1, 3)


def facade(noise: Noise, hits: Hits) -> Tensor:
    """A house front: bricks, stains, storeys, windows that differ from each other, shops and doors."""
    u, v, fp, seed = hits.u, hits.v, hits.footprint, hits.seed
    storey, bay, shop, width = hits.parameters.unbind(-1)
    course = torch.floor(v / 0.3)
    brick = noise.lattice(torch.floor(u / 0.62 + 0.5 * (course.to(torch.int32) & 1)), course, seed)
    joint = torch.minimum((v / 0.3 - course), 1.0 - (v / 0.3 - course)) * 0.3
    wall = hits.colour * _grey(
        1.0
        + 0.16 * hits.coarse[:, 0]
        + 0.10 * hits.fine[:, 0]
        + 0.38 * (brick - 0.5) * fade(fp, 0.45)
        - 0.25 * hits.coarse[:, 1]
        - 0.22 * (1.0 - edge(joint - 0.012, fp)) * fade(fp, 0.3)
    )
    i, j = torch.floor(u / bay), torch.floor(v / storey)
    fu, fv = u / bay - i, v / storey - j
    # A band between the storeys.
    band = edge(0.16 - (fv * storey - 0.08).abs(), fp) * (j > 0)
    wall = blend(wall, wall * 1.25 + 0.05, band)
    r1, r2 = noise.lattice(i, j, seed), noise.lattice(i + 101, j, seed)
    r3 = noise.lattice(i + 211, j, seed)
    street = (j == 0) & (shop > 0.5)
    door = (j == 0) & (shop < 0.5) & (r1 < 0.28)
    half = torch.where(street, 0.44, 0.5 * width * (0.85 + 0.3 * r2)) * bay
    low = torch.where(street, 0.16, torch.where(door, 0.0, 0.28)) * storey
    high = torch.where(street, 0.74, 0.70 + 0.14 * r3) * storey
    du = half - (fu - 0.5).abs() * bay
    inside = torch.minimum(du, torch.minimum(fv * storey - low, high - fv * storey))
    frame = edge(inside + 0.09, fp)
    pane = edge(inside, fp)
    trim = torch.stack([0.55 + 0.35 * r3, 0.52 + 0.33 * r3, 0.5 + 0.28 * r3], -1)
    glass = torch.stack([0.06 + 0.10 * r2, 0.09 + 0.10 * r2, 0.12 + 0.12 * r2], -1)
    # Reflected sky brightens upwards; curtains and blinds fill part of some windows.
    glass = glass + _grey(0.14 * fv + 0.07 * hits.fine[:, 0] + 0.10 * hits.coarse[:, 2])
    curtain = (r1 > 0.55) & ~door
    drawn = edge((fv - 0.28 - 0.5 * r3) * storey, fp) * curtain
    cloth = torch.stack([0.35 + 0.5 * r2, 0.35 + 0.45 * r3, 0.3 + 0.4 * r1], -1)
    glass = blend(glass, cloth * _grey(1.0 + 0.15 * hits.fine[:, 2]), drawn)
    goods = noise.lattice(torch.floor(u / 0.35), torch.floor(v / 0.4), seed)
    glass = blend(
        glass,
        torch.stack([goods, (goods * 7.3) % 1.0, (goods * 13.7) % 1.0], -1) * 0.6,
        street * (fv < 0.5) * 0.8 * fade(fp, 0.6),
    )
    leaf = torch.stack([0.12 + 0.4 * r2, 0.10 + 0.25 * r3, 0.08 + 0.2 * ((r2 * 5.1) % 1.0)], -1)
    glass = blend(glass, leaf * _grey(1.0 + 0.2 * hits.fine[:, 2]), door * 0.95)
    bars = torch.minimum((du - half).abs(), (fv * storey - 0.5 * (low + high)).abs())
    glass = blend(glass, trim * 0.8, edge(0.035 - bars, fp) * fade(fp, 0.12) * ~street)
    result = blend(blend(wall, trim, frame), glass, pane)
    # The board above a shop, with something like letters.
    board = street * edge(torch.minimum(fv - 0.78, 0.95 - fv) * storey, fp)
    tone = noise.lattice(seed, seed * 0 + 5, 3)
    letter = noise.lattice(torch.floor(u / 0.16), torch.floor(v / 0.13), seed)
    ink = torch.stack([tone, (tone * 5.7) % 1.0, (tone * 11.3) % 1.0], -1) * 0.6 + 0.1
    result = blend(result, blend(ink, 1.0 - ink, (letter > 0.6) * fade(fp, 0.2) * ((fv - 0.865).abs() < 0.05)), board)
    roof = hits.face == 2
    result = torch.where(roof[:, None], hits.colour * 0.5 * _grey(1.0 + 0.2 * hits.fine[:, 0]), result)
    dirt = 0.72 + 0.28 * (v / 1.4 + 0.25 * hits.fine[:, 0]).clamp(0.0, 1.0)
    return result * dirt[:, None]


def wall(noise: Noise, hits: Hits) -> Tensor:
    """Plaster, stone and sheet metal; parameter 1 gives balconies a railing pattern."""
    fp = hits.footprint
    panel = noise.lattice(torch.floor(hits.u / 0.5), torch.floor(hits.v / 0.35), hits.seed)
    base = hits.colour * _grey(
        1.0
        + 0.18 * hits.fine[:, 0]
        + 0.16 * hits.coarse[:, 0]
        + 0.22 * (panel - 0.5) * fade(fp, 0.5)
        - 0.3 * hits.fine[:, 1]
    )
    rail = (hits.u / 0.14) % 1.0
    gaps = edge((0.22 - (rail - 0.5).abs()) * 0.14, fp) * fade(fp, 0.14) * (hits.parameters[:, 1] > 0) * (hits.face < 2)
    return blend(base, base * 0.35, gaps)


def car_body(noise: Noise, hits: Hits) -> Tensor:
    """Paintwork with wheels, sills, door joints, lights and plates."""
    fp, v = hits.footprint, hits.v
    length, waist, wheel, _ = hits.parameters.unbind(-1)
    x = hits.local[:, 0]
    base = hits.colour * _grey(1.0 + 0.05 * hits.fine[:, 0] + 0.06 * hits.coarse[:, 2])
    side, end, top = hits.face == 1, hits.face == 0, hits.face == 2
    base = base * (0.75 + 0.35 * (v / waist).clamp(0.0, 1.0))[:, None]
    joint = torch.minimum((x - 0.12 * length).abs(), (x + 0.18 * length).abs())
    base = blend(base, base * 0.35, edge(0.012 - joint, fp) * side * fade(fp, 0.05))
    base = blend(base, base * 0.5 + 0.25, edge(0.03 - (v - 0.62 * waist).abs(), fp) * side * fade(fp, 0.1))
    black = torch.full_like(base, 0.03)
    base = blend(base, black, edge(0.2 - v, fp) * ~top)  # shadow below the sills
    for axle in (0.31, -0.31):
        r = torch.hypot(x - axle * length, v - wheel)
        base = blend(base, black, edge(wheel + 0.05 - r, fp) * side)
        spokes = 0.35 + 0.3 * noise.lattice(torch.floor(torch.atan2(v - wheel, x - axle * length) * 1.6), hits.seed, 9)
        base = blend(base, _grey(spokes), edge(0.6 * wheel - r, fp) * side)
    # Ends: lamps left and right, a plate in the middle, a dark grille in front.
    y = hits.local[:, 1].abs()
    front = x > 0
    lamp = edge(torch.minimum(0.13 - (y - hits.size[:, 1] + 0.22).abs(), 0.07 - (v - 0.72 * waist).abs()), fp) * end
    bright = torch.where(front[:, None], base.new_tensor([0.9, 0.9, 0.82]), base.new_tensor([0.6, 0.05, 0.04]))
    base = blend(base, base * 0.25, edge(torch.minimum(0.5 - y, 0.1 - (v - 0.5 * waist).abs()), fp) * end * front)
    base = blend(base, bright, lamp)
    plate = edge(torch.minimum(0.26 - y, 0.06 - (v - 0.45 * waist).abs()), fp) * end
    marks = noise.lattice(torch.floor(hits.local[:, 1] / 0.06), hits.seed, 4)
    base = blend(base, _grey(0.75 - 0.5 * (marks > 0.5) * fade(fp, 0.08)), plate)
    seam = edge(0.012 - (x - 0.22 * length).abs(), fp) * top
    return blend(base, base * 0.4, seam)


def car_cabin(noise: Noise, hits: Hits) -> Tensor:
    """Windows between pillars, below a painted roof."""
    fp, v = hits.footprint, hits.v
    low, high = hits.parameters[:, 0], hits.parameters[:, 1]
    paint = hits.colour * _grey(1.0 + 0.05 * hits.fine[:, 0] + 0.05 * hits.coarse[:, 2])
    side, top = hits.face == 1, hits.face == 2
    u = torch.where(side, hits.local[:, 0], hits.local[:, 1])
    half = torch.where(side, hits.size[:, 0], hits.size[:, 1])
    panes = torch.where(side, torch.round(half / 0.55).clamp_min(2.0), torch.ones_like(half))
    place = (u + half) / (2.0 * half) * panes
    i = torch.floor(place)
    gap = (0.5 - (place - i - 0.5).abs()) * 2.0 * half / panes
    inside = torch.minimum(gap - 0.055, torch.minimum(v - low - 0.05, high - 0.10 - v))
    tint = noise.lattice(i + 3 * hits.face, hits.seed, 2)
    glass = torch.stack([0.05 + 0.08 * tint, 0.07 + 0.08 * tint, 0.09 + 0.09 * tint], -1)
    glass = glass + _grey(0.22 * ((v - low) / (high - low)).clamp(0.0, 1.0) + 0.05 * hits.fine[:, 2])
    return blend(paint, glass, edge(inside, fp) * ~top)


def truck_box(noise: Noise, hits: Hits) -> Tensor:
    """A ribbed box with big lettering."""
    fp = hits.footprint
    base = hits.colour * _grey(1.0 + 0.08 * hits.fine[:, 0] + 0.08 * hits.coarse[:, 0])
    letter = noise.lattice(torch.floor(hits.u / 0.28), torch.floor(hits.v / 0.3), hits.seed)
    middle = edge(torch.minimum(hits.v - 1.3, 1.9 - hits.v), fp) * (letter > 0.5) * (hits.face < 2)
    base = blend(base, 1.0 - base, 0.8 * middle)
    rib = ((hits.u / 0.6) % 1.0 - 0.5).abs() * 0.6
    return blend(base, base * 0.6, edge(0.02 - rib, fp) * fade(fp, 0.2))


def clothes(noise: Noise, hits: Hits) -> Tensor:
    """Cloth with folds, stripes or checks, and shoes below."""
    fp = hits.footprint
    check = noise.lattice(torch.floor(hits.u / 0.11), torch.floor(hits.v / 0.09), hits.seed)
    base = hits.colour * _grey(1.0 + 0.22 * hits.fine[:, 2] + 0.5 * (check - 0.5) * fade(fp, 0.12))
    legs = hits.parameters[:, 0] > 0
    split = edge(0.025 - hits.local[:, 1].abs(), fp) * legs * (hits.face == 0)
    base = blend(base, base * 0.3, split)
    return blend(base, torch.full_like(base, 0.06), edge(0.1 - hits.v, fp) * legs)


def skin(noise: Noise, hits: Hits) -> Tensor:
    """A head: hair above and behind, face in front."""
    hair = edge(torch.maximum(hits.local[:, 2] - 0.25 * hits.size[:, 2], -hits.local[:, 0] - 0.02), hits.footprint)
    tone = noise.lattice(hits.seed, hits.seed * 0, 8)
    dark = torch.stack([0.05 + 0.4 * tone, 0.04 + 0.28 * tone, 0.03 + 0.14 * tone], -1)
    return blend(hits.colour, dark, hair)


def bark(noise: Noise, hits: Hits) -> Tensor:
    """Rough bark with vertical grooves."""
    groove = noise.lattice(torch.floor(hits.u / 0.05), torch.floor(hits.v / 0.3), hits.seed)
    return hits.colour * _grey(
        1.0 + 0.35 * hits.fine[:, 3] + 0.5 * (groove - 0.5) * fade(hits.footprint, 0.06) + 0.2 * hits.coarse[:, 0]
    )


def leaves(_noise: Noise, hits: Hits) -> Tensor:
    """Foliage: clumps of light and dark."""
    light = 1.0 + 0.62 * hits.fine[:, 2] + 0.35 * hits.coarse[:, 2] + 0.3 * hits.fine[:, 3]
    tint = torch.stack([1.0 + 0.25 * hits.coarse[:, 0], torch.ones_like(light), 1.0 - 0.2 * hits.coarse[:, 0]], -1)
    return hits.colour * tint * light.clamp_min(0.15)[:, None]


def metal(noise: Noise, hits: Hits) -> Tensor:
    """Painted metal with scratches, stickers and rust."""
    sticker = noise.lattice(torch.floor(hits.u / 0.13), torch.floor(hits.v / 0.21), hits.seed)
    base = hits.colour * _grey(1.0 + 0.25 * hits.fine[:, 0] + 0.2 * hits.coarse[:, 0])
    paper = torch.stack([sticker, (sticker * 9.1) % 1.0, (sticker * 3.3) % 1.0], -1)
    return blend(base, paper, (sticker > 0.86) * fade(hits.footprint, 0.2) * 0.8)


def sign(noise: Noise, hits: Hits) -> Tensor:
    """A sign: coloured rim, white field, a dark mark."""
    y, z = hits.local[:, 1], hits.local[:, 2]
    r = torch.hypot(y, z)
    base = blend(hits.colour, torch.full_like(hits.colour, 0.85), edge(0.24 - r, hits.footprint))
    bit = noise.lattice(torch.floor(y / 0.09), torch.floor(z / 0.09), hits.seed)
    base = blend(base, torch.full_like(base, 0.08), edge(0.17 - r, hits.footprint) * (bit > 0.55))
    return torch.where((hits.face == 0)[:, None], base, hits.colour * 0.5)


def stripes(_noise: Noise, hits: Hits) -> Tensor:
    """Stripes of the colour and white (awnings, barriers, cones, bicycles), period in parameter 0."""
    period = hits.parameters[:, 0].clamp_min(0.05)
    across = torch.where(hits.face == 2, hits.local[:, 1], hits.u + hits.v * (hits.face < 2))
    phase = (across / period) % 1.0
    share = (edge((0.25 - (phase - 0.5).abs()) * period, hits.footprint) - 0.5) * fade(hits.footprint, 1.0) + 0.5
    white = hits.parameters[:, 1:2] * 0.75 + 0.08
    return blend(hits.colour, white.expand(-1, 3), share) * _grey(1.0 + 0.12 * hits.fine[:, 0])


PAINTERS = {
    Material.FACADE: facade,
    Material.WALL: wall,
    Material.CAR_BODY: car_body,
    Material.CAR_CABIN: car_cabin,
    Material.TRUCK_BOX: truck_box,
    Material.CLOTHES: clothes,
    Material.SKIN: skin,
    Material.BARK: bark,
    Material.LEAVES: leaves,
    Material.METAL: metal,
    Material.SIGN: sign,
    Material.STRIPES: stripes,
}
