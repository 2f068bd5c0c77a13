# SPDX-License-Identifier: Apache-2.0
"""Depth from the ray caster against plain geometry."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import body_from_optical, pose_from_rpy
from selfocc_ros.town.layout import Ground
from selfocc_ros.town.objects import Label, Material, Part, Solids, Thing, build
from selfocc_ros.town.raycast import GroundMap, cast_ground, cast_solids, pack, tile_camera
from selfocc_ros.town.route import KERB_HEIGHT, CrossSection, RoadMap, Route
from selfocc_ros.town.terrain import MAX_SLOPE, Terrain

CPU = torch.device("cpu")
SECTION = CrossSection(3.2, 2.2, 2.5)


def camera(width: int = 150, height: int = 85, f: float = 90.0, **lens: object) -> CameraModel:
    matrix = np.array([[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1]])
    return CameraModel(width, height, matrix, **lens)  # type: ignore[arg-type]


def random_solids(rng: np.random.Generator, count: int) -> Solids:
    things, places = [], []
    for _ in range(count):
        x, y, z = rng.uniform(0.1, 3.0, 3)
        ball = bool(rng.random() < 0.3)
        upper = (x, x, 2 * x) if ball else (x, y, z)
        lower = (-x, -x, 0.0) if ball else (-x, -y, 0.0)
        things.append(Thing(Label.MANMADE, (Part(lower, upper, Material.WALL, (0.5, 0.5, 0.5), ball=ball),), 1))
        distance, angle = rng.uniform(6.0, 60.0), rng.uniform(-np.pi, np.pi)
        places.append((distance * np.cos(angle), distance * np.sin(angle), rng.uniform(-2.0, 2.0), angle * 7))
    return build(things, np.asarray(places), moving=False)


def brute_force(solids: Solids, origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """First hits (n,) of rays with all solids, one by one, in float64."""
    best = np.full(len(rays), np.inf)
    for i in range(len(solids)):
        offset = solids.centre[i] - origin
        if solids.sphere[i]:
            along = rays @ offset
            root = along**2 - offset @ offset + solids.size[i, 0] ** 2
            hit = np.where(root > 0, along - np.sqrt(np.maximum(root, 0)), np.inf)
        else:
            c, s = np.cos(solids.yaw[i]), np.sin(solids.yaw[i])
            turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
            d, o = rays @ turn.T, turn @ offset
            with np.errstate(divide="ignore", invalid="ignore"):
                a, b = (o - solids.size[i]) / d, (o + solids.size[i]) / d
            near, far = np.minimum(a, b).max(1), np.maximum(a, b).min(1)
            hit = np.where(near <= far, near, np.inf)
        best = np.minimum(best, np.where(hit > 0, hit, np.inf))
    return best


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "lens",
    [
        {},
        {"model": "plumb_bob", "distortion": (-0.2, 0.05, 0.001, -0.001, 0.0)},
        {"model": "equidistant", "distortion": (0.01, -0.002, 0.0, 0.0)},
    ],
    ids=["pinhole", "plumb_bob", "equidistant"],
)
def test_tiles_lose_no_hit(seed: int, lens: dict[str, object]) -> None:
    """Culling by tiles, nearness and chunks gives what testing every ray with every solid gives."""
    rng = np.random.default_rng(seed)
    solids = random_solids(rng, 60)
    model = camera(**lens)
    pose = pose_from_rpy(rng.uniform(-1, 1, 3) + np.array([0, 0, 1.5]), *rng.uniform(-0.2, 0.2, 2), rng.uniform(-3, 3))
    rotation = pose[:3, :3] @ body_from_optical()[:3, :3]
    origin = pose[:3, 3]
    tiled = tile_camera(model, CPU)
    turn = torch.from_numpy(rotation.T.copy()).float()
    directions = tiled.directions @ turn
    packed, rows = pack(solids, origin, rotation @ tiled.axis, tiled.half_angle, CPU)
    ceiling = torch.full(directions.shape[:2], float("inf"))
    length, number = cast_solids(directions, tiled.planes @ turn, packed, ceiling)
    found = length.reshape(-1)[tiled.order].numpy()
    expected = brute_force(solids, origin, model.pixel_rays().reshape(-1, 3) @ rotation.T)
    assert np.isfinite(expected).mean() > 0.05
    # Rays that graze an edge may fall on either side in float32.
    wrong = ~np.isclose(found, expected, rtol=1e-4, atol=1e-3) & ~(np.isinf(found) & np.isinf(expected))
    assert wrong.mean() < 5e-4
    hit = number.reshape(-1)[tiled.order].numpy() >= 0
    np.testing.assert_array_equal(hit, np.isfinite(found))
    assert len(rows) <= len(solids)


def test_nothing_beyond_the_ceiling_is_hit() -> None:
    solids = random_solids(np.random.default_rng(3), 40)
    tiled = tile_camera(camera(), CPU)
    rotation = body_from_optical()[:3, :3]
    turn = torch.from_numpy(np.ascontiguousarray(rotation.T)).float()
    packed, _ = pack(solids, np.zeros(3), rotation @ tiled.axis, tiled.half_angle, CPU)
    ceiling = torch.full(tiled.directions.shape[:2], 15.0)
    length, number = cast_solids(tiled.directions @ turn, tiled.planes @ turn, packed, ceiling)
    assert (length <= 15.0).all()
    assert (number >= 0).any()
    assert (length[number < 0] == 15.0).all()


def ground(seed: int, flat: bool) -> Ground:
    route = Route(np.random.default_rng(seed), SECTION, 60.0)
    terrain = Terrain((), 0.0) if flat else Terrain.random(np.random.default_rng(seed + 100))
    return Ground(terrain, route, RoadMap.of(route))


def cast(place: Ground, origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, ...]:
    ground_map = GroundMap.of(place.terrain, place.road, SECTION.kerb, CPU)
    return tuple(t.numpy() for t in cast_ground(ground_map, origin, torch.from_numpy(rays).float()))


def fan(down: np.ndarray, around: np.ndarray) -> np.ndarray:
    a, b = np.meshgrid(down, around, indexing="ij")
    return np.stack([np.cos(a) * np.cos(b), np.cos(a) * np.sin(b), -np.sin(a)], -1).reshape(-1, 3)


def test_flat_road_is_hit_where_trigonometry_says() -> None:
    place = ground(1, flat=True)
    rays = fan(np.linspace(0.05, 1.2, 30), np.linspace(-0.1, 0.1, 5))
    length, d, _, part = cast(place, np.array([0.0, 0.0, 1.5]), rays)
    on_road = part == 0
    assert on_road.sum() > 60
    np.testing.assert_allclose(length[on_road], 1.5 / -rays[on_road, 2], rtol=1e-4)
    assert (np.abs(d[on_road]) < SECTION.kerb).all()
    raised = part == 1
    np.testing.assert_allclose(length[raised], (1.5 - KERB_HEIGHT) / -rays[raised, 2], rtol=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_hits_lie_on_the_ground_and_nothing_lies_before_them(seed: int) -> None:
    place = ground(seed, flat=False)
    origin = np.array([3.0, 0.5, float(place.height(np.array([3.0, 0.5]))) + 1.6])
    rays = fan(np.linspace(-0.02, 1.3, 60), np.linspace(-np.pi, np.pi, 61))
    length, _, _, part = cast(place, origin, rays)
    hit = np.isfinite(length) & (length < 80.0)
    assert hit.sum() > 0.8 * len(rays)
    points = origin + rays[hit] * length[hit][:, None]
    surface = place.height(points[:, :2])
    flat_part = part[hit] != 2
    edge = np.abs(np.abs(place.road.lookup(points[:, :2])[1]) - SECTION.kerb) < 0.02
    assert np.abs(points[:, 2] - surface)[flat_part & ~edge].max() < 0.008
    # Kerb faces: on the kerb line, between the two heights.
    if (~flat_part).any():
        faces = points[~flat_part]
        low = place.terrain.height(faces[:, :2])
        assert (faces[:, 2] > low - 0.01).all()
        assert (faces[:, 2] < low + KERB_HEIGHT + 0.01).all()
        assert np.abs(np.abs(place.road.lookup(faces[:, :2])[1]) - SECTION.kerb).max() < 0.03
    for share in np.linspace(0.05, 0.97, 24):
        before = origin + rays[hit] * (length[hit] * share)[:, None]
        clear = np.abs(np.abs(place.road.lookup(before[:, :2])[1]) - SECTION.kerb) > 0.05
        assert (before[:, 2] - place.height(before[:, :2]) > -0.01)[clear].all()


@pytest.mark.parametrize("seed", range(20))
def test_slopes_stay_below_three_percent(seed: int) -> None:
    terrain = Terrain.random(np.random.default_rng(seed))
    xy = np.random.default_rng(seed + 1).uniform(-1000, 1000, (4000, 2))
    slope = np.linalg.norm(terrain.gradient(xy), axis=1)
    assert slope.max() <= MAX_SLOPE
    assert slope.max() > 0.003
    step = 1e-4
    numeric = (terrain.height(xy + np.array([step, 0.0])) - terrain.height(xy - np.array([step, 0.0]))) / (2 * step)
    np.testing.assert_allclose(numeric, terrain.gradient(xy)[:, 0], atol=1e-6)
