# SPDX-License-Identifier: Apache-2.0
"""`selfocc demo`: a drive, the node over DDS, scores against the truth, and live equal to offline."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from recorded_drives import write_drive

from selfocc_ros.cli import main
from selfocc_ros.cli.demo import find_recording, fingerprint, require_ros
from selfocc_ros.cli.live_scores import Comparison, Published, spread
from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.voxels import OCC3D
from selfocc_ros.logs.reader import Bag
from selfocc_ros.town.rigs import load_rig
from selfocc_ros.town.write import write_drive as write_town

ros = pytest.mark.skipif(
    importlib.util.find_spec("rclpy") is None or importlib.util.find_spec("tf2_msgs") is None,
    reason="rclpy or tf2_msgs is not installed",
)
FIGURES = {
    f"{name}{suffix}"
    for name in ("iou", "iou_above_ground", "abs_rel", "abs_rel_above_ground")
    for suffix in ("", "_flat_ground", "_blind")
}


@ros
def test_a_drive_is_played_scored_and_pictured(
    tmp_path: Path, untrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    command = ["demo", "--short", "--seconds", "3", "--rig", "front1", "--checkpoint", str(untrained)]
    command += ["--out", str(out)]
    assert main(command) == 0
    words = capsys.readouterr().out
    assert "live equals offline" in words
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics) >= FIGURES
    assert all(metrics[name] is not None for name in FIGURES)
    assert metrics["frames_in"] == 30
    assert 1 <= metrics["frames_out"] <= 30
    assert metrics["frames_missed_at_start"] <= metrics["frames_in"] - metrics["frames_out"]
    assert 0 < metrics["latency_ms_p50"] <= metrics["latency_ms_p95"]
    assert metrics["rate_hz"] > 0
    assert metrics["live_equals_offline_differ"] <= 0.001
    assert metrics["compared"] == metrics["frames_out"]
    assert metrics["not_in_recording"] == 0
    assert metrics["scored"] == min(6, metrics["frames_out"])
    assert metrics["town"] == 9000
    picture = cv2.imread(str(out / "demo.png"))
    assert picture is not None
    assert picture.shape[1] > 1200
    with Bag(out / "output") as recorded:
        assert recorded.topics()["/selfocc/occupied_points"].count == metrics["frames_out"]
    # the second run takes the drive of the first
    drive = next(out.glob("drive_*"))
    before = (drive / "town.json").stat().st_mtime_ns
    assert main(command) == 0
    assert (drive / "town.json").stat().st_mtime_ns == before


@ros
def test_any_other_recording_has_no_scores(tmp_path: Path, untrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = write_drive(tmp_path / "own", seconds=3.0)
    out = tmp_path / "demo"
    params = tmp_path / "vehicle.yaml"
    params.write_text("/**:\n  ros__parameters: {ground_z: -0.8, max_skew: 0.05}\n")
    options = ["--checkpoint", str(untrained), "--params", str(params), "--out", str(out), "--json", "-"]
    assert main(["demo", "--bag", str(bag), *options]) == 0
    told = json.loads(capsys.readouterr().out)
    metrics = json.loads((out / "metrics.json").read_text())
    assert told == metrics
    assert not FIGURES & set(metrics)
    assert metrics["frames_in"] == 30
    assert metrics["frames_out"] >= 1
    assert metrics["live_equals_offline_differ"] <= 0.001
    assert metrics["scored"] == 0
    assert (out / "demo.png").is_file()
    assert "ground_z: -0.8" in (out / "session" / "node_parameters.yaml").read_text()


@ros
def test_fault_bad_input_is_one_sentence(tmp_path: Path, untrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "noise.mcap").write_bytes(b"noise" * 100)
    lacking = write_drive(tmp_path / "lacking", infos=False)
    good = write_drive(tmp_path / "good", seconds=0.5)
    for arguments, says in (
        (["--bag", str(tmp_path / "nowhere")], "does not exist"),
        (["--bag", str(tmp_path / "noise.mcap")], "not an MCAP file"),
        (["--bag", str(lacking)], "selfocc check"),
        (["--bag", str(good), "--checkpoint", str(tmp_path / "none.safetensors")], "none.safetensors"),
        (["--seed", "-4"], "--seed"),
        (["--rig", "rocket"], "rocket"),
    ):
        checkpoint = [] if "--checkpoint" in arguments else ["--checkpoint", str(untrained)]
        assert main(["demo", "--out", str(tmp_path / "demo"), *checkpoint, *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("selfocc: ")
        assert error.count("\n") == 1
        assert says in error


def test_fault_without_ros_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "rclpy" else found(name, *rest)
    )
    with pytest.raises(SelfOccError, match="rclpy is not installed here: source an installed ROS 2"):
        require_ros()


def test_a_town_is_recognised_by_what_lies_beside_it(tmp_path: Path) -> None:
    write_town(3, 1.0, load_rig("front1"), tmp_path / "town", rate_hz=4)
    for path in (tmp_path / "town", tmp_path / "town" / "bag"):
        bag, truth = find_recording(path)
        assert bag == tmp_path / "town" / "bag"
        assert truth.town.seed == 3
    own = write_drive(tmp_path / "own", seconds=0.2)
    assert find_recording(own) == (own, None)


def test_published_points_become_the_voxels_that_they_lie_in(tmp_path: Path) -> None:
    from rosbags.typesys import Stores, get_typestore

    from selfocc_ros.logs import messages
    from selfocc_ros.logs.writer import BagWriter

    types = get_typestore(Stores.ROS2_HUMBLE).types
    voxels = np.zeros(OCC3D.shape, bool)
    voxels[tuple(np.random.default_rng(0).integers(0, OCC3D.shape, (500, 3)).T)] = True
    centres = OCC3D.centres()[voxels]
    packed = np.zeros(len(centres), np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4")]))
    for axis, name in enumerate("xyz"):
        packed[name] = centres[:, axis]
    field = types["sensor_msgs/msg/PointField"]
    fields = [field(name=name, offset=4 * i, datatype=7, count=1) for i, name in enumerate(("x", "y", "z", "rgb"))]
    cloud = types["sensor_msgs/msg/PointCloud2"](
        header=messages.header(123, "base_link"), height=1, width=len(packed), fields=fields, is_bigendian=False,
        point_step=16, row_step=16 * len(packed), data=np.frombuffer(packed.tobytes(), np.uint8), is_dense=True,
    )  # fmt: skip
    with BagWriter(tmp_path / "output") as bag:
        bag.add_topic("/points", messages.POINT_CLOUD)
        bag.write("/points", 456, cloud)
    published = Published(tmp_path / "output", "/points", OCC3D)
    assert published.stamps == [123]
    np.testing.assert_array_equal(published.voxels(123), voxels)


def test_comparison_by_hand() -> None:
    a, b = np.zeros((2, 2, 2), bool), np.zeros((2, 2, 2), bool)
    a[0, 0] = True
    b[0, 0, 0] = b[1, 1, 1] = True
    comparison = Comparison()
    comparison.add(a, a)
    comparison.add(a, b)
    assert (comparison.samples, comparison.differing, comparison.occupied) == (2, 2, 5)
    assert comparison.share == pytest.approx(0.4)
    assert comparison.worst == pytest.approx(2 / 3)
    assert Comparison().share == 0.0


@pytest.mark.parametrize(("count", "limit"), [(3, 5), (5, 5), (28, 25), (100, 6), (7, 1)])
def test_an_even_choice_holds_the_middle(count: int, limit: int) -> None:
    stamps = list(range(count))
    chosen = spread(stamps, limit)
    assert len(chosen) == min(count, limit)
    assert stamps[count // 2] in chosen
    assert chosen == sorted(set(chosen))
    if limit > 2:
        assert chosen[0] <= count / limit
        assert chosen[-1] >= count - 1 - count / limit


def test_a_changed_rig_is_rendered_anew() -> None:
    assert fingerprint(load_rig("front1")) == fingerprint(load_rig("front1"))
    assert fingerprint(load_rig("front1")) != fingerprint(load_rig("surround5"))
