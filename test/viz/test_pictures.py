# SPDX-License-Identifier: Apache-2.0
"""Pictures: what is in front is up, what is left is left, and colours mean what the legend says."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import pose_from_rpy
from selfocc_ros.geometry.rig import CameraRig
from selfocc_ros.geometry.voxels import FREE, OCCUPIED, UNKNOWN, OccupancyVolume, VoxelGrid
from selfocc_ros.viz.birdseye import FREE_COLOUR, UNKNOWN_COLOUR, birds_eye, column_tops, pixel_of
from selfocc_ros.viz.colours import class_colours, depth_colours, height_colours
from selfocc_ros.viz.depth import depth_strip
from selfocc_ros.viz.sheet import arrange, save, scene_sheet
from selfocc_ros.viz.text import class_legend

GRID = VoxelGrid((-4.0, -2.0, -1.0), (4.0, 2.0, 5.0), (16, 8, 6))
OPTICAL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


def _volume(**voxels: int) -> OccupancyVolume:
    state = np.full(GRID.shape, UNKNOWN, np.uint8)
    state[4:12, 2:6] = FREE
    return OccupancyVolume(GRID, state)


def _rig(yaws: dict[str, float]) -> CameraRig:
    camera = CameraModel(64, 36, np.array([[40.0, 0, 31.5], [0, 40.0, 17.5], [0, 0, 1]]))
    poses = [pose_from_rpy((0, 0, 1.6), 0, 0, np.radians(yaw)) @ OPTICAL for yaw in yaws.values()]
    return CameraRig(tuple(yaws), (camera,) * len(yaws), np.array(poses))


def test_heights_run_from_blue_over_green_to_red() -> None:
    colours = height_colours(np.array([-1.0, 2.2, 5.4, -7.0, 99.0, np.nan])).astype(int)
    assert colours.shape == (6, 3)
    assert colours[0, 2] > colours[0, 0] + 50
    assert colours[1, 1] > 200
    assert colours[2, 0] > colours[2, 2] + 100
    np.testing.assert_array_equal(colours[3:5], colours[[0, 2]])
    steps = np.abs(np.diff(height_colours(np.linspace(-1, 5.4, 17)).astype(int), axis=0)).sum(axis=1)
    assert steps.min() > 20  # neighbouring layers of Occ3D's grid differ visibly


def test_depths_run_from_red_to_blue_and_unknown_is_black() -> None:
    near, far, sky, none = depth_colours(np.array([2.0, 60.0, np.inf, 0.0])).astype(int)
    assert near[0] > near[2] + 100
    assert far[2] > far[0] + 50
    assert not sky.any()
    assert not none.any()


def test_forward_is_up_and_left_is_left() -> None:
    volume = _volume()
    volume.state[14, 6, 1] = OCCUPIED  # x = 3.25, y = 1.25: ahead, to the left
    picture = birds_eye(volume, pixels_per_voxel=2)
    assert picture.shape == (32, 16, 3)
    coloured = np.argwhere((picture != UNKNOWN_COLOUR).any(-1) & (picture != FREE_COLOUR).any(-1))
    np.testing.assert_array_equal(coloured.min(0), [2, 2])
    np.testing.assert_array_equal(coloured.max(0), [3, 3])
    column, row = pixel_of(GRID, 3.25, 1.25, 2)
    assert (column, row) == (2.5, 2.5)
    assert tuple(picture[0, 0]) == UNKNOWN_COLOUR
    assert tuple(picture[16, 8]) == FREE_COLOUR


def test_a_column_shows_its_highest_voxel() -> None:
    volume = _volume()
    volume.state[8, 4, [0, 3]] = OCCUPIED
    assert column_tops(volume.state == OCCUPIED)[8, 4] == 3
    assert column_tops(volume.state == OCCUPIED)[0, 0] == -1
    picture = birds_eye(volume, 1)
    np.testing.assert_array_equal(picture[16 - 1 - 8, 8 - 1 - 4], height_colours([2.5])[0])
    shifted = birds_eye(volume, 1, ground_z=1.0)
    np.testing.assert_array_equal(shifted[16 - 1 - 8, 8 - 1 - 4], height_colours([1.5])[0])


def test_classes_are_shown_in_the_colours_that_the_legend_names() -> None:
    volume = _volume()
    volume.state[5, 3, :3] = OCCUPIED
    classes = np.zeros(GRID.shape, np.uint8)
    classes[5, 3] = [1, 1, 2, 0, 0, 0]
    named = OccupancyVolume(GRID, volume.state, None, classes, ("road", "car", "unicorn"))
    unicorn, car = class_colours([2, 1], named.class_names)
    image = birds_eye(named, 1)[::-1, ::-1]
    assert np.abs(image[5, 3].astype(int) - unicorn).max() <= 1
    legend = class_legend(named.class_names, [1, 2], 400)
    for colour in (unicorn, car):
        assert (legend == colour).all(axis=-1).sum() >= 100
    assert class_legend(named.class_names, [0, 1, 2], 60).shape[0] > legend.shape[0]
    sheet = scene_sheet([None], _rig({"front": 0.0}), {"named": named})
    assert (sheet == unicorn).all(axis=-1).sum() > 100
    assert (sheet == car).all(axis=-1).sum() > 100


def test_faded_columns_are_pale_and_the_others_are_not() -> None:
    volume = _volume()
    volume.state[8, 4, 3] = volume.state[8, 3, 3] = OCCUPIED
    fade = np.zeros(GRID.shape[:2], bool)
    fade[8, 3] = True
    plain, faded = birds_eye(volume, 1), birds_eye(volume, 1, fade=fade)
    changed = (plain != faded).any(-1)
    np.testing.assert_array_equal(np.argwhere(changed), [[16 - 1 - 8, 8 - 1 - 3]])
    pixel = faded[16 - 1 - 8, 8 - 1 - 3].astype(int)
    assert np.abs(pixel - UNKNOWN_COLOUR).max() < 60


@pytest.mark.parametrize(
    ("yaws", "rows"),
    [
        (
            {"front": 0, "front_left": 60, "front_right": -60, "back": 180, "back_left": 110, "back_right": -110},
            [["front_left", "front", "front_right"], ["back_left", "back", "back_right"]],
        ),
        ({"right": -90, "left": 90}, [["left", "right"]]),
        ({"only": 170}, [["only"]]),
        (
            {"f": 1, "fl": 50, "fr": -50, "bl": 130, "br": -130},
            [["fl", "f", "fr"], ["bl", "br"]],
        ),
    ],
)
def test_cameras_are_arranged_as_one_looks_around(yaws: dict[str, float], rows: list[list[str]]) -> None:
    rig = _rig(yaws)
    assert [[rig.names[i] for i in row] for row in arrange(rig)] == rows


@pytest.mark.parametrize("count", [1, 2, 4, 6, 7, 12])
def test_a_sheet_shows_every_camera_and_volume(count: int, tmp_path: Path) -> None:
    rig = _rig({f"camera {i}": 360.0 * i / count for i in range(count)})
    # every camera's picture has a colour that nothing else on the sheet has
    images = [np.full((36, 64, 3), (254, 7 * i + 1, 3), np.uint8) for i in range(count)]
    sheet = scene_sheet(images, rig, {"predicted": _volume(), "true": _volume()}, "caption", pixels_per_voxel=12)
    assert sheet.dtype == np.uint8
    for image in images:
        assert (sheet == image[0, 0]).all(-1).sum() > 500
    assert (sheet == UNKNOWN_COLOUR).all(-1).sum() > 2 * 16 * 8 * 144 * 0.5
    save(str(tmp_path / "sheet.png"), sheet)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1], sheet)


def test_a_failed_camera_leaves_a_gap_not_an_error() -> None:
    rig = _rig({"left": 90, "right": -90})
    sheet = scene_sheet(
        [None, np.full((36, 64, 3), (254, 1, 3), np.uint8)], rig, {"predicted": _volume()}, pixels_per_voxel=12
    )
    assert (sheet == (254, 1, 3)).all(-1).any()
    assert (sheet == (60, 60, 60)).all(-1).sum() > 500


def test_a_picture_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"sheet\.png"):
        save(str(tmp_path / "missing" / "sheet.png"), np.zeros((4, 4, 3), np.uint8))


def test_depth_strips_scale_up() -> None:
    strip = depth_strip(np.zeros((36, 64, 3), np.uint8), {"true": np.full((9, 16), 5.0, np.float32)})
    assert strip.shape == (36, 128, 3)
    np.testing.assert_array_equal(strip[35, 127], depth_colours([5.0])[0])
