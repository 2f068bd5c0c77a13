# SPDX-License-Identifier: Apache-2.0
"""From hits to colours: paint, light, haze and sky."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from selfocc_ros.town.ground_paint import GroundStyle, ground_label, paint_ground
from selfocc_ros.town.moods import Mood, sky
from selfocc_ros.town.noise import COARSE_TEXEL, FINE_TEXEL, Noise
from selfocc_ros.town.objects import Label, Material, Solids
from selfocc_ros.town.paint import PAINTERS, Hits
from selfocc_ros.town.raycast import KERB_FACE, Packed
from selfocc_ros.town.shadows import Shadows, driving

GAMMA = 1.0 / 2.2


@dataclass(frozen=True)
class RayHits:
    """First hits of n rays: length (inf for sky), solid number (-1: ground or sky), road coordinates."""

    directions: Tensor
    length: Tensor
    solid: Tensor
    d: Tensor
    s: Tensor
    part: Tensor
    angle: Tensor


def first_hits(
    directions: Tensor, length: Tensor, solid: Tensor, ground: tuple[Tensor, Tensor, Tensor, Tensor], angle: Tensor
) -> RayHits:
    """Put the answers of the two casters together."""
    return RayHits(directions, length, solid, ground[1], ground[2], ground[3], angle)


class Shader:
    """Colours and classes of hits in one town."""

    def __init__(self, noise: Noise, style: GroundStyle, mood: Mood, seed: int, shadows: Shadows) -> None:
        self._noise, self._style, self._mood, self._seed, self._shadows = noise, style, mood, seed, shadows

    def labels(self, hits: RayHits, solids: Solids) -> Tensor:
        """Occ3D classes (n,) uint8."""
        device = hits.length.device
        table = torch.from_numpy(np.append(solids.label, int(Label.FREE))).to(device)
        result = ground_label(self._style.section, hits.d, hits.part)
        result = torch.where(hits.solid >= 0, table[hits.solid], result)
        return torch.where(torch.isfinite(hits.length), result, int(Label.FREE)).to(torch.uint8)

    def colours(self, hits: RayHits, solids: Solids, packed: Packed, origin: np.ndarray) -> Tensor:
        """Display colours (n, 3) in 0..1."""
        mood, device = self._mood, hits.length.device
        finite = torch.isfinite(hits.length)
        colour = torch.empty(len(hits.length), 3, device=device)
        ground = (finite & (hits.solid < 0)).nonzero(as_tuple=True)[0]
        solid = (hits.solid >= 0).nonzero(as_tuple=True)[0]
        void = (~finite).nonzero(as_tuple=True)[0]
        if len(ground):
            colour[ground] = self._ground_colours(hits, ground, origin, driving(solids, origin, device))
        if len(solid):
            rows, painted = self._solid_colours(hits, solid, solids, packed)
            colour[rows] = painted
        horizon = torch.tensor(mood.horizon, device=device)
        haze = torch.exp(hits.length * (-1.0 / mood.haze_m))[:, None]
        colour = torch.where(finite[:, None], horizon + (colour - horizon) * haze, colour)
        if len(void):
            colour[void] = sky(mood, self._noise, hits.directions[void], hits.angle[void], self._seed)
        return (colour * mood.exposure).clamp(0.0, 1.0) ** GAMMA

    def _light(self, normals: Tensor) -> Tensor:
        """Light (n, 3) on surfaces with normals (n, 3): sun, sky from above, some bounce from the sides."""
        mood = self._mood
        sun = (normals * normals.new_tensor(mood.sun)).sum(dim=-1, keepdim=True).clamp_min(0.0)
        upward = (0.78 + 0.22 * normals[:, 2])[:, None]
        side = (1.0 + 0.07 * normals[:, 0] + 0.05 * normals[:, 1])[:, None]
        return normals.new_tensor(mood.ambient) * upward * side + normals.new_tensor(mood.sunlight) * sun

    def _ground_colours(self, hits: RayHits, rows: Tensor, origin: np.ndarray, vehicles: Tensor) -> Tensor:
        direction, length = hits.directions[rows], hits.length[rows]
        place = direction * length[:, None] + direction.new_tensor(origin)
        x, y, z = place.unbind(-1)
        face = hits.part[rows] == KERB_FACE
        cosine = torch.where(face, 0.5, -direction[:, 2]).clamp_min(0.02)
        footprint = length * hits.angle[rows] * cosine**-0.65
        albedo = paint_ground(self._noise, self._style, x, y, z, hits.d[rows], hits.s[rows], hits.part[rows], footprint)
        sun, close = self._shadows.at(x, y, vehicles)
        mood = self._mood
        ambient = (1.0 - 0.62 * close)[:, None] * albedo.new_tensor(mood.ambient)
        sunlight = (1.0 - sun)[:, None] * (albedo.new_tensor(mood.sunlight) * mood.sun[2])
        return albedo * (ambient + sunlight) * torch.where(face, 0.7, 1.0)[:, None]

    def _solid_colours(self, hits: RayHits, rows: Tensor, solids: Solids, packed: Packed) -> tuple[Tensor, Tensor]:
        """Colours of hits on solids, and the rows they belong to: hits of one material come together."""
        device = hits.length.device
        material = torch.from_numpy(solids.material).to(device)[hits.solid[rows]]
        groups = [(kind, rows[material == int(kind)]) for kind in Material]
        rows = torch.cat([members for _, members in groups])
        number = hits.solid[rows]
        direction, length = hits.directions[rows], hits.length[rows]

        def spread(array: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device, dtype)[number]

        offset = direction * length[:, None] - packed.centre[number]
        cos, sin = packed.cos[number], packed.sin[number]
        local = torch.stack(
            [cos * offset[:, 0] + sin * offset[:, 1], cos * offset[:, 1] - sin * offset[:, 0], offset[:, 2]], dim=-1
        )
        size, ball = packed.size[number], packed.sphere[number]
        axis = (local.abs() - size).argmax(dim=-1)
        ones = torch.nn.functional.one_hot(axis, 3).to(local.dtype) * torch.sign(local)
        normal = torch.where(ball[:, None], local / size, ones)
        face = torch.where(ball, 2, axis)
        above = local[:, 2] + spread(solids.centre[:, 2] - solids.foot)
        u = torch.where(face == 0, local[:, 1], local[:, 0])
        v = torch.where(face == 2, local[:, 1], above)
        # Balls: longitude and latitude in metres.
        u = torch.where(ball, torch.atan2(local[:, 1], local[:, 0]) * size[:, 0], u)
        v = torch.where(ball, torch.asin((local[:, 2] / size[:, 2]).clamp(-1.0, 1.0)) * size[:, 0], v)
        world = torch.stack(
            [cos * normal[:, 0] - sin * normal[:, 1], sin * normal[:, 0] + cos * normal[:, 1], normal[:, 2]], dim=-1
        )
        cosine = -(world * direction).sum(-1)
        footprint = length * hits.angle[rows] * cosine.clamp_min(0.05).rsqrt()
        seed = spread(solids.seed, torch.int64)
        # Each face of each solid looks at its own part of the noise.
        sign = (ones.sum(-1) > 0).to(torch.int64)
        piece = seed * 6 + axis * 2 + sign
        shift_u, shift_v = (piece * 7919 % 9973).to(u.dtype) * 0.022, (piece * 104729 % 9967).to(u.dtype) * 0.022
        fine = self._noise.surface(u + shift_u, v + shift_v, footprint, FINE_TEXEL)
        coarse = self._noise.surface(u + shift_v, v + shift_u, footprint, COARSE_TEXEL)
        painted = Hits(
            u + size.amax(-1) * (face < 2) * ~ball,
            v,
            local,
            face,
            footprint,
            size,
            spread(solids.colour),
            piece,
            spread(solids.parameters),
            fine,
            coarse,
        )
        albedo = torch.empty_like(local)
        start = 0
        for kind, members in groups:
            stop = start + len(members)
            if stop > start:
                albedo[start:stop] = PAINTERS[kind](self._noise, painted.part(start, stop))
            start = stop
        return rows, albedo.clamp_(0.0, 1.0).mul_(self._light(world))
