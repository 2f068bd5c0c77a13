# SPDX-License-Identifier: Apache-2.0
"""The recording of a scene, against its tables and files, read by rosbags alone or by what reads recordings here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from nuscenes_miniature import SIZE, VERSION
from rosbags.highlevel import AnyReader

from selfocc_ros.geometry.poses import invert, pose
from selfocc_ros.geometry.transforms import TransformTree
from selfocc_ros.logs.check import check_bag
from selfocc_ros.logs.convert import cloud_points, feed
from selfocc_training.dataset.dataset import Dataset
from selfocc_training.dataset.prepare import prepare

TOPICS = {
    "CAM_FRONT": "/camera/front/image/compressed",
    "CAM_BACK_LEFT": "/camera/back_left/image/compressed",
    "LIDAR_TOP": "/lidar/top/points",
}


def table(dataroot: Path, name: str) -> dict[str, dict[str, Any]]:
    records = json.loads((dataroot / VERSION / f"{name}.json").read_text())
    return {record["token"]: record for record in records}


def captures(dataroot: Path, channel: str) -> list[dict[str, Any]]:
    """Records of `sample_data` with their poses and mountings, by stamp."""
    sensors, mountings, poses = (table(dataroot, name) for name in ("sensor", "calibrated_sensor", "ego_pose"))
    found = []
    for record in table(dataroot, "sample_data").values():
        mounting = mountings[record["calibrated_sensor_token"]]
        if sensors[mounting["sensor_token"]]["channel"] == channel:
            found.append({**record, "mounting": mounting, "pose": poses[record["ego_pose_token"]]})
    return sorted(found, key=lambda record: record["timestamp"])


def matrix(record: dict[str, Any]) -> np.ndarray:
    w, x, y, z = record["rotation"]
    return pose(record["translation"], (x, y, z, w))


def read(folder: Path, *topics: str) -> Iterator[tuple[str, int, Any]]:
    """Topic, receive time and message, by a reader that is not ours."""
    with AnyReader([folder / "bag"]) as reader:
        for connection, receive_ns, data in reader.messages([c for c in reader.connections if c.topic in topics]):
            yield connection.topic, receive_ns, reader.deserialize(data, connection.msgtype)


@pytest.fixture(scope="module")
def dataset(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    root = tmp_path_factory.mktemp("datasets") / "dataset"
    prepare([folder / "bag"], root)
    return Dataset.open(root)


def stamp(msg: Any) -> int:
    return int(msg.header.stamp.sec) * 10**9 + int(msg.header.stamp.nanosec)


@pytest.mark.parametrize("channel", ["CAM_FRONT", "CAM_BACK_LEFT"])
def test_every_keyframe_and_sweep_is_there_byte_by_byte(channel: str, dataroot: Path, folder: Path) -> None:
    expected = captures(dataroot, channel)
    assert len(expected) == 20
    assert Counter(record["is_key_frame"] for record in expected) == {True: 4, False: 16}
    found = list(read(folder, TOPICS[channel]))
    for (_, receive_ns, image), record in zip(found, expected, strict=True):
        assert stamp(image) == receive_ns == record["timestamp"] * 1000
        assert image.format == "jpeg"
        assert image.data.tobytes() == (dataroot / record["filename"]).read_bytes()


def test_camera_info_comes_with_each_image(dataroot: Path, folder: Path) -> None:
    expected = captures(dataroot, "CAM_FRONT")
    found = [info for _, _, info in read(folder, "/camera/front/camera_info")]
    assert [stamp(info) for info in found] == [record["timestamp"] * 1000 for record in expected]
    assert {info.header.frame_id for info in found} == {"camera_front_optical"}
    assert {(info.width, info.height) for info in found} == {SIZE}
    np.testing.assert_array_equal(found[0].k.reshape(3, 3), expected[0]["mounting"]["camera_intrinsic"])


@pytest.mark.parametrize("fixed", ["map", "odom"])
def test_camera_poses_at_image_stamps_are_those_of_the_tables(fixed: str, dataroot: Path, folder: Path) -> None:
    tree = TransformTree(history_s=60.0)
    for topic, _, msg in read(folder, "/tf", "/tf_static"):
        feed(tree, msg, static=topic == "/tf_static")
    for channel, frame in (("CAM_FRONT", "camera_front_optical"), ("CAM_BACK_LEFT", "camera_back_left_optical")):
        for record in captures(dataroot, channel):
            found = tree.lookup(fixed, frame, record["timestamp"] * 1000)
            np.testing.assert_allclose(found, matrix(record["pose"]) @ matrix(record["mounting"]), atol=1e-6)


def test_poses_of_all_sensors_are_there_once_and_before_what_needs_them(dataroot: Path, folder: Path) -> None:
    order = [(topic, stamp(msg.transforms[0] if topic == "/tf" else msg)) for topic, _, msg in read(
        folder, "/tf", TOPICS["CAM_FRONT"])]  # fmt: skip
    poses = [time for topic, time in order if topic == "/tf"]
    assert poses == sorted({record["timestamp"] * 1000 for record in table(dataroot, "ego_pose").values()})
    assert any(channel["timestamp"] * 1000 in poses for channel in captures(dataroot, "RADAR_FRONT"))
    for number, (topic, time) in enumerate(order):
        assert topic == "/tf" or ("/tf", time) in order[:number]


def test_clouds_keep_their_points(dataroot: Path, folder: Path) -> None:
    expected = captures(dataroot, "LIDAR_TOP")
    found = [msg for _, _, msg in read(folder, TOPICS["LIDAR_TOP"])]
    assert [stamp(msg) for msg in found] == [record["timestamp"] * 1000 for record in expected]
    points = np.fromfile(dataroot / expected[3]["filename"], np.float32).reshape(-1, 5)
    assert len(points) > 100
    np.testing.assert_array_equal(cloud_points(found[3]), points[:, :3])
    assert [(f.name, f.offset, f.datatype) for f in found[3].fields][3:] == [("intensity", 12, 7), ("ring", 16, 4)]
    rings = found[3].data.reshape(-1, found[3].point_step)[:, 16:18].copy().view("<u2")[:, 0]
    np.testing.assert_array_equal(rings, points[:, 4])


def test_check_is_content(folder: Path) -> None:
    report = check_bag(folder / "bag")
    assert report.ok
    assert (report.sets, report.complete_sets) == (20, 20)
    assert report.notes == report.advice == []
    assert all(camera.used == 20 and not camera.problems for camera in report.cameras.values())
    assert set(report.cameras) == {"front", "front_left", "front_right", "back", "back_left", "back_right"}


def test_prepare_makes_a_dataset_of_it(dataroot: Path, dataset: Dataset) -> None:
    assert len(dataset) == 20
    expected = captures(dataroot, "CAM_BACK_LEFT")[7]
    image = next(image for image in dataset[7].images if image.name == "back_left")
    assert image.stamp_ns == expected["timestamp"] * 1000
    np.testing.assert_allclose(
        image.odom_from_camera, matrix(expected["pose"]) @ matrix(expected["mounting"]), atol=1e-6
    )


def test_prepare_takes_the_labels_along(dataroot: Path, folder: Path, dataset: Dataset) -> None:
    lidar = [record for record in captures(dataroot, "LIDAR_TOP") if record["is_key_frame"]]
    front = [record for record in captures(dataroot, "CAM_FRONT") if record["is_key_frame"]]
    labelled = [index for index in range(len(dataset)) if dataset.voxels(index) is not None]
    assert labelled == [0, 5, 10, 15]
    voxels = dataset.voxels(5)
    assert voxels is not None
    assert (voxels.free, voxels.classes[4], voxels.grid.shape) == (17, "car", (200, 200, 16))
    assert voxels.mask_camera is not None
    with np.load(folder / "truth" / "voxels" / f"{lidar[1]['timestamp'] * 1000}.npz") as given:
        np.testing.assert_array_equal(voxels.label, given["label"])
    # The sample is the front camera's, the labels are the LiDAR's.
    expected = invert(matrix(front[1]["pose"])) @ matrix(lidar[1]["pose"])
    assert np.linalg.norm(expected[:3, 3]) > 0.05
    np.testing.assert_allclose(voxels.base_from_labels, expected, atol=1e-6)


def test_labels_become_truth(dataroot: Path, occ3d: Path, folder: Path) -> None:
    described = yaml.safe_load((folder / "truth" / "labels.yaml").read_text())
    assert (len(described["classes"]), described["free"]) == (17, 17)
    assert described["grid"] == {"lower": [-40.0, -40.0, -1.0], "cells": [200, 200, 16], "voxel_size": 0.4}
    samples = table(dataroot, "sample").values()
    assert {int(file.stem) for file in (folder / "truth" / "voxels").iterdir()} == {
        sample["timestamp"] * 1000 for sample in samples
    }
    for sample in samples:
        given = np.load(next(occ3d.glob(f"gts/*/{sample['token']}/labels.npz")))
        with np.load(folder / "truth" / "voxels" / f"{sample['timestamp'] * 1000}.npz") as found:
            np.testing.assert_array_equal(found["label"], given["semantics"])
            np.testing.assert_array_equal(found["mask_camera"], given["mask_camera"])
            np.testing.assert_array_equal(found["mask_lidar"], given["mask_lidar"])
