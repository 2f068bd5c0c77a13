# SPDX-License-Identifier: Apache-2.0
"""Recordings of each preset's kind through the node, over DDS: all cameras in every set, and live equals offline."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from preset_drives import STYLES, calibrations, write_preset_drive

from selfocc_ros.logs.samples import SampleReader
from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.resources import resource
from selfocc_ros.ros.session import play_through_node
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
    assert len(samples) >= 2.0 * style.rate_hz
    for sample in samples[1:-1]:
        assert set(sample.rig.names) == set(style.phases)
        assert not sample.problems
    assert {camera.fingerprint() for sample in samples for camera in sample.rig.cameras} == {
        samples[0].rig.cameras[0].fingerprint()
    }


@pytest.mark.parametrize("preset", [name for name in STYLES if name != "town"])  # town is what all other tests play
def test_live_equals_offline(
    preset: str, fake_command: list[str], fake_predictor: Any, read_topic: Any, tmp_path: Path
) -> None:
    given = parameters_of(preset, tmp_path)
    bag = write_preset_drive(tmp_path / "bag", preset)
    result = play_through_node(
        bag,
        tmp_path / "out",
        extra_params={**given, "tf_wait": 2.0, "surface_only": False},
        node_command=fake_command,
    )
    clouds = read_topic(result.output_bag, "/selfocc/occupied_points")
    assert result.frames_in >= 2.0 * STYLES[preset].rate_hz
    assert len(clouds) >= 3, result.node_log.read_text()
    predictor = fake_predictor()
    offline = {
        sample.stamp_ns: voxels(predictor.predict(sample).volume.occupied_centres())
        for sample in SampleReader(bag, RigSource.of(NodeParameters.of(given))).samples()
    }
    assert len(set(offline.values())) == len(offline)
    found = Counter()
    for cloud in clouds:
        stamp_ns = cloud.header.stamp.sec * 10**9 + cloud.header.stamp.nanosec
        points = voxels(np.frombuffer(cloud.data, "<f4").reshape(-1, 4)[:, :3])
        if STYLES[preset].empty_headers:  # stamped when they were received: not the same time, but the same images
            found[points in offline.values()] += 1
        else:
            found[points == offline[stamp_ns]] += 1
    if STYLES[preset].empty_headers:  # what comes in one after the other may be told apart otherwise than when recorded
        assert found[True] >= 0.5 * len(clouds), result.node_log.read_text()
    else:
        assert found == {True: len(clouds)}


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
