# SPDX-License-Identifier: Apache-2.0
"""Written drives, read back by the package's own reader."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from selfocc_ros.cli import main
from selfocc_ros.configuration import ConfigError
from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.poses import interpolate
from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_ros.logs.reader import Bag
from selfocc_ros.logs.samples import iterate_samples
from selfocc_ros.sensing.decode import decode
from selfocc_ros.town.rigs import RigSpec, load_rig
from selfocc_ros.town.truth import TownTruth, time_of
from selfocc_ros.town.write import write_drive

SECONDS, SEED = 0.6, 41


def small_rig() -> RigSpec:
    values = load_rig("surround6").to_dict()
    values["cameras"] = {name: {**camera, "width": 192, "height": 108} for name, camera in values["cameras"].items()}
    return RigSpec.from_dict(values)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("drive") / "town"
    seen: list[tuple[int, int]] = []
    bag = write_drive(SEED, SECONDS, small_rig(), out, progress=lambda done, total: seen.append((done, total)))
    assert bag == out / "bag"
    assert seen == [(k + 1, 6) for k in range(6)]
    return out


def nanoseconds(stamp: object) -> int:
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)  # type: ignore[attr-defined]


def test_topics_and_stamps(drive: Path) -> None:
    described = json.loads((drive / "town.json").read_text())
    with Bag(drive / "bag") as bag:
        topics = bag.topics()
        stamps: dict[str, list[int]] = {}
        received: list[int] = []
        for topic, receive_ns, message in bag.messages(list(topics)):
            received.append(receive_ns)
            if topic.endswith("compressed"):
                stamps.setdefault(topic.split("/")[2], []).append(nanoseconds(message.header.stamp))
                assert receive_ns > stamps[topic.split("/")[2]][-1]
    assert stamps == described["camera_stamps_ns"]
    assert set(stamps) == set(small_rig().names)
    assert topics["/tf_static"].count == 1
    assert topics["/tf"].count == topics["/odom"].count
    assert received == sorted(received)
    offsets = [camera["offset"] for camera in described["rig"]["cameras"].values()]
    assert offsets != [camera.offset for _, camera in small_rig().cameras]


def test_transforms_cover_and_give_the_pose_of_every_image(drive: Path) -> None:
    truth = TownTruth.load(drive)
    described = json.loads((drive / "town.json").read_text())
    poses: list[tuple[int, np.ndarray]] = []
    with Bag(drive / "bag") as bag:
        for _, _, message in bag.messages(["/tf"]):
            for transform in message.transforms:
                t, q = transform.transform.translation, transform.transform.rotation
                x, y, z, w = q.x, q.y, q.z, q.w
                rotation = np.array([[1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                                     [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                                     [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]])  # fmt: skip
                pose = np.eye(4)
                pose[:3, :3], pose[:3, 3] = rotation, (t.x, t.y, t.z)
                poses.append((nanoseconds(transform.header.stamp), pose))
    times = np.array([stamp for stamp, _ in poses])
    assert 50.0 <= 1e9 / np.diff(times).max() <= 101.0
    for stamps in described["camera_stamps_ns"].values():
        for stamp in stamps:
            after = int(np.searchsorted(times, stamp))
            assert 0 < after < len(times)
            share = (stamp - times[after - 1]) / (times[after] - times[after - 1])
            between = interpolate(poses[after - 1][1], poses[after][1], share)
            np.testing.assert_allclose(between, truth.town.drive.odom_from_base(time_of(stamp)), atol=2e-3)


def test_samples_hold_the_rig_and_the_pictures_of_the_truth(drive: Path) -> None:
    truth = TownTruth.load(drive)
    samples = [sample for sample in iterate_samples(drive / "bag") if len(sample.frames) == 6]
    assert len(samples) >= 4
    # The reference is whichever camera the synchroniser takes; the truth follows it.
    sample = samples[2]
    frame = truth.frame(sample.stamp_ns)
    assert sorted(f.stamp_ns for f in sample.frames) == sorted(frame.stamps_ns)
    assert set(sample.rig.names) == set(frame.rig.names)
    for i, name in enumerate(sample.rig.names):
        k = frame.rig.names.index(name)
        np.testing.assert_allclose(sample.rig.base_from_camera[i], frame.rig.base_from_camera[k], atol=2e-3)
        np.testing.assert_allclose(sample.rig.cameras[i].matrix, frame.rig.cameras[k].matrix)
        picture = decode(sample.frames[i])
        again = cv2.imdecode(
            cv2.imencode(".jpg", frame.views[k].image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1], 1
        )
        assert np.abs(picture.astype(int) - again[..., ::-1].astype(int)).mean() < 1.0


def test_truth_is_made_again_from_the_description(drive: Path) -> None:
    truth = TownTruth.load(drive)
    grid = VoxelGrid((-20.0, -20.0, -1.0), (20.0, 20.0, 3.0), (100, 100, 10))
    stamp = truth.stamps_ns[3]
    volume, again = truth.volume(stamp, grid), TownTruth.load(drive).volume(stamp, grid)
    np.testing.assert_array_equal(volume.classes, again.classes)
    np.testing.assert_array_equal(volume.camera_mask, again.camera_mask)
    occupied = volume.classes != 17
    assert 0.1 < occupied.mean() < 0.9
    assert (volume.camera_mask & volume.above_ground & occupied).sum() > 100
    assert (volume.camera_mask & ~occupied).sum() > 1000


def test_stored_truth_equals_truth_made_again(tmp_path: Path) -> None:
    values = small_rig().to_dict()
    values["cameras"] = {"front": values["cameras"]["front"]}
    spec = RigSpec.from_dict(values)
    write_drive(SEED, 0.1, spec, tmp_path / "t", save_truth=True)
    write_drive(SEED, 0.1, spec, tmp_path / "noisy", save_truth=True, class_noise=0.1)
    truth, folder = TownTruth.load(tmp_path / "t"), tmp_path / "t" / "truth"
    (stored,) = (folder / "voxels").iterdir()
    volume, frame = truth.volume(int(stored.stem)), truth.frame(int(stored.stem))
    with np.load(stored) as arrays:
        np.testing.assert_array_equal(arrays["label"], volume.classes)
        np.testing.assert_array_equal(arrays["mask_camera"], volume.camera_mask)
        np.testing.assert_array_equal(arrays["above_ground"], volume.above_ground)
    view, name = frame.views[0], f"front/{frame.stamps_ns[0]}.png"
    classes = cv2.imread(str(folder / "classes" / name), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(classes, view.classes)
    depth = cv2.imread(str(folder / "depth" / name), cv2.IMREAD_UNCHANGED)
    assert depth.dtype == np.uint16
    seen = view.depth < 255.0
    np.testing.assert_allclose(depth[seen] / 256.0, view.depth[seen], atol=1 / 512)
    assert not depth[~seen].any()
    noisy = cv2.imread(str(tmp_path / "noisy" / "truth" / "classes" / name), cv2.IMREAD_UNCHANGED)
    assert (noisy != classes).mean() == pytest.approx(0.1, abs=1e-3)


def test_a_drive_is_never_overwritten(drive: Path) -> None:
    with pytest.raises(SelfOccError, match="exists already"):
        write_drive(SEED, SECONDS, small_rig(), drive)


def test_a_folder_without_a_town_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"town\.json"):
        TownTruth.load(tmp_path)
    (tmp_path / "town.json").write_text('{"seed": 1}')
    with pytest.raises(ConfigError, match="'seconds' is missing"):
        TownTruth.load(tmp_path)


def test_command_line_writes_and_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, report = tmp_path / "drive", tmp_path / "report.json"
    arguments = ["town", "--seed", "3", "--seconds", "0.2", "--rig", "front1", "--out", str(out), "--stats", "--json"]
    assert main([*arguments, str(report)]) == 0
    told = json.loads(report.read_text())
    assert told["bag"] == str(out / "bag")
    assert told["images"] == {"front": [384, 216]}
    assert "near_not_ground" in capsys.readouterr().out
    assert len(TownTruth.load(out).stamps_ns) == 2


@pytest.mark.fault
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--seed", "1"], "--out DIR"),
        (["--stats", "--seconds", "-1"], "must be positive"),
        (["--stats", "--rig", "nothing"], "surround6"),
        (["--stats", "--truth", "--class-noise", "1.5"], "from 0 to 1"),
        (["--stats", "--class-noise", "0.1"], "needs --truth"),
    ],
)
def test_wrong_arguments_get_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["town", *arguments]) == 2
    assert sentence in capsys.readouterr().err
