# SPDX-License-Identifier: Apache-2.0
"""Layouts: presets, proposals, foreign topics, calibrations that no topic has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from selfocc_ros.configuration import ConfigError
from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.poses import matrix_to_quaternion
from selfocc_ros.resources import resource
from selfocc_ros.sensing.layout import PRESETS, Layout, load_layout
from selfocc_training.dataset.dataset import Dataset
from selfocc_training.dataset.prepare import prepare
from selfocc_training.dataset.proposal import propose

Rewrite = Callable[..., Path]
NUSCENES = {"back": "/cam_back/raw", "front": "/cam_front/raw", "left": "/cam_front_left/raw"}


def _rows(root: Path) -> list[dict[str, Any]]:
    return [sample.to_row() for sample in Dataset.open(root).samples("train")]


@pytest.mark.parametrize("name", [path.stem for path in resource(PRESETS).glob("*.yaml")])
def test_presets_load_and_survive_being_written(name: str) -> None:
    layout = load_layout(name)
    assert (
        Layout.from_dict(yaml.safe_load(yaml.safe_dump(layout.to_dict())), "again").fingerprint()
        == layout.fingerprint()
    )


def test_a_proposal_can_be_passed_back(bag: Path, prepared: Path, tmp_path: Path) -> None:
    prepare([bag], tmp_path / "again", str(prepared / "layout.yaml"))
    assert (tmp_path / "again" / "index.parquet").read_bytes() == (prepared / "index.parquet").read_bytes()


def test_a_proposal_finds_frames_of_other_names(tmp_path: Path, bag: Path, rewrite: Rewrite) -> None:
    names = {"odom": "earth", "base_link": "chassis"}

    def rename(topic: str, _: int, msg: Any) -> tuple[str, Any]:
        for item in getattr(msg, "transforms", ()):
            item.header.frame_id = names.get(item.header.frame_id, item.header.frame_id)
            item.child_frame_id = names.get(item.child_frame_id, item.child_frame_id)
        return topic, msg

    layout = propose(rewrite(bag, tmp_path / "renamed", rename))
    assert (layout.base_frame, layout.fixed_frame) == ("chassis", "earth")
    assert list(layout.cameras) == ["back", "front", "left"]


def test_foreign_topics_by_yaml(bag: Path, prepared: Path, rewrite: Rewrite, tmp_path: Path) -> None:
    def rename(topic: str, _: int, msg: Any) -> tuple[str, Any]:
        parts = topic.split("/")
        if parts[1] != "camera":
            return topic, msg
        return (f"/calib_{parts[2]}" if topic.endswith("info") else f"/sensors/{parts[2]}/jpg"), msg

    foreign = rewrite(bag, tmp_path / "drive", rename)
    with pytest.raises(SelfOccError, match=r"/sensors/back/jpg, /sensors/front/jpg"):
        prepare([foreign], tmp_path / "proposed")
    layout = tmp_path / "layout.yaml"
    layout.write_text('cameras:\n  "*": {image: /sensors/*/jpg, info: /calib_*}\n')
    prepare([foreign], tmp_path / "dataset", str(layout))
    assert _rows(tmp_path / "dataset") == _rows(prepared)
    with pytest.raises(SelfOccError, match="has none of the layout's images"):
        prepare([bag], tmp_path / "dataset")


def test_intrinsics_and_mountings_from_the_layout(bag: Path, prepared: Path, rewrite: Rewrite, tmp_path: Path) -> None:
    from recorded_drives import CAMERAS

    def rename(topic: str, _: int, msg: Any) -> tuple[str, Any] | None:
        parts = topic.split("/")
        if topic.endswith("camera_info") or topic == "/tf_static":
            return None
        if parts[1] != "camera":
            return topic, msg
        msg.header.frame_id = ""
        return NUSCENES[parts[2]], msg

    bare = rewrite(bag, tmp_path / "drive", rename)
    with pytest.raises(SelfOccError, match="pass --layout nuscenes2bag, or a YAML file"):
        prepare([bare], tmp_path / "proposed")
    with pytest.raises(SelfOccError, match="has no calibration of camera 'front'"):
        prepare([bare], tmp_path / "failed", "nuscenes2bag")
    cameras = {
        {"left": "front_left"}.get(name, name): {
            "intrinsics": {"width": 64, "height": 36, "k": [40, 0, 32, 0, 40, 18, 0, 0, 1]},
            "extrinsics": {
                "translation": mounted.base_from_camera[:3, 3].tolist(),
                "quaternion": matrix_to_quaternion(mounted.base_from_camera[:3, :3]).tolist(),
            },
        }
        for name, mounted in CAMERAS.items()
    }
    layout = tmp_path / "mine.yaml"
    layout.write_text(yaml.safe_dump({"preset": "nuscenes2bag", "cameras": cameras}))
    prepare([bare], tmp_path / "dataset", str(layout))
    found, expected = Dataset.open(tmp_path / "dataset"), Dataset.open(prepared)
    for one, other in zip(found.samples("train"), expected.samples("train"), strict=True):
        for name in ("front", "back"):
            a, b = one.image(name), other.image(name)
            assert a is not None
            assert b is not None
            np.testing.assert_array_equal(a.camera.matrix, b.camera.matrix)
            np.testing.assert_allclose(a.odom_from_camera, b.odom_from_camera, atol=1e-9)


def test_stamps_of_receive_time(bag: Path, rewrite: Rewrite, tmp_path: Path) -> None:
    def unstamp(topic: str, _: int, msg: Any) -> tuple[str, Any]:
        if topic.startswith("/camera"):
            msg.header.stamp.sec = msg.header.stamp.nanosec = 0
        return topic, msg

    layout = tmp_path / "received.yaml"
    layout.write_text("preset: town\nstamp: receive\n")
    prepare([rewrite(bag, tmp_path / "unstamped", unstamp)], tmp_path / "dataset", str(layout))
    dataset = Dataset.open(tmp_path / "dataset")
    assert len(dataset) >= 29
    assert np.all(np.diff(dataset.stamps_ns) == 100_000_000)


def test_a_layout_that_failed_can_be_mended_in_place(bag: Path, prepared: Path, tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    (tmp_path / "wrong.yaml").write_text("preset: town\nfixed_frame: map\n")
    with pytest.raises(SelfOccError, match="without odometry"):
        prepare([bag], root, str(tmp_path / "wrong.yaml"))
    (root / "layout.yaml").write_text((root / "layout.yaml").read_text().replace("map", "odom"))
    prepare([bag], root)
    assert (root / "index.parquet").read_bytes() == (prepared / "index.parquet").read_bytes()


@pytest.mark.fault
def test_fault_another_layout_needs_another_folder(bag: Path, tmp_path: Path) -> None:
    prepare([bag], tmp_path / "dataset")
    with pytest.raises(SelfOccError, match="was prepared with another layout"):
        prepare([bag], tmp_path / "dataset", "dataset_bridge")


@pytest.mark.fault
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cameras: {}", "must map camera names"),
        ("cameras: {front: {imgae: /a}}", "did you mean 'image'"),
        ("cameras: {front: {image: /a}}\nfixed_farme: map", "did you mean 'fixed_frame'"),
        ("cameras: {../front: {image: /a}}", "needs a name of letters"),
        ("cameras: {front: {image: /a}}\nstamp: now", "'header' or 'receive'"),
    ],
)
def test_fault_wrong_layouts(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        load_layout(str(tmp_path / "wrong.yaml"))
