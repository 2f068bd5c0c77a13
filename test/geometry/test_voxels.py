# SPDX-License-Identifier: Apache-2.0
"""Voxel grids and volumes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfocc_ros.geometry.voxels import FREE, OCC3D, OCCUPIED, UNKNOWN, GridError, OccupancyVolume, VoxelGrid

SMALL = VoxelGrid((-1.0, 2.0, 0.0), (1.0, 5.0, 4.0), (4, 3, 2))


def test_occ3d_is_the_published_grid() -> None:
    np.testing.assert_allclose(OCC3D.cell, 0.4, atol=1e-12)
    centres = OCC3D.centres()
    assert centres.shape == (200, 200, 16, 3)
    assert centres.dtype == np.float32
    np.testing.assert_allclose(centres[0, 0, 0], (-39.8, -39.8, -0.8), atol=1e-5)
    np.testing.assert_allclose(centres[199, 199, 15], (39.8, 39.8, 5.2), atol=1e-5)


@pytest.mark.parametrize("grid", [OCC3D, SMALL])
def test_every_centre_lies_in_its_own_cell(grid: VoxelGrid) -> None:
    index, inside = grid.index_of(grid.centres())
    assert inside.all()
    np.testing.assert_array_equal(index, np.stack(np.indices(grid.shape), axis=-1))


@given(st.tuples(*[st.floats(-60, 60)] * 3))
def test_a_point_is_inside_exactly_if_the_box_holds_it(point: tuple[float, float, float]) -> None:
    index, inside = OCC3D.index_of(point)
    holds = all(low <= p < high for p, low, high in zip(point, OCC3D.lower, OCC3D.upper, strict=True))
    on_face = min(abs(p - b) for p, lo, hi in zip(point, OCC3D.lower, OCC3D.upper, strict=True) for b in (lo, hi))
    if on_face > 1e-9:
        assert bool(inside) is holds
    if inside:
        low = np.array(OCC3D.lower) + index * OCC3D.cell
        assert np.all(np.array(point) >= low - 1e-9)
        assert np.all(np.array(point) <= low + OCC3D.cell + 1e-9)


def test_points_outside_and_nan_are_outside_with_harmless_indices() -> None:
    index, inside = SMALL.index_of([[1e30, 3, 1], [-1e30, 3, 1], [np.nan, 3, 1], [np.inf, 3, 1], [1.0, 3, 1]])
    assert not inside.any()
    assert index[:, 0].tolist() == [4, -1, -1, 4, 4]
    assert index.dtype == np.int64


def test_shifting_moves_in_z_only() -> None:
    up = SMALL.shifted(0.5)
    assert (up.lower, up.upper, up.shape) == ((-1.0, 2.0, 0.5), (1.0, 5.0, 4.5), (4, 3, 2))
    np.testing.assert_allclose(up.centres() - SMALL.centres(), np.broadcast_to((0, 0, 0.5), (4, 3, 2, 3)))


def test_a_grid_survives_json() -> None:
    assert VoxelGrid.from_dict(json.loads(json.dumps(OCC3D.to_dict()))) == OCC3D


@pytest.mark.fault
@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"lower": [0, 0, 0], "upper": [1, 1, 1]}, "needs the keys lower, upper and shape, found lower, upper"),
        ({"lower": [0, 0, 0], "upper": [1, 1, 1], "shape": [1, 1, 1], "cell": 1}, "found cell, lower"),
        ({"lower": [0, 0], "upper": [1, 1, 1], "shape": [1, 1, 1]}, "lower must hold 3 numbers"),
        ({"lower": [0, 0, 0], "upper": [1, 0, 1], "shape": [1, 1, 1]}, "must lie above lower"),
        ({"lower": [0, 0, 0], "upper": [1, float("nan"), 1], "shape": [1, 1, 1]}, "must be finite"),
        ({"lower": [0, 0, 0], "upper": [1, 1, 1], "shape": [1, 0, 1]}, "at least 1"),
    ],
)
def test_bad_grids_are_refused(values: dict, sentence: str) -> None:
    with pytest.raises(GridError, match=sentence):
        VoxelGrid.from_dict(values)


def test_occupied_voxels_are_listed_with_their_centres() -> None:
    state = np.full(SMALL.shape, FREE, np.uint8)
    state[0, 1, 1] = OCCUPIED
    state[3, 2, 0] = OCCUPIED
    state[1, 1, 1] = UNKNOWN
    volume = OccupancyVolume(SMALL, state)
    assert volume.occupied_indices().tolist() == [[0, 1, 1], [3, 2, 0]]
    centres = volume.occupied_centres()
    assert centres.dtype == np.float32
    np.testing.assert_array_equal(centres, SMALL.centres()[state == OCCUPIED])


@pytest.mark.fault
@pytest.mark.parametrize(
    "arrays",
    [
        {"state": np.zeros((4, 3, 3), np.uint8)},
        {"state": np.zeros((4, 3, 2), np.int64)},
        {"state": np.zeros((4, 3, 2), np.uint8), "sdf": np.zeros((4, 3, 2))},
        {"state": np.zeros((4, 3, 2), np.uint8), "classes": np.zeros(24, np.uint8)},
    ],
)
def test_volumes_must_fit_their_grid(arrays: dict) -> None:
    with pytest.raises(GridError, match=r"must be .* of shape \(4, 3, 2\)"):
        OccupancyVolume(SMALL, **arrays)
