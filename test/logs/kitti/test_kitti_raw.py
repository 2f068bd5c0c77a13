# SPDX-License-Identifier: Apache-2.0
"""A miniature of a raw drive: calibration, clocks of four sensors, and poses from latitude and longitude."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kitti_miniature import (
    DRIVE,
    FRAMES,
    P2,
    P3,
    RECTIFICATION,
    SCALE,
    SIZE,
    TR,
    VELODYNE_FROM_IMU,
    imu_pose,
    png,
    scan,
    write_raw,
)

from selfocc_ros.geometry.poses import interpolate, invert
from selfocc_ros.logs.check import check_bag
from selfocc_ros.logs.kitti.drive import base_from_velodyne
from selfocc_ros.logs.kitti.files import KittiError
from selfocc_ros.logs.kitti.oxts import cover, poses_from_oxts
from selfocc_ros.logs.kitti.raw import open_raw_drive
from selfocc_ros.logs.kitti.write import write_drive
from selfocc_ros.logs.reader import Bag
from selfocc_ros.logs.samples import SampleReader

FIRST_NS = 1_317_042_145_064_389_445  # 2011-09-26 13:02:25.064389445, read as UTC


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kitti")
    write_raw(root)
    write_drive(open_raw_drive(root, DRIVE), root / "out")
    return root / "out"


@pytest.fixture(scope="module")
def reader(converted: Path) -> SampleReader:
    """Has read everything, so that its tree knows all transforms."""
    reader = SampleReader(converted / "bag")
    assert len(list(reader.samples())) == FRAMES
    return reader


def test_transforms_at_image_stamps_are_the_files_chain(reader: SampleReader) -> None:
    """Images lie 4 ms before the poses: the first is beyond them, the others between two."""
    imu_from_base = np.linalg.inv(base_from_velodyne() @ VELODYNE_FROM_IMU)
    poses = np.stack([imu_pose(frame) for frame in range(FRAMES)]) @ imu_from_base
    for name, projection, offset in (("left", P2, 0), ("right", P3, 130_000)):
        camera_from_rectified = np.eye(4)
        camera_from_rectified[:3, 3] = np.linalg.inv(projection[:, :3]) @ projection[:, 3]
        base_from_camera = base_from_velodyne() @ np.linalg.inv(camera_from_rectified @ TR)
        stamps = [FIRST_NS + offset + frame * 10**8 for frame in range(FRAMES)]
        world = []
        for frame in range(FRAMES):
            before = max(0, frame - 1)
            between = frame - before + (offset - 4_000_000) / 1e8
            world.append(interpolate(poses[before], poses[before + 1], between) @ base_from_camera)
        first = reader.tree.lookup("odom", f"camera_{name}_optical", stamps[0])
        for stamp, world_from_camera in zip(stamps, world, strict=True):
            found = reader.tree.lookup("odom", f"camera_{name}_optical", stamp)
            np.testing.assert_allclose(invert(first) @ found, invert(world[0]) @ world_from_camera, atol=1e-6)


def test_transforms_at_the_poses_own_stamps_are_the_registrations_chain(reader: SampleReader) -> None:
    imu_from_velodyne = np.linalg.inv(VELODYNE_FROM_IMU)
    stamps = [FIRST_NS + 4_000_000 + frame * 10**8 for frame in range(FRAMES)]
    found = [reader.tree.lookup("odom", "velodyne", stamp) for stamp in stamps]
    for frame in range(FRAMES):
        moved = invert(imu_pose(0) @ imu_from_velodyne) @ imu_pose(frame) @ imu_from_velodyne
        np.testing.assert_allclose(invert(found[0]) @ found[frame], moved, atol=1e-6)


def test_registrations_are_chained_as_the_devkit_says(reader: SampleReader) -> None:
    """Pixels are P_rect R_rect Tr X."""
    points = np.array([[10.0, 1.0, -1.0, 1.0], [25.0, -4.0, 0.5, 1.0]])
    camera_from_velodyne = invert(RECTIFICATION) @ TR
    for name, projection in (("left", P2), ("right", P3)):
        pixels = (SCALE @ projection @ RECTIFICATION @ camera_from_velodyne @ points.T).T
        found, _ = reader.models[name].project(
            (reader.tree.lookup(f"camera_{name}_optical", "velodyne") @ points.T).T[:, :3]
        )
        np.testing.assert_allclose(found, pixels[:, :2] / pixels[:, 2:], atol=1e-5)


def test_messages_hold_the_files_at_their_own_stamps(converted: Path) -> None:
    with Bag(converted / "bag") as bag:
        found: dict[str, list] = {}
        for topic, _, msg in bag.messages():
            found.setdefault(topic, []).append(msg)
    for seed, (name, offset) in enumerate((("left", 0), ("right", 130_000))):
        images = found[f"/camera/{name}/image_rect_color/compressed"]
        assert [bytes(image.data) for image in images] == [png(100 * seed + frame) for frame in range(FRAMES)]
        stamps = [image.header.stamp.sec * 10**9 + image.header.stamp.nanosec for image in images]
        assert stamps == [FIRST_NS + offset + frame * 10**8 for frame in range(FRAMES)]
        np.testing.assert_allclose(found[f"/camera/{name}/camera_info"][0].k.reshape(3, 3), SCALE @ P2[:, :3])
    clouds = found["/velodyne_points"]
    assert [bytes(cloud.data) for cloud in clouds] == [scan(frame).tobytes() for frame in range(FRAMES)]
    assert clouds[0].header.stamp.nanosec == (FIRST_NS - 2_000_000) % 10**9


def test_check_is_content(converted: Path) -> None:
    report = check_bag(converted / "bag")
    assert report.verdict == "The node can run on this recording."
    assert report.complete_sets == FRAMES
    assert report.notes == report.advice == []


def test_mercator_is_true_at_the_first_latitude() -> None:
    """On the sphere, metres to the north are r dlat and to the east r cos(lat) dlon."""
    radius = 6378137.0
    north, east = 30.0, -40.0
    records = np.zeros((2, 30))
    records[:, 0] = 49.0, 49.0 + np.degrees(north / radius)
    records[:, 1] = 8.4, 8.4 + np.degrees(east / radius / np.cos(np.radians(49.0)))
    records[:, 2] = 100.0, 101.0
    moved = np.diff(poses_from_oxts(records)[:, :3, 3], axis=0)[0]
    np.testing.assert_allclose(moved, [east, north, 1.0], atol=1e-3)


def test_angles_are_those_of_the_devkit() -> None:
    """Yaw 0 is east and counts to the left; pitch is positive with the front down; roll with the left side up."""
    records = np.zeros((4, 30))
    records[1, 5], records[2, 4], records[3, 3] = np.pi / 2, 0.1, 0.1
    _, turned, pitched, rolled = poses_from_oxts(records)
    np.testing.assert_allclose(turned[:3, 0], [0, 1, 0], atol=1e-12)
    assert pitched[2, 0] < -0.09
    assert rolled[2, 1] > 0.09


def test_poses_are_carried_on_to_the_outermost_images_and_no_further() -> None:
    poses = np.stack([imu_pose(frame) for frame in range(3)])
    stamps, covered = cover((100, 200, 300), poses, 96, 330)
    assert stamps == [96, 100, 200, 300, 330]
    np.testing.assert_allclose(interpolate(covered[0], covered[2], 4 / 104), poses[0], atol=1e-12)
    np.testing.assert_allclose(interpolate(covered[2], covered[4], 100 / 130), poses[2], atol=1e-12)
    assert cover((100, 200, 300), poses, 120, 401)[0] == [100, 200, 300]
    assert cover((100,), poses[:1], 90, 110)[0] == [100]


def test_names_without_sync_and_a_days_folder_are_understood(tmp_path: Path) -> None:
    folder = write_raw(tmp_path, frames=2)
    assert open_raw_drive(tmp_path, DRIVE.removesuffix("_sync")).name == DRIVE
    assert open_raw_drive(folder.parent, DRIVE).name == DRIVE


def test_scans_that_kitti_lacks_are_left_out(tmp_path: Path) -> None:
    folder = write_raw(tmp_path, frames=3) / "velodyne_points"
    (folder / "data" / "0000000001.bin").unlink()
    drive = open_raw_drive(tmp_path, DRIVE)
    assert (len(drive.scans), drive.missing_scans) == (2, ("0000000001.bin",))


def _write(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


@pytest.mark.fault
@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda f: (f.parent / "calib_imu_to_velo.txt").unlink(), "calib_imu_to_velo.txt is missing"),
        (_write("../calib_velo_to_cam.txt", "R: 1 0 0 0 1 0 0 0 3\nT: 0 0 0\n"), "R is no rotation"),
        (_write("../calib_velo_to_cam.txt", "R: 1 0 0 0 1 0 0 0 1\n"), "calib_velo_to_cam.txt has no entry T, found R"),
        (lambda f: (f / "image_02/data/0000000001.png").unlink(), "lacks 1 of 3 files, the first is 0000000001.png"),
        (_write("image_02/timestamps.txt", "yesterday\n"), "line 1 is 'yesterday', expected a date and time"),
        (_write("image_02/timestamps.txt", "2011-09-26 13:02:25.9\n\n2011-09-26 13:02:26.1\n"), "line 2 is empty"),
        (_write("image_02/timestamps.txt", ""), "timestamps.txt is empty"),
        (lambda f: (f / "oxts/data/0000000000.txt").unlink(), "oxts/data lacks 1 of 3 files"),
        (_write("oxts/data/0000000002.txt", "49.0 8.4 112.0"), "0000000002.txt is damaged: .* expected 30 numbers"),
        (_write("oxts/data/0000000002.txt", ""), "0000000002.txt is damaged: it has 0 lines, expected 1"),
    ],
)
def test_fault_damaged_files_are_told_in_a_sentence(
    tmp_path: Path, spoil: Callable[[Path], None], sentence: str
) -> None:
    spoil(write_raw(tmp_path, frames=3))
    with pytest.raises(KittiError, match=sentence):
        open_raw_drive(tmp_path, DRIVE)


@pytest.mark.fault
def test_fault_images_of_another_size(tmp_path: Path) -> None:
    folder = write_raw(tmp_path, frames=2)
    path = folder.parent / "calib_cam_to_cam.txt"
    path.write_text(path.read_text().replace(f"S_rect_02: {SIZE[0]:e}", "S_rect_02: 1242"))
    with pytest.raises(KittiError, match=r"0000000000\.png is 62x19, but the day's calibration is for 1242x19"):
        write_drive(open_raw_drive(tmp_path, DRIVE), tmp_path / "out")


@pytest.mark.fault
def test_fault_unknown_drive_is_told_with_those_there_are(tmp_path: Path) -> None:
    write_raw(tmp_path, frames=1)
    with pytest.raises(KittiError, match=f"has no drive 2011_09_26_drive_0002_sync, found {DRIVE}"):
        open_raw_drive(tmp_path, "2011_09_26_drive_0002")
    with pytest.raises(KittiError, match="neither synchronised nor rectified"):
        open_raw_drive(tmp_path, "2011_09_26_drive_0001_extract")
