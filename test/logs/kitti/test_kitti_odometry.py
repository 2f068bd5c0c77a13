# SPDX-License-Identifier: Apache-2.0
"""A miniature of an odometry sequence: what the recording says is what the files say."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from kitti_miniature import (
    FRAMES,
    P2,
    P3,
    SCALE,
    SIZE,
    TR,
    camera0_pose,
    png,
    scan,
    seconds,
    write_odometry,
    write_voxels,
)

from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.poses import invert
from selfocc_ros.logs.check import check_bag
from selfocc_ros.logs.convert import cloud_points
from selfocc_ros.logs.kitti import write
from selfocc_ros.logs.kitti.drive import base_from_velodyne
from selfocc_ros.logs.kitti.files import KittiError
from selfocc_ros.logs.kitti.odometry import EPOCH_NS, open_sequence
from selfocc_ros.logs.kitti.semantic import CELLS
from selfocc_ros.logs.kitti.write import write_drive
from selfocc_ros.logs.reader import Bag
from selfocc_ros.logs.samples import SampleReader

STAMPS = [EPOCH_NS + round(seconds(frame) * 1e9) for frame in range(FRAMES)]


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kitti")
    nothing = np.zeros(CELLS, np.uint16)
    write_voxels(write_odometry(root), 1, nothing, nothing > 0, nothing > 0)
    write_drive(open_sequence(root, "08"), root / "out")
    return root / "out"


@pytest.fixture(scope="module")
def reader(converted: Path) -> SampleReader:
    """Has read everything, so that its tree knows all transforms."""
    reader = SampleReader(converted / "bag")
    assert len(list(reader.samples())) == FRAMES
    return reader


def chain(frame: int, projection: np.ndarray) -> np.ndarray:
    """The first frame's camera 0 from the camera of a projection at `frame`, from the files alone."""
    camera_from_camera0 = np.eye(4)
    camera_from_camera0[:3, 3] = np.linalg.inv(projection[:, :3]) @ projection[:, 3]
    return camera0_pose(frame) @ np.linalg.inv(camera_from_camera0)


@pytest.mark.parametrize(("camera", "projection"), [("left", P2), ("right", P3)])
def test_transforms_at_image_stamps_are_the_files_chain(
    reader: SampleReader, camera: str, projection: np.ndarray
) -> None:
    # Camera 0 is in no transform: its first pose is what Tr says of the scanner's.
    odom_from_velodyne = reader.tree.lookup("odom", "velodyne", STAMPS[0])
    odom_from_first = odom_from_velodyne @ np.linalg.inv(TR)
    for frame, stamp in enumerate(STAMPS):
        odom_from_camera = reader.tree.lookup("odom", f"camera_{camera}_optical", stamp)
        np.testing.assert_allclose(odom_from_camera, odom_from_first @ chain(frame, projection), atol=1e-6)


def test_points_of_the_scanner_fall_where_the_benchmark_says(reader: SampleReader) -> None:
    """Pixels are P Tr X (devkit)."""
    points = np.array([[10.0, 1.0, -1.0], [25.0, -4.0, 0.5]])
    for name, projection in (("left", P2), ("right", P3)):
        pixels = (SCALE @ projection @ TR @ np.c_[points, np.ones(2)].T).T
        camera_from_velodyne = reader.tree.lookup(f"camera_{name}_optical", "velodyne")
        found, valid = reader.models[name].project(
            points @ camera_from_velodyne[:3, :3].T + camera_from_velodyne[:3, 3]
        )
        assert valid.all()
        np.testing.assert_allclose(found, pixels[:, :2] / pixels[:, 2:], atol=1e-5)


def test_base_link_is_on_the_road_below_the_scanner(reader: SampleReader) -> None:
    assert reader.tree.lookup("odom", "base_link", STAMPS[0]) == pytest.approx(np.eye(4), abs=1e-12)
    assert reader.tree.lookup("base_link", "velodyne")[:3, 3] == pytest.approx([0.0, 0.0, 1.73])
    left, right = (reader.tree.lookup("base_link", f"camera_{name}_optical")[:3, 3] for name in ("left", "right"))
    assert (left[2], right[2]) == pytest.approx((1.65, 1.65), abs=0.03)  # the published height of the cameras
    assert left[1] - right[1] == pytest.approx(0.53, abs=0.01)
    forward = reader.tree.lookup("odom", "base_link", STAMPS[-1])[:3, 3]
    assert forward[0] > 3.5
    assert forward[1] < -0.1  # the bend goes to the right


def test_messages_hold_the_files(converted: Path) -> None:
    with Bag(converted / "bag") as bag:
        found: dict[str, list] = {}
        for topic, receive_ns, msg in bag.messages():
            found.setdefault(topic, []).append(msg)
            if topic not in ("/tf", "/tf_static"):
                assert receive_ns == msg.header.stamp.sec * 10**9 + msg.header.stamp.nanosec
    for number, name in ((2, "left"), (3, "right")):
        images = found[f"/camera/{name}/image_rect_color/compressed"]
        assert [bytes(image.data) for image in images] == [png(10 * number + frame) for frame in range(FRAMES)]
        assert {image.format for image in images} == {"png"}
        assert [i.header.stamp.sec * 10**9 + i.header.stamp.nanosec for i in images] == STAMPS
        infos = found[f"/camera/{name}/camera_info"]
        assert len(infos) == FRAMES
        for info in infos:
            assert (info.width, info.height) == SIZE
            np.testing.assert_allclose(info.k.reshape(3, 3), SCALE @ P2[:, :3])
            assert not info.d.any()
    baseline = -found["/camera/right/camera_info"][0].p[3] / (0.05 * 718.856)
    assert baseline == pytest.approx(0.5327, abs=1e-3)
    assert found["/camera/left/camera_info"][0].p[3] == 0.0
    for frame, cloud in enumerate(found["/velodyne_points"]):
        assert bytes(cloud.data) == scan(frame).tobytes()
        np.testing.assert_array_equal(cloud_points(cloud), scan(frame)[:, :3])
        assert cloud.header.frame_id == "velodyne"


def test_check_is_content(converted: Path) -> None:
    report = check_bag(converted / "bag")
    assert report.verdict == "The node can run on this recording."
    assert report.notes == report.advice == []
    assert report.complete_sets == FRAMES
    assert [camera.notes for camera in report.cameras.values()] == [[], []]


def test_prepare_makes_a_dataset(converted: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from selfocc_training.dataset.dataset import Dataset
    from selfocc_training.dataset.prepare import prepare

    assert prepare([converted / "bag"], tmp_path / "dataset")["samples"] == FRAMES
    dataset = Dataset.open(tmp_path / "dataset")
    grids = {index: dataset.voxels(index) for index in range(FRAMES)}
    assert [index for index, voxels in grids.items() if voxels is not None] == [1]
    assert grids[1].grid.lower == (0.0, -25.6, -0.27)
    assert (grids[1].label == grids[1].free).all()


def test_voxels_lie_beside_the_recording_at_their_frames_stamp(converted: Path) -> None:
    assert json.loads((converted / "kitti.json").read_text())["voxel_grids"] == 1
    assert (converted / "truth" / "labels.yaml").is_file()
    assert [path.name for path in (converted / "truth" / "voxels").iterdir()] == [f"{STAMPS[1]}.npz"]


def test_a_finished_drive_is_not_overwritten_and_a_partial_one_is(tmp_path: Path) -> None:
    write_odometry(tmp_path, frames=2)
    drive = open_sequence(tmp_path, "08")
    description = write_drive(drive, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "kitti.json").read_text()) == description
    with pytest.raises(KittiError, match="holds a converted drive already"):
        write_drive(drive, tmp_path / "out")
    (tmp_path / "out" / "kitti.json").unlink()
    assert write_drive(drive, tmp_path / "out") == description


@pytest.mark.fault
def test_fault_a_full_disk_and_a_stop_leave_nothing_that_seems_finished(
    tmp_path: Path, small_disk: Callable[..., AbstractContextManager[Callable[[int], None]]]
) -> None:
    write_odometry(tmp_path, frames=2)
    drive, out = open_sequence(tmp_path, "08"), tmp_path / "out"
    with pytest.raises(SelfOccError, match="cannot write to") as caught, small_disk(3000):
        write_drive(drive, out)
    assert "\n" not in str(caught.value)
    assert not list(out.glob("bag*"))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_drive(drive, out, stop)
    assert not list(out.glob("bag*"))
    description = write_drive(drive, out)
    (out / "kitti.json").unlink()
    # Only the very last file does not fit.
    with small_disk() as shrink, pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "_description", lambda *_: shrink(100) or description)
        with pytest.raises(SelfOccError):
            write_drive(drive, out)
    assert not (out / "kitti.json").exists()
    assert write_drive(drive, out) == description


def test_one_camera_and_no_scans_are_enough(tmp_path: Path) -> None:
    folder = write_odometry(tmp_path, frames=2)
    for place in (folder / "image_3", folder / "velodyne"):
        for file in place.iterdir():
            file.unlink()
        place.rmdir()
    description = write_drive(open_sequence(tmp_path, "08"), tmp_path / "out")
    assert (description["images"], description["scans"], description["missing_scans"]) == ({"left": 2}, 0, [])


def test_semantickittis_poses_serve_where_kitti_has_none(tmp_path: Path) -> None:
    folder = write_odometry(tmp_path, "11", frames=3)
    (tmp_path / "poses" / "11.txt").rename(folder / "poses.txt")
    drive = open_sequence(tmp_path, "11")
    assert drive.poses_from == folder / "poses.txt"
    camera0_from_base = TR @ invert(base_from_velodyne())
    moved = camera0_from_base @ drive.odom_from_base[2] @ np.linalg.inv(camera0_from_base)
    np.testing.assert_allclose(moved, camera0_pose(2), atol=1e-6)


def _spoil(folder: Path, name: str, content: bytes | None) -> None:
    file = folder / name
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("calib.txt", None, "calib.txt is missing"),
        ("calib.txt", b"P0: 1 2 3\n", "calib.txt has no entry Tr, found P0"),
        ("calib.txt", b"Tr: 1 2 3\n", "Tr has 3 numbers, expected 12"),
        ("calib.txt", b"Tr: 2 0 0 0 0 2 0 0 0 0 2 0\n", "calib.txt: Tr is no rotation: it stretches by 2 to 2"),
        ("times.txt", b"0.0\n0.1\n0.1\n", "time does not increase at line 3"),
        ("times.txt", b"0.0\nten\n0.2\n", "times.txt is damaged: line 2 is 'ten', expected 1 numbers"),
        ("times.txt", b"0.0\n0.1\n", "has 3 poses, but .*times.txt has 2 times"),
        ("image_2/000001.png", None, "image_2 lacks 1 of 3 files, the first is 000001.png"),
        ("image_3/000002.png", png(0)[:-9], "000002.png is damaged: a PNG image of .* bytes without its end"),
        ("image_3/000002.png", b"", "000002.png is damaged: 0 bytes that are no PNG image"),
        ("velodyne/000000.bin", b"12345", "5 bytes are no whole number of points of 16 bytes"),
        ("../../poses/08.txt", None, "sequence 08 has no poses: .*(KITTI has them for 00 to 10)"),
        ("../../poses/08.txt", b"1 0 0 0 0 1 0 0 0 0 -1 0\n" * 3, "08.txt: line 1 is no rotation"),
        ("../../poses/08.txt", b"1 0 0 0\n", "08.txt is damaged: line 1 is '1 0 0 0', expected 12 numbers"),
    ],
)
def test_fault_damaged_files_are_told_in_a_sentence(
    tmp_path: Path, name: str, content: bytes | None, sentence: str
) -> None:
    _spoil(write_odometry(tmp_path, frames=3), name, content)
    with pytest.raises(KittiError, match=sentence):
        write_drive(open_sequence(tmp_path, "08"), tmp_path / "out")


@pytest.mark.fault
def test_fault_unknown_sequence_is_told_with_those_there_are(tmp_path: Path) -> None:
    write_odometry(tmp_path / "dataset", "04", frames=1)
    with pytest.raises(KittiError, match="has no sequence 08, found 04"):
        open_sequence(tmp_path, "08")
    with pytest.raises(KittiError, match="has no sequence 08, found none"):
        open_sequence(tmp_path / "elsewhere", "08")


def test_a_missing_scan_is_told_and_not_needed(tmp_path: Path) -> None:
    (write_odometry(tmp_path, frames=3) / "velodyne" / "000001.bin").unlink()
    drive = open_sequence(tmp_path, "08")
    assert (len(drive.scans), drive.missing_scans) == (2, ("000001.bin",))
