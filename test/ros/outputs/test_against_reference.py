# SPDX-License-Identifier: Apache-2.0
"""Every kind of message against a slow and plain reading of the same voxels, for random volumes, origins and bands."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from rclpy.serialization import deserialize_message
from visualization_msgs.msg import Marker

from selfocc_ros.geometry.ground import BandError
from selfocc_ros.geometry.voxels import FREE, OCCUPIED, UNKNOWN, OccupancyVolume, VoxelGrid
from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.ros.outputs.clouds import free_points, occupied_points
from selfocc_ros.ros.outputs.grids import occupancy_grid, semantic_grid
from selfocc_ros.ros.outputs.moment import Moment
from selfocc_ros.ros.outputs.sdf_slice import sdf_slice, sdf_slice_points
from selfocc_ros.ros.outputs.voxel_markers import voxel_markers
from selfocc_ros.viz.colours import class_colours, height_colours

NAMES = ("road", "car", "vegetation", "something new")
EPS = 1e-4


@dataclass(frozen=True)
class Case:
    """A volume, and the ground under each of its columns."""

    volume: OccupancyVolume
    band: tuple[float, float]
    ground_z: float
    ground: np.ndarray

    def voxels(self) -> list[tuple[int, int, int]]:
        return list(itertools.product(*(range(n) for n in self.volume.grid.shape)))

    def centre(self, voxel: tuple[int, int, int]) -> np.ndarray:
        grid = self.volume.grid
        return np.array([grid.lower[a] + (voxel[a] + 0.5) * grid.cell[a] for a in range(3)])

    def in_band(self, voxel: tuple[int, int, int]) -> bool:
        """Whether any height of the voxel is one of the band."""
        half = 0.5 * self.volume.grid.cell[2]
        height = self.centre(voxel)[2] - self.ground[voxel[0], voxel[1]]
        return bool(height + half > self.band[0] + EPS and height - half < self.band[1] - EPS)

    def is_surface(self, voxel: tuple[int, int, int]) -> bool:
        """Whether a neighbour is there and not occupied."""
        for axis, step in itertools.product(range(3), (-1, 1)):
            other = list(voxel)
            other[axis] += step
            if 0 <= other[axis] < self.volume.grid.shape[axis] and self.volume.state[tuple(other)] != OCCUPIED:
                return True
        return False


def make(seed: int) -> Case:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, (9, 8, 7)))
    cell = np.array([0.4, 0.4, 0.25]) if seed % 2 else np.array([0.5, 0.5, 0.5])
    lower = rng.uniform(-5.0, 5.0, 3)
    grid = VoxelGrid(tuple(lower), tuple(lower + cell * shape), shape)
    shares = rng.dirichlet(np.ones(3))
    state = rng.choice(np.array([FREE, OCCUPIED, UNKNOWN], np.uint8), shape, p=shares)
    classes = None
    if seed % 3:
        classes = np.where(state == OCCUPIED, rng.integers(0, len(NAMES), shape), 0).astype(np.uint8)
    bottom = rng.uniform(0.0, cell[2] * shape[2])
    band = (float(bottom), float(bottom + rng.uniform(0.1, 1.5)))
    ground = grid.lower[2] + (rng.uniform(-1.0, 0.5, shape[:2]) - 0.5 * band[0]).astype(np.float32)
    return Case(OccupancyVolume(grid, state, None, classes, NAMES if classes is not None else ()), band, -0.4, ground)


def cells(message: object) -> np.ndarray:
    """(X, Y) values of an OccupancyGrid."""
    return np.array(message.data, np.int64).reshape(message.info.height, message.info.width).T  # type: ignore[attr-defined]


def floats(message: object, fields: int) -> np.ndarray:
    """(M, fields) of a cloud whose fields are all float32 but for what lies behind them."""
    rows = np.frombuffer(message.data, np.uint8).reshape(-1, message.point_step)  # type: ignore[attr-defined]
    return rows[:, : 4 * fields].copy().view("<f4")


@pytest.fixture(params=range(40))
def case(request: pytest.FixtureRequest) -> Case:
    return make(request.param)


def test_occupancy_grid(case: Case):
    volume = case.volume
    expected = np.full(volume.grid.shape[:2], -1)
    for voxel in case.voxels():
        if case.in_band(voxel) and volume.state[voxel] != UNKNOWN:
            expected[voxel[:2]] = max(expected[voxel[:2]], 100 * int(volume.state[voxel] == OCCUPIED))
    if not any(case.in_band(voxel) for voxel in case.voxels()):
        with pytest.raises(BandError):
            occupancy_grid(volume, 0, "base_link", case.band, case.ground_z, case.ground)
        return
    message = occupancy_grid(volume, 0, "base_link", case.band, case.ground_z, case.ground)
    np.testing.assert_array_equal(cells(message), expected)
    # The centre of a cell is where its column is.
    origin = message.info.origin.position
    for x, y in itertools.product(range(message.info.width), range(message.info.height)):
        at = np.array([origin.x, origin.y]) + (np.array([x, y]) + 0.5) * message.info.resolution
        np.testing.assert_allclose(at, case.centre((x, y, 0))[:2], atol=1e-6)


@pytest.mark.parametrize("surface_only", [False, True])
def test_occupied_points_and_markers(case: Case, surface_only: bool):
    volume = case.volume
    voxels = [v for v in case.voxels() if volume.state[v] == OCCUPIED and (not surface_only or case.is_surface(v))]
    message = occupied_points(volume, 0, "base_link", case.ground_z, surface_only)
    points = floats(message, 3)
    assert len(points) == len(voxels) == message.width
    np.testing.assert_allclose(points, np.array([case.centre(v) for v in voxels]).reshape(-1, 3), atol=1e-5)
    packed = np.frombuffer(message.data, np.uint8).reshape(-1, message.point_step)
    if volume.classes is None:
        expected = height_colours([case.centre(v)[2] - case.ground_z for v in voxels])
    else:
        labels = [int(volume.classes[v]) for v in voxels]
        assert packed[:, 16].tolist() == labels
        expected = class_colours(labels, NAMES)
    np.testing.assert_array_equal(packed[:, 12:15], expected[:, ::-1])  # b, g, r
    if surface_only:
        _check_markers(case, voxels, expected)


def _check_markers(case: Case, voxels: list[tuple[int, int, int]], colours: np.ndarray) -> None:
    for most in (10_000, 5):
        marker = deserialize_message(voxel_markers(case.volume, 0, "base_link", case.ground_z, most), Marker)
        assert marker.action == (marker.ADD if voxels else marker.DELETE)
        assert len(marker.points) == len(marker.colors) == min(most, len(voxels))
        far = [float(np.linalg.norm(case.centre(v))) for v in voxels]
        shown = [float(np.linalg.norm([p.x, p.y, p.z])) for p in marker.points]
        np.testing.assert_allclose(shown, sorted(far)[:most], atol=1e-9)
        by_place = {tuple(np.round(case.centre(v), 6)): c for v, c in zip(voxels, colours, strict=True)}
        for point, colour in zip(marker.points, marker.colors, strict=True):
            expected = by_place[tuple(np.round([point.x, point.y, point.z], 6))]
            np.testing.assert_allclose([colour.r * 255, colour.g * 255, colour.b * 255], expected, atol=1e-3)


def test_free_points(case: Case):
    volume = case.volume
    parameters = NodeParameters.of({"height_band": case.band, "local_ground": False})
    moment = Moment(volume, 0, "base_link", float(case.ground.mean()), parameters)
    level = Case(volume, case.band, case.ground_z, np.full(case.ground.shape, case.ground.mean()))
    voxels = [v for v in level.voxels() if volume.state[v] == FREE and level.in_band(v)]
    if not any(level.in_band(v) for v in level.voxels()):
        return
    points = floats(free_points(volume, 0, "base_link", moment.band_ZXY), 3)
    np.testing.assert_allclose(points, np.array([case.centre(v) for v in voxels]).reshape(-1, 3), atol=1e-5)


def test_semantic_grid(case: Case):
    volume = case.volume
    if volume.classes is None:
        with pytest.raises(BandError, match="needs a network with classes"):
            semantic_grid(volume, 0, "base_link")
        return
    low_enough = [v for v in case.voxels() if Case.in_band(_without_floor(case), v)]
    if not low_enough:
        return
    expected = np.full(volume.grid.shape[:2], -1)
    for voxel in low_enough:  # from below
        if volume.state[voxel] == OCCUPIED:
            expected[voxel[:2]] = volume.classes[voxel]
    message = semantic_grid(volume, 0, "base_link", case.band[1], case.ground_z, case.ground)
    np.testing.assert_array_equal(cells(message), expected)


def _without_floor(case: Case) -> Case:
    return Case(case.volume, (-np.inf, case.band[1]), case.ground_z, case.ground)


def test_sdf_slice(case: Case):
    """Distances by trying all pairs of cells of the plane."""
    volume, grid = case.volume, case.volume.grid
    cell = grid.cell[0]
    height = 0.3
    ground_z = grid.lower[2] + 0.1
    moment = Moment(
        volume, 0, "base_link", ground_z, NodeParameters.of({"local_ground": False, "sdf_slice_height": height})
    )
    layer = int((0.1 + height) / grid.cell[2])
    if layer >= grid.shape[2]:
        with pytest.raises(BandError, match=r"sdf_slice_height 0\.3 m lies outside the voxels"):
            _ = moment.slice
        return
    plane = volume.state[:, :, layer]
    columns = list(itertools.product(range(grid.shape[0]), range(grid.shape[1])))
    expected = np.full(plane.shape, np.nan)
    longest = cell * np.hypot(*plane.shape)
    for column in columns:
        inside = plane[column] == OCCUPIED
        others = [c for c in columns if (plane[c] == OCCUPIED) != inside]
        far = min((np.hypot(c[0] - column[0], c[1] - column[1]) - 0.5 for c in others), default=longest / cell) * cell
        if plane[column] != UNKNOWN:
            expected[column] = -far if inside else far
    distance, layers = moment.slice
    assert (layers == layer).all()
    np.testing.assert_allclose(distance, expected, atol=1e-4)
    cost = np.where(np.isnan(expected), -1, np.rint(100 * np.clip(1 - expected / 5.0, 0, 1)))
    assert np.abs(cells(sdf_slice(distance, volume, 0, "base_link", 0.0)) - cost).max() <= 1
    rows = floats(sdf_slice_points(distance, layers, volume, 0, "base_link"), 4)
    seen = [c for c in columns if np.isfinite(expected[c])]
    centres = np.array([case.centre((*c, layer)) for c in seen]).reshape(-1, 3)
    np.testing.assert_allclose(rows[:, :3], centres, atol=1e-5)
    np.testing.assert_allclose(rows[:, 3], [expected[c] for c in seen], atol=1e-4)
