# SPDX-License-Identifier: Apache-2.0
"""One parameter file tells `prepare` what it tells the node: frames, cameras, and where the road is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from preset_drives import CAMERA, STYLES, base_from_camera, calibrations, write_preset_drive

from selfocc_ros.logs.records import BagError
from selfocc_ros.parameter_file import load_parameters
from selfocc_ros.resources import resource
from selfocc_ros.sensing.layout import Layout
from selfocc_training.dataset.dataset import Dataset
from selfocc_training.dataset.parquet import DatasetError
from selfocc_training.dataset.prepare import prepare
from selfocc_training.dataset.proposal import propose


def test_a_proposal_follows_what_is_known(bag: Path) -> None:
    names = tuple(propose(bag).cameras)
    known = {"base_frame": "car", "ground_z": -0.4, "cameras": names[1:], "max_wait": 0.1, "checkpoint": "x"}
    layout = propose(bag, known)
    assert (layout.base_frame, layout.fixed_frame, layout.ground_z, layout.max_wait) == ("car", "odom", -0.4, 0.1)
    assert tuple(layout.cameras) == names[1:]
    with pytest.raises(BagError, match="has no camera 'roof', found"):
        propose(bag, {"cameras": ("roof",)})


def test_clips_lie_on_the_road(bag: Path, prepared: Path, tmp_path: Path) -> None:
    description = prepare([bag], tmp_path / "data", vehicle={"ground_z": -0.4})
    assert description["ground_z"] == -0.4
    above, on = Dataset.open(prepared), Dataset.open(tmp_path / "data")
    indices = above.along(0, 3, 0.5)
    assert indices is not None
    there, lowered = above.clip(indices, (64, 48)), on.clip(indices, (64, 48))
    np.testing.assert_array_equal(there.odom_from_camera, lowered.odom_from_camera)
    road = there.odom_from_base @ np.array([0.0, 0.0, -0.4, 1.0])
    np.testing.assert_allclose(lowered.odom_from_base @ np.array([0.0, 0.0, 0.0, 1.0]), road, atol=1e-12)
    # What is stored of samples does not depend on it: the road may be told later.
    assert Layout(ground_z=1.0).fingerprint() == Layout().fingerprint()


def test_a_preset_and_a_calibration_file_of_the_vehicle_make_the_layout(tmp_path: Path) -> None:
    bag = write_preset_drive(tmp_path / "bag", "nuscenes2bag")
    calibration = tmp_path / "calibration.yaml"
    calibration.write_text(yaml.safe_dump(calibrations()))
    vehicle = {"preset": "nuscenes2bag", "calibration_file": str(calibration), "ground_z": -0.3, "min_cameras": 6}
    description = prepare([bag], tmp_path / "data", vehicle=vehicle)
    assert description["samples"] >= STYLES["nuscenes2bag"].frames - 1
    assert description["ground_z"] == -0.3
    assert len(description["cameras"]) == 6
    [sample, *_] = Dataset.open(tmp_path / "data").samples("train")
    image = sample.image("back_left")
    assert image is not None
    np.testing.assert_array_equal(image.camera.matrix, CAMERA.matrix)
    np.testing.assert_allclose(image.base_from_camera[:2, 3], base_from_camera("back_left")[:2, 3], atol=0.4)
    # The layout that is written says the same without the vehicle's files.
    calibration.unlink()
    prepare([bag], tmp_path / "again", str(tmp_path / "data" / "layout.yaml"))
    assert (tmp_path / "again" / "index.parquet").read_bytes() == (tmp_path / "data" / "index.parquet").read_bytes()


@pytest.mark.parametrize(
    "vehicle",
    [
        load_parameters(resource("config/node/default.yaml")),
        {"phases": ("left=0.012", "back=-0.013", "roof=0.5")},
        {"cameras": ("/camera/left", "front"), "max_wait": 0.1},
        {"preset": "slow.yaml"},
        {"preset": "slow.yaml", "max_skew": 0.055, "phases": ("left=0.012",)},
        {"calibration_file": "left.yaml"},
        {"preset": "slow.yaml", "calibration_file": "left.yaml", "ground_z": -0.3},
    ],
)
def test_the_same_command_goes_on(bag: Path, tmp_path: Path, vehicle: dict[str, Any]) -> None:
    (tmp_path / "slow.yaml").write_text("preset: town\nmax_skew: 0.1\nphases: {front: 0.01}\n")
    mounted = {"translation": [0.5, 0.8, 1.6], "rpy": [0.01, 0.02, 1.57], "axes": "body"}
    camera = {"intrinsics": {"width": 64, "height": 36, "k": [40, 0, 31.7, 0, 40, 18, 0, 0, 1]}, "extrinsics": mounted}
    (tmp_path / "left.yaml").write_text(yaml.safe_dump({"cameras": {"left": camera}}))
    vehicle = {name: str(tmp_path / v) if str(v).endswith(".yaml") else v for name, v in vehicle.items()}
    root = tmp_path / "data"
    prepare([bag], root, vehicle=vehicle)
    first = (root / "dataset.json").read_text()
    prepare([bag], root, vehicle=vehicle)
    assert (root / "dataset.json").read_text() == first


@pytest.mark.fault
def test_what_the_vehicles_files_say_now_is_not_passed_over(bag: Path, tmp_path: Path) -> None:
    calibration, preset = tmp_path / "calibration.yaml", tmp_path / "preset.yaml"
    camera = {"intrinsics": {"width": 64, "height": 36, "k": [40, 0, 32, 0, 40, 18, 0, 0, 1]}}
    calibration.write_text(yaml.safe_dump({"cameras": {"left": camera}}))
    preset.write_text("preset: town\nmax_skew: 0.1\n")
    vehicle = {"preset": str(preset), "calibration_file": str(calibration)}
    prepare([bag], tmp_path / "data", vehicle=vehicle)
    camera["intrinsics"]["k"][0] = 80
    calibration.write_text(yaml.safe_dump({"cameras": {"left": camera}}))
    others = "has other intrinsics of camera 'left' than the node's preset and calibration_file give: choose another"
    for changed in (vehicle, {"preset": str(preset)}, {"calibration_file": ""}):
        with pytest.raises(DatasetError, match=others):
            prepare([bag], tmp_path / "data", vehicle=changed)
    preset.write_text("preset: town\nmax_skew: 0.2\n")
    with pytest.raises(DatasetError, match=r"has max_skew 0\.1, but the node's parameters have 0\.2"):
        prepare([bag], tmp_path / "data", vehicle=vehicle)
    with pytest.raises(DatasetError, match="has other images of camera 'back' than the node's preset"):
        prepare([bag], tmp_path / "data", vehicle={"preset": "dataset_bridge", "max_skew": 0.1})


@pytest.mark.fault
@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"layout": "town", "vehicle": {"ground_z": 1.0}}, "by a layout or by the node's parameters, not by both"),
        ({"vehicle": {"base_frame": "car"}}, "has base_frame base_link, but the node's parameters have car"),
        ({"vehicle": {"phases": ("left=0.01",)}}, r"has phases \{\}, but the node's parameters have \{'left': 0.01\}"),
        ({"vehicle": {"cameras": ("left",)}}, "has cameras back, front, left, but the node's parameters have left:"),
    ],
)
def test_what_contradicts_is_refused(prepared: Path, bag: Path, asked: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DatasetError, match=sentence):
        prepare([bag], prepared, **asked)
