# SPDX-License-Identifier: Apache-2.0
"""Network inputs and projection matrices against recordings of the official SelfOcc's data pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from selfocc_ros.geometry.poses import pose
from selfocc_ros.geometry.reprojection import (
    box_from_pixel,
    global_from_pixel,
    pixel_from_box,
    source_pixel_from_pixel,
    sparse_depth,
)
from selfocc_ros.sensing.official_preprocess import KITTI_MEAN, KITTI_STD, OfficialInput

Arrays = dict[str, NDArray[Any]]

SETTINGS = {
    "prep.nuscenes_occ": OfficialInput((160, 96), scale=0.5),
    "prep.kitti_novel": OfficialInput((180, 74), pad_to=(192, 96), mean=KITTI_MEAN, std=KITTI_STD),
    "prep.kitti_raw_style": OfficialInput(
        (180, 74), scale=0.84, pad_to=(160, 64), pad_ratio=(0.8889, 0.8649), mean=KITTI_MEAN, std=KITTI_STD
    ),
}


@pytest.fixture(scope="module")
def recorded(golden_folder: Path) -> Arrays:
    with np.load(golden_folder / "preprocess_geometry.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def expected(golden_folder: Path) -> Any:
    return json.loads((golden_folder / "preprocess_expected.json").read_text())


@pytest.mark.parametrize("name", list(SETTINGS))
def test_network_input(recorded: Arrays, expected: Any, name: str) -> None:
    rgb = np.ascontiguousarray(recorded[f"{name}.in_bgr_u8"][..., ::-1])
    found = SETTINGS[name].prepare(rgb)
    assert found.shape == tuple(expected[name]["out_shape"][1:])
    np.testing.assert_allclose(found, recorded[f"{name}.out_chw"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["prep.kitti_novel", "prep.kitti_raw_style"])
def test_focal_ratios(expected: Any, name: str) -> None:
    ratios = expected[name]["focal_ratios_x"] + expected[name]["focal_ratios_y"]
    assert SETTINGS[name].focal_ratios == pytest.approx(ratios, abs=1e-12)


def test_unpadded_inputs_have_focal_ratio_one(expected: Any) -> None:
    """The recorded reduced image is padded, which officially only a stated ratio would tell; the full one is not."""
    assert expected["prep.nuscenes_occ"]["focal_ratios_x"] == [1.0]
    full = OfficialInput((1600, 768), scale=0.5)
    assert full.network_size == (800, 384)
    assert full.focal_ratios == (1.0, 1.0)


class Moment:
    """Calibration and poses of one recorded moment."""

    def __init__(self, recorded: Arrays, name: str) -> None:
        def pose_of(what: str) -> NDArray[np.float64]:
            wxyz = recorded[f"geo.{name}.{what}_q_wxyz"]
            return pose(recorded[f"geo.{name}.{what}_t"], np.roll(wxyz, -1, axis=-1))

        self.ego_from_lidar = pose_of("lidar2ego")
        self.global_from_ego = pose_of("ego2global_at_lidar")
        self.global_from_lidar = self.global_from_ego @ self.ego_from_lidar
        self.global_from_pixel = global_from_pixel(
            pose_of("ego2global_at_cam"), pose_of("cam2ego"), recorded[f"geo.{name}.cam_K"]
        )


def same(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)


def test_matrices(recorded: Arrays) -> None:
    now, anchor, before, after = (Moment(recorded, name) for name in ("current", "anchor", "prev", "next"))
    same(pixel_from_box(now.global_from_pixel, now.global_from_lidar), recorded["geo.lidar2img"])
    same(box_from_pixel(now.global_from_pixel, now.global_from_lidar), recorded["geo.img2lidar"])
    same(box_from_pixel(anchor.global_from_pixel, now.global_from_lidar), recorded["geo.anchorImg2lidar"])
    same(pixel_from_box(now.global_from_pixel, now.global_from_ego), recorded["geo.ego2img"])
    same(box_from_pixel(now.global_from_pixel, now.global_from_ego), recorded["geo.img2ego"])
    same(box_from_pixel(anchor.global_from_pixel, now.global_from_ego), recorded["geo.anchorImg2ego"])
    same(source_pixel_from_pixel(before.global_from_pixel, anchor.global_from_pixel), recorded["geo.anchorImg2prevImg"])
    same(source_pixel_from_pixel(after.global_from_pixel, anchor.global_from_pixel), recorded["geo.anchorImg2nextImg"])
    same(np.linalg.inv(now.ego_from_lidar), recorded["geo.ego2lidar"])


def test_lidar_depth(recorded: Arrays) -> None:
    points = recorded["lidar.points_xyzi_ring"][:, :3]
    place, depth, valid = sparse_depth(points, recorded["geo.lidar2img"], (1600, 768))
    assert np.array_equal(valid, recorded["lidar.mask"])
    assert valid.sum() > 50
    np.testing.assert_allclose(depth, recorded["lidar.depth"], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(place[valid], recorded["lidar.loc01"][valid], rtol=0, atol=1e-5)
