# SPDX-License-Identifier: Apache-2.0
"""The ground found in voxels, on roads that rise, dip and carry things, and the layers above it."""

from __future__ import annotations

import numpy as np
import pytest

from selfocc_ros.geometry.ground import BandError, in_band, layer_at, local_ground
from selfocc_ros.geometry.voxels import OCC3D, VoxelGrid

SMALL = VoxelGrid((-2.0, -1.0, -1.0), (4.0, 3.0, 2.2), (15, 10, 8))  # cells of 0.4 m
BAND = (0.3, 2.0)
X, Y = OCC3D.centres()[:, :, 0, :2].transpose(2, 0, 1).astype(np.float64)
BOTTOM = OCC3D.lower[2] + np.arange(OCC3D.shape[2]) * OCC3D.cell[2]

ROADS = {
    "level": 0 * X,
    "rising": 0.08 * X,
    "falling": -0.1 * X,
    "banked": 0.06 * Y + 0.03 * X,
    "dip": 0.0015 * X**2,
    "hilly": 1.2 * np.sin(X / 12) * np.cos(Y / 15),
}


def below(surface: np.ndarray) -> np.ndarray:
    """Voxels (Z, X, Y) that reach below a surface (X, Y): all of them down to the bottom of the grid."""
    return BOTTOM[:, None, None] < surface


def layers(grid: VoxelGrid, band: tuple[float, float], ground: float = 0.0) -> list[int]:
    return np.flatnonzero(in_band(grid, band, ground)).tolist()


def test_the_band_counts_layers_that_overlap_it():
    # Layers: -1.0 .. -0.6, -0.6 .. -0.2, -0.2 .. 0.2, 0.2 .. 0.6, ..., 1.8 .. 2.2
    assert layers(SMALL, (0.3, 2.0)) == [3, 4, 5, 6, 7]
    assert layers(SMALL, (0.2, 1.0)) == [3, 4]  # touching is not overlapping
    assert layers(SMALL, (0.45, 0.46)) == [3]
    assert layers(SMALL.shifted(-0.35), (0.3, 2.0), -0.35) == [3, 4, 5, 6, 7]


def test_each_column_has_a_band_of_its_own():
    ground = np.zeros(SMALL.shape[:2])
    ground[1, 2], ground[3, 4] = 0.8, 9.0
    band = in_band(SMALL, BAND, ground)
    assert band.shape == (8, 15, 10)
    assert np.flatnonzero(band[:, 0, 0]).tolist() == [3, 4, 5, 6, 7]
    assert np.flatnonzero(band[:, 1, 2]).tolist() == [5, 6, 7]
    assert not band[:, 3, 4].any()  # its band lies above the grid


def test_a_band_outside_all_voxels_is_refused_in_words():
    with pytest.raises(BandError, match=r"height_band \[3, 4\] m lies outside the voxels, .*-1.00 to 2.20 m"):
        in_band(SMALL, (3.0, 4.0))


def test_a_height_has_a_layer_or_lies_outside():
    assert layer_at(SMALL, 0.5).tolist() == np.full((15, 10), 3).tolist()
    ground = np.zeros((15, 10))
    ground[0, 0], ground[1, 1] = 5.0, -5.0
    assert (layer_at(SMALL, 0.5, ground)[[0, 1, 2], [0, 1, 2]] == [8, -1, 3]).all()


@pytest.mark.parametrize("road", ROADS)
def test_things_are_found_on_roads_of_all_shapes_and_the_road_is_none_of_them(road: str):
    surface = ROADS[road] - ROADS[road][100, 100]
    things = np.zeros(X.shape, bool)
    things[120:131, 90:95] = things[150:154, 150:154] = things[60, 100] = True  # a car, a kiosk, a post
    things[:, :60] = True  # houses, as far as the grid goes
    low = np.zeros(X.shape, bool)
    low[110:190, 108:110] = low[60:90, 130] = low[70:75, 90:94] = True  # kerb stones to stop lorries, a block
    things |= low
    higher = np.where(low, 0.55, np.where(Y < -16.0, 4.0, 1.5)) * things
    occupied = below(surface) | below(surface + higher)
    obstacles = (occupied & in_band(OCC3D, BAND, local_ground(occupied, OCC3D))).any(axis=0)
    inside = (surface > BOTTOM[1]) & (surface < BOTTOM[-1] - 2.0)  # the grid holds the ground and what stands on it
    assert (obstacles & things)[inside].sum() == (things & inside).sum()
    assert (obstacles & ~things)[inside].sum() <= 0.003 * inside.sum()
    if road != "level":
        flat = (occupied & in_band(OCC3D, BAND)).any(axis=0)
        assert (flat != things)[inside].sum() > 0.03 * inside.sum()  # what level ground makes of that road


def test_ground_that_is_one_layer_thick_and_seen_in_part_is_found_as_well():
    rng = np.random.default_rng(0)
    surface = ROADS["rising"]
    shell = below(surface) & ~below(surface - OCC3D.cell[2])
    seen = shell & (rng.random(X.shape) < 0.6)
    ground = local_ground(seen, OCC3D)
    inside = (surface > BOTTOM[1]) & (surface < BOTTOM[-1] - 2.0)
    assert np.abs(ground - surface)[inside].max() < 0.4
    assert (seen & in_band(OCC3D, BAND, ground)).any(axis=0).mean() < 0.003


def test_a_volume_without_ground_has_it_where_the_vehicle_stands():
    occupied = np.zeros((16, 200, 200), bool)
    assert (local_ground(occupied, OCC3D, ground_z=-0.3) == -0.3).all()
    occupied[2:9, 150, :] = True  # a wall across the road, and nothing else
    assert (local_ground(occupied, OCC3D, ground_z=-0.3) == -0.3).all()


def test_the_ground_goes_on_level_where_nothing_of_it_is_seen():
    occupied = below(np.where(X < 20.0, 0.0, -np.inf))
    np.testing.assert_allclose(local_ground(occupied, OCC3D), 0.0, atol=1e-9)


def test_a_platform_too_high_to_drive_onto_is_no_ground():
    occupied = below(np.where(X > 10.0, 1.0, 0.0))
    assert (local_ground(occupied, OCC3D)[X > 12.0] < 0.2).all()


def test_the_search_starts_where_the_vehicle_is():
    """On a bridge, with land far below; a map is not centred on the vehicle."""
    on_bridge = np.abs(Y - 20.0) < 8.0
    occupied = below(np.where(on_bridge, 3.0, -0.5))
    ground = local_ground(occupied, OCC3D, 3.0, start=(10.0, 20.0))
    assert np.abs(ground[on_bridge] - 3.0).max() < 0.4


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 3, 5), (33, 64, 12)])
def test_grids_of_any_size(shape: tuple[int, int, int]):
    grid = VoxelGrid((-3.0, -2.0, -1.0), (5.0, 4.0, 1.4), shape)
    occupied = np.random.default_rng(0).random((shape[2], *shape[:2])) < 0.3
    ground = local_ground(occupied, grid)
    assert ground.shape == shape[:2]
    assert np.isfinite(ground).all()
