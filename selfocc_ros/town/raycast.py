# SPDX-License-Identifier: Apache-2.0
"""Exact first hits of camera rays with boxes, spheres and the ground, in torch.

The image is cut into tiles. A tile only tests the solids that its frustum touches (support of the solid
against the frustum's side planes), from near to far, and stops when all its pixels hit something nearer
than the next candidate. The same code runs on any device.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.town.objects import Solids
from selfocc_ros.town.route import KERB_HEIGHT, RoadMap
from selfocc_ros.town.terrain import Terrain

TILE_W, TILE_H = 16, 12
REACH = 130.0
"""Objects further than this from the camera are not drawn, in metres."""
GROUND_REACH = 160.0
CHUNK = 6


@dataclass(frozen=True)
class TiledCamera:
    """Rays of one camera model in tile order, on one device.

    directions (T, P, 3) unit vectors in the camera frame; planes (T, 4, 3) inward normals of the tiles'
    side planes; pixel angle (T, P) in radians; ``order`` (H*W,) maps image pixels into the tiles. All rays
    lie within ``half_angle`` radians of ``axis`` (3,) in the camera frame.
    """

    directions: Tensor
    planes: Tensor
    angle: Tensor
    order: Tensor
    axis: np.ndarray
    half_angle: float


def tile_camera(camera: CameraModel, device: torch.device) -> TiledCamera:
    """Cut a camera's image into tiles of TILE_W x TILE_H pixels (edge tiles repeat border pixels)."""
    width, height = camera.width, camera.height
    columns, rows = -(-width // TILE_W), -(-height // TILE_H)
    rays = camera.pixel_rays()
    x = np.minimum(np.arange(columns * TILE_W), width - 1)
    y = np.minimum(np.arange(rows * TILE_H), height - 1)
    tiled = rays[y[:, None], x[None, :]].reshape(rows, TILE_H, columns, TILE_W, 3).swapaxes(1, 2)
    places = np.arange(rows * columns * TILE_H * TILE_W).reshape(rows, columns, TILE_H, TILE_W).swapaxes(1, 2)
    number = places.reshape(rows * TILE_H, columns * TILE_W)[:height, :width].reshape(-1)
    # Corners 0.75 px outside the outermost pixel centres leave room for a lens's bent edges.
    left, top = np.meshgrid(np.arange(columns) * TILE_W - 0.75, np.arange(rows) * TILE_H - 0.75)
    right = np.minimum(left + TILE_W + 0.5, width - 0.25)
    bottom = np.minimum(top + TILE_H + 0.5, height - 0.25)
    corners = camera.unproject(
        np.stack(
            [
                np.stack([left, top], -1),
                np.stack([right, top], -1),
                np.stack([right, bottom], -1),
                np.stack([left, bottom], -1),
            ],
            axis=-2,
        )
    )
    planes = np.cross(corners, np.roll(corners, -1, axis=-2))
    middle = tiled.reshape(rows, columns, -1, 3).mean(axis=2)
    planes *= np.sign(np.einsum("rckd,rcd->rck", planes, middle))[..., None]
    planes /= np.linalg.norm(planes, axis=-1, keepdims=True)
    angle = np.linalg.norm(rays[:, 1:] - rays[:, :-1], axis=-1)
    angle = np.concatenate([angle, angle[:, -1:]], axis=1)[y[:, None], x[None, :]]
    angle = angle.reshape(rows, TILE_H, columns, TILE_W).swapaxes(1, 2)

    def put(array: np.ndarray, shape: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array.reshape(shape))).to(device, torch.float32)

    tiles, pixels = rows * columns, TILE_W * TILE_H
    order = torch.from_numpy(np.ascontiguousarray(number)).to(device)
    axis = rays.mean(axis=(0, 1))
    axis /= np.linalg.norm(axis)
    half_angle = float(np.arccos(np.clip((rays @ axis).min(), -1.0, 1.0))) + 0.02
    return TiledCamera(
        put(tiled, (tiles, pixels, 3)), put(planes, (tiles, 4, 3)), put(angle, (tiles, pixels)), order, axis, half_angle
    )


class TiledCameras:
    """A small cache of tiled cameras by fingerprint."""

    def __init__(self, device: torch.device, size: int = 32) -> None:
        self._device, self._size = device, size
        self._kept: OrderedDict[str, TiledCamera] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, camera: CameraModel) -> TiledCamera:
        """The tiled form of a camera."""
        key = camera.fingerprint()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = tile_camera(camera, self._device)
                if len(self._kept) > self._size:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]


@dataclass(frozen=True)
class Packed:
    """Solids near a camera as tensors, sorted by distance; positions relative to the camera's centre."""

    centre: Tensor  # (M, 3)
    size: Tensor  # (M, 3)
    cos: Tensor  # (M,)
    sin: Tensor  # (M,)
    sphere: Tensor  # (M,) bool
    nearest: Tensor  # (M,) lower bound of the distance


def pack(
    solids: Solids, origin: np.ndarray, axis: np.ndarray, half_angle: float, device: torch.device
) -> tuple[Packed, np.ndarray]:
    """Solids within REACH of ``origin`` (3,) that touch the cone around ``axis`` (3,), near to far.

    Returns them and their row numbers.
    """
    offset = solids.centre - origin
    cos, sin = np.cos(solids.yaw), np.sin(solids.yaw)
    local = np.stack(
        [cos * offset[:, 0] + sin * offset[:, 1], cos * offset[:, 1] - sin * offset[:, 0], offset[:, 2]], -1
    )
    gap = np.linalg.norm(np.maximum(np.abs(local) - solids.size, 0.0), axis=1)
    gap = np.where(solids.sphere, np.linalg.norm(offset, axis=1) - solids.size[:, 0], gap)
    away = np.linalg.norm(offset, axis=1)
    spread = np.arcsin(np.clip(solids.radius / np.maximum(away, 1e-6), 0.0, 1.0))
    around = np.arccos(np.clip(offset @ axis / np.maximum(away, 1e-6), -1.0, 1.0))
    rows = np.flatnonzero((gap < REACH) & ((around < half_angle + spread) | (away < solids.radius)))
    rows = rows[np.argsort(gap[rows], kind="stable")]

    def put(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array[rows])).to(device, torch.float32)

    sphere = torch.from_numpy(solids.sphere[rows]).to(device)
    return Packed(put(offset), put(solids.size), put(cos), put(sin), sphere, put(gap)), rows


def turn(vectors: Tensor, rotation: np.ndarray) -> Tensor:
    """Vectors (..., 3) turned by a rotation (3, 3), in full float32.

    A matrix product could be computed in TF32 or, under autocast, in half precision: far too coarse for rays.
    """
    x, y, z = vectors.unbind(-1)
    return torch.stack([x * row[0] + y * row[1] + z * row[2] for row in rotation.tolist()], dim=-1)


def _candidates(planes: Tensor, packed: Packed) -> Tensor:
    """Mask (T, M): which solids may be seen through which tile. planes (T, 4, 3) in the world frame."""
    tiles = planes.shape[0]
    normals = planes.reshape(-1, 3)
    x, y, z = normals[:, :1], normals[:, 1:2], normals[:, 2:]
    reach_box = (
        (x * packed.cos + y * packed.sin).abs() * packed.size[:, 0]
        + (y * packed.cos - x * packed.sin).abs() * packed.size[:, 1]
        + z.abs() * packed.size[:, 2]
    )
    reach = torch.where(packed.sphere, packed.size[:, 0], reach_box)
    away = x * packed.centre[:, 0] + y * packed.centre[:, 1] + z * packed.centre[:, 2]
    return (away + reach >= 0).reshape(tiles, 4, -1).all(dim=1)


def _distances(directions: Tensor, chosen: Tensor, packed: Packed) -> Tensor:
    """Ray lengths (T, K, P) to the chosen solids (T, K); inf where missed. directions (T, 3, P)."""
    dx, dy, dz = directions[:, 0:1], directions[:, 1:2], directions[:, 2:3]
    centre, size = packed.centre[chosen], packed.size[chosen]
    cos, sin = packed.cos[chosen][..., None], packed.sin[chosen][..., None]
    cx, cy, cz = centre[..., 0:1], centre[..., 1:2], centre[..., 2:3]
    # Boxes: slabs in the box's own axes.
    ix = 1.0 / (cos * dx + sin * dy)
    iy = 1.0 / (cos * dy - sin * dx)
    iz = 1.0 / dz
    tx, ty, tz = (cos * cx + sin * cy) * ix, (cos * cy - sin * cx) * iy, cz * iz
    hx, hy, hz = size[..., 0:1] * ix.abs_(), size[..., 1:2] * iy.abs_(), size[..., 2:3] * iz.abs()
    near = torch.maximum(torch.maximum(tx - hx, ty - hy), tz - hz)
    far = torch.minimum(torch.minimum(tx + hx, ty + hy), tz + hz)
    result = torch.where((near <= far) & (near > 0), near, math.inf)
    balls = packed.sphere[chosen]
    if bool(balls.any()):
        where = balls.nonzero(as_tuple=True)
        d = directions[where[0]]
        c, r = centre[where], size[where][:, 0]
        along = (d * c[:, :, None]).sum(dim=1)
        root = along * along - ((c * c).sum(-1) - r * r)[:, None]
        distance = along - root.clamp_min(0).sqrt()
        result[where] = torch.where((root > 0) & (distance > 0), distance, math.inf)
    return result


def cast_solids(directions: Tensor, planes: Tensor, packed: Packed, best: Tensor) -> tuple[Tensor, Tensor]:
    """First hits with solids nearer than ``best`` (T, P): ray lengths and numbers (T, P), -1 where none.

    directions (T, P, 3) and planes (T, 4, 3) in the world frame.
    """
    best = best.clone()
    number = torch.full(best.shape, -1, dtype=torch.int64, device=best.device)
    if packed.centre.shape[0] == 0:
        return best, number
    mask = _candidates(planes, packed)
    counts = mask.sum(dim=1)
    tile, solid = mask.nonzero(as_tuple=True)
    first = counts.cumsum(0) - counts
    rank = torch.arange(len(tile), device=best.device) - first[tile]
    most = int(counts.max())
    last = mask.shape[1]
    table = torch.full((mask.shape[0], most + CHUNK), last, dtype=torch.int64, device=best.device)
    table[tile, rank] = solid
    # A solid that is never hit fills the table up.
    nearest = torch.cat([packed.nearest, packed.nearest.new_full((1,), math.inf)])

    def with_last(value: Tensor) -> Tensor:
        return torch.cat([value, value[-1:]])

    filled = Packed(
        with_last(packed.centre),
        with_last(packed.size),
        with_last(packed.cos),
        with_last(packed.sin),
        with_last(packed.sphere),
        nearest,
    )
    by_row = directions.transpose(1, 2).contiguous()
    active = torch.arange(mask.shape[0], device=best.device)
    for start in range(0, most, CHUNK):
        active = active[nearest[table[active, start]] < best[active].amax(dim=1)]
        if len(active) == 0:
            break
        chosen = table[active, start : start + CHUNK]
        distance, which = _distances(by_row[active], chosen, filled).min(dim=1)
        before = best[active]
        nearer = distance < before
        best[active] = torch.where(nearer, distance, before)
        number[active] = torch.where(nearer, chosen.gather(1, which), number[active])
    return best, number


@dataclass(frozen=True)
class GroundMap:
    """Terrain and road map on a device."""

    waves: tuple[tuple[float, float, float, float], ...]
    offset: float
    values: Tensor  # (1, 2, rows, columns)
    lower: tuple[float, float]
    cell: float
    kerb: float

    @staticmethod
    def of(terrain: Terrain, road: RoadMap, kerb: float, device: torch.device) -> GroundMap:
        """Move terrain and map to a device."""
        return GroundMap(
            terrain.waves, terrain.offset, torch.from_numpy(road.values)[None].to(device), road.lower, road.cell, kerb
        )

    def height(self, x: Tensor, y: Tensor) -> Tensor:
        """Smooth height (n,) at x, y (n,)."""
        total = torch.full_like(x, -self.offset)
        for a, kx, ky, phase in self.waves:
            total += a * torch.sin(kx * x + ky * y + phase)
        return total

    def height_and_slope(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Smooth height and its slope dh/dx, dh/dy at x, y (n,)."""
        total, gx, gy = torch.full_like(x, -self.offset), torch.zeros_like(x), torch.zeros_like(x)
        for a, kx, ky, phase in self.waves:
            argument = kx * x + ky * y + phase
            total += a * torch.sin(argument)
            slope = a * torch.cos(argument)
            gx += kx * slope
            gy += ky * slope
        return total, gx, gy

    def road(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Road coordinates d, s (n,) at x, y (n,); d is 99 outside the mapped strip."""
        rows, columns = self.values.shape[-2:]
        gx = (x - self.lower[0]) * (2.0 / (self.cell * (columns - 1))) - 1.0
        gy = (y - self.lower[1]) * (2.0 / (self.cell * (rows - 1))) - 1.0
        grid = torch.stack([gx, gy], dim=-1)[None, None]
        both = torch.nn.functional.grid_sample(
            self.values, grid, mode="bilinear", padding_mode="border", align_corners=True
        )
        return both[0, 0, 0], both[0, 1, 0]


ROAD, PAVEMENT, KERB_FACE = 0, 1, 2


def cast_ground(ground: GroundMap, origin: np.ndarray, directions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """First hits (n,) of rays with the ground, kerbs included.

    directions (n, 3) unit, world frame. Returns ray lengths (inf where none within GROUND_REACH), d, s and
    part (ROAD below the kerb line, PAVEMENT above it, KERB_FACE). The rays must start above the pavement.
    """
    low = (directions[:, 2] < 0.03).nonzero(as_tuple=True)[0]  # no slope exceeds 3 %
    length = torch.full_like(directions[:, 0], math.inf)
    d_all, s_all, part_all = (
        torch.zeros_like(length),
        torch.zeros_like(length),
        torch.zeros_like(length, dtype=torch.int64),
    )
    if len(low):
        length[low], d_all[low], s_all[low], part_all[low] = _cast_low(ground, origin, directions[low])
    return length, d_all, s_all, part_all


def _cast_low(ground: GroundMap, origin: np.ndarray, directions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dx, dy, dz = directions.unbind(-1)
    flat = torch.sqrt(dx * dx + dy * dy)
    ox, oy, oz = (float(value) for value in origin)
    t = torch.zeros_like(dz)
    for _ in range(3):  # slope-bounded steps: never beyond the first hit
        h = ground.height(ox + t * dx, oy + t * dy)
        t = (t + (oz + t * dz - h) / (0.03 * flat - dz).clamp_min(1e-3)).clamp_max(2.0 * GROUND_REACH)
    for _ in range(3):  # Newton
        h, gx, gy = ground.height_and_slope(ox + t * dx, oy + t * dy)
        fall = (gx * dx + gy * dy - dz).clamp_min(1e-3)
        t = (t + (oz + t * dz - h) / fall).clamp(0.0, 2.0 * GROUND_REACH)
    h, gx, gy = ground.height_and_slope(ox + t * dx, oy + t * dy)
    residual = (oz + t * dz - h).abs()
    hit = (residual < 0.02) & (t < GROUND_REACH)
    # The same ray meets the raised surface a little earlier.
    fall = (gx * dx + gy * dy - dz).clamp_min(1e-3)
    early = (t - KERB_HEIGHT / fall).clamp_min(0.0)
    gap = oz + early * dz - ground.height(ox + early * dx, oy + early * dy) - KERB_HEIGHT
    early = (early + gap / fall).clamp_min(0.0)
    d0, s0 = ground.road(ox + t * dx, oy + t * dy)
    d1, s1 = ground.road(ox + early * dx, oy + early * dy)
    raised = d1.abs() >= ground.kerb
    face = ~raised & (d0.abs() >= ground.kerb)
    # Where the ray crosses the kerb line between the two heights it hits the kerb's face: regula falsi.
    a, b = d1.abs() - ground.kerb, d0.abs() - ground.kerb
    share = (-a / (b - a).clamp_min(1e-6)).clamp(0.0, 1.0)
    crossing = early + share * (t - early)
    t = torch.where(raised, early, torch.where(face, crossing, t))
    d = torch.where(raised, d1, torch.where(face, torch.sign(d0) * ground.kerb, d0))
    s = torch.where(raised, s1, torch.where(face, s1 + share * (s0 - s1), s0))
    part = torch.where(raised, PAVEMENT, torch.where(face, KERB_FACE, ROAD))
    return torch.where(hit, t, math.inf), d, s, part
