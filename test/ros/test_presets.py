# SPDX-License-Identifier: Apache-2.0
"""Recordings of each preset's kind through the node, over DDS: all cameras in every set, and live equals offline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from live_node import ACTIVATE, CLEANUP, CONFIGURE, DEACTIVATE, LiveNode, live_node
from preset_drives import STYLES, calibrations, write_preset_drive
from sensor_msgs.msg import PointCloud2

from selfocc_ros.logs.samples import SampleReader
from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.resources import resource
from selfocc_ros.ros import qos
from selfocc_ros.sensing.layout import PRESETS
from selfocc_ros.sensing.rig_source import RigSource


def parameters_of(preset: str, folder: Path) -> dict[str, Any]:
    """What a user of this preset sets."""
    given: dict[str, Any] = {"preset": preset}
    if not STYLES[preset].info:
        given["calibration_file"] = str(folder / "calibration.yaml")
        (folder / "calibration.yaml").write_text(yaml.safe_dump(calibrations()))
    return given


def test_every_preset_is_tried_here() -> None:
    assert {path.stem for path in resource(PRESETS).glob("*.yaml")} == set(STYLES)


@pytest.mark.parametrize("preset", STYLES)
def test_a_recording_gives_whole_samples_offline(preset: str, tmp_path: Path) -> None:
    source = RigSource.of(NodeParameters.of(parameters_of(preset, tmp_path)))
    samples = list(SampleReader(write_preset_drive(tmp_path / "bag", preset), source).samples())
    style = STYLES[preset]
    assert len(samples) >= style.frames - 1
    for sample in samples[1:-1]:
        assert set(sample.rig.names) == set(style.phases)
        assert not sample.problems
    assert {camera.fingerprint() for sample in samples for camera in sample.rig.cameras} == {
        samples[0].rig.cameras[0].fingerprint()
    }


@pytest.fixture(scope="module")
def node(fake_command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    """One node for all of them: each preset is a new configuration."""
    parameters = ("use_sim_time:=true", "tf_wait:=2.0", "autostart:=false", "surface_only:=false")
    with live_node(tmp_path_factory.mktemp("presets"), fake_command, *parameters) as out:
        yield out


@pytest.mark.parametrize("preset", [name for name in STYLES if name != "town"])  # town is what all other tests play
def test_live_equals_offline(preset: str, node: LiveNode, fake_predictor: Any, tmp_path: Path) -> None:
    given = parameters_of(preset, tmp_path)
    bag = write_preset_drive(tmp_path / "bag", preset)
    predictor = fake_predictor()
    offline = {
        sample.stamp_ns: voxels(predictor.predict(sample).volume.occupied_centres())
        for sample in SampleReader(bag, RigSource.of(NodeParameters.of(given))).samples()
    }
    assert len(set(offline.values())) == len(offline)

    assert node.set(**{"calibration_file": "", **given}).successful
    assert node.change(CONFIGURE), node.log()
    assert node.change(ACTIVATE)
    clouds = node.hear(PointCloud2, "/selfocc/occupied_points", qos.POINTS)
    name = f"player of {preset}"
    node.processes.start_module(name, "selfocc_ros.ros.bag_player", str(bag), "--wait-for-node", "selfocc")
    node.until(lambda: name in node.processes.ended(), "the end of the recording")
    assert node.processes.ended()[name] == 0, node.processes.last_line(name)
    late = sorted(offline)[-3]
    node.until(lambda: clouds and stamp_ns(clouds[-1]) >= late, "the last sets")
    assert node.change(DEACTIVATE)
    assert node.change(CLEANUP)

    published = [(stamp_ns(cloud), voxels(np.frombuffer(cloud.data, "<f4").reshape(-1, 4)[:, :3])) for cloud in clouds]
    assert len(published) >= 3
    if STYLES[preset].empty_headers:
        # Stamped when they were received: not the same times, but the same images; and what comes in one after the
        # other may, on a busy machine, be told apart otherwise than when it was recorded.
        assert sum(points in offline.values() for _, points in published) >= 0.5 * len(published)
    else:
        assert {stamp: points == offline[stamp] for stamp, points in published} == {
            stamp: True for stamp, _ in published
        }


def stamp_ns(message: Any) -> int:
    return int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec)


def voxels(points: Any) -> bytes:
    """The points as something that can be compared."""
    return np.round(np.asarray(points, np.float64), 3).tobytes()


@pytest.mark.fault
def test_fault_a_preset_without_its_calibration_says_what_is_missing(tmp_path: Path) -> None:
    bag = write_preset_drive(tmp_path / "bag", "nuscenes2bag")
    reader = SampleReader(bag, RigSource.of(NodeParameters(preset="nuscenes2bag")))
    assert not list(reader.samples())
    assert reader.calibration_problems["front"] == (
        "camera 'front' (/cam_front/raw) has no CameraInfo: give its intrinsics in calibration_file or in the preset"
    )
