# SPDX-License-Identifier: Apache-2.0
"""Bad input over real DDS: one clear message each, the node stays up, and the other frames get through.

One recording with a rig of eight cameras, six of which are at fault in a way of their own, is played once; each test
looks at one fault. That the two sound cameras are not harmed is seen from every published voxel.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfocc_ros.ros.session import SessionResult, play_through_node

pytestmark = pytest.mark.fault

SOUND = ("front", "back")
AT_FAULT = ("torn", "silent", "adrift", "odd", "blank", "short")
RIG = {name: 0.4 * number for number, name in enumerate((*SOUND, *AT_FAULT))}
TORN = range(4, 8)  # frames of camera `torn` whose JPEG is garbage


def harm(topic: str, number: int, message: Any) -> Any:
    """What is wrong with each camera."""
    name, is_image = topic.split("/")[2], topic.endswith("compressed")
    if name == "torn" and is_image and number in TORN:
        message.data = np.frombuffer(b"\xff\xd8\xff\xe0 this is no image", np.uint8)
    elif name == "silent" and is_image and number > 0:
        return None
    elif name == "odd" and is_image:
        message.format = "bgr8; tiff compressed"
        message.data = np.frombuffer(b"II*\0 an image of another kind", np.uint8)
    elif name == "blank" and not is_image:
        message.k = np.full(9, np.nan)
    elif name == "short" and not is_image:
        message.d, message.distortion_model = np.zeros(2), "plumb_bob"
    return message


@dataclass
class Faulty:
    bag: Path
    result: SessionResult
    log: str

    def warnings(self, *words: str) -> list[str]:
        """What the node warned of, in its own words."""
        lines = [line.partition("[selfocc]: ")[2] for line in self.log.splitlines() if line.startswith("[WARN]")]
        return [line for line in lines if all(word in line for word in words)]


@pytest.fixture(scope="module")
def faulty(make_bag: Any, fake_command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Faulty:
    folder = tmp_path_factory.mktemp("faulty")
    mounted = tuple(name for name in RIG if name != "adrift")
    bag = make_bag(folder / "bag", seconds=3.0, change=harm, cameras=RIG, static=mounted)
    result = play_through_node(
        bag,
        folder / "out",
        extra_params={"max_skw": 0.1, "tf_wait": 1.0},
        node_command=fake_command,
    )
    return Faulty(bag, result, result.node_log.read_text())


def test_the_node_stays_up_to_the_end_and_publishes(faulty: Faulty):
    assert faulty.result.node_exit == 0
    assert faulty.result.frames_out >= faulty.result.frames_in / 2
    assert faulty.result.published_stamps[-1] > faulty.result.published_stamps[0] + 2_000_000_000


def test_the_other_cameras_get_through_unharmed(faulty: Faulty, fake_predictor: Any, assert_live_equals_offline: Any):
    assert_live_equals_offline(faulty.bag, faulty.result.output_bag, fake_predictor())


def test_corrupt_jpeg(faulty: Faulty):
    [warning] = faulty.warnings("camera 'torn'")
    assert "jpeg" in warning.lower()


def test_missing_camera(faulty: Faulty):
    assert faulty.warnings("'silent'") == [
        "camera 'silent': no image on /camera/silent/image/compressed for 2 s; occupancy goes on without it"
    ]


def test_missing_transform(faulty: Faulty):
    [warning] = faulty.warnings("camera 'adrift'")
    assert "frame 'adrift_optical' is unknown" in warning
    assert "waits for: " in faulty.log
    assert "camera 'adrift': frame 'adrift_optical' is unknown" in faulty.log


def test_wrong_encoding(faulty: Faulty):
    [warning] = faulty.warnings("camera 'odd'")
    assert "tiff" in warning


def test_nan_intrinsics(faulty: Faulty):
    [warning] = faulty.warnings("camera 'blank'")
    assert warning.startswith("camera 'blank' is left out: /camera/blank/camera_info: ")
    assert "NaN" in warning


def test_too_few_distortion_coefficients(faulty: Faulty):
    [warning] = faulty.warnings("camera 'short'")
    assert warning.startswith("camera 'short' is left out: /camera/short/camera_info: ")
    assert "plumb_bob" in warning


def test_unknown_parameter(faulty: Faulty):
    assert faulty.warnings("parameter") == [
        "parameter 'max_skw' does not exist and is ignored (did you mean 'max_skew'?)"
    ]


def test_truncated_recording(make_bag: Any, fake_command: list[str], fake_predictor: Any,
                             assert_live_equals_offline: Any, tmp_path: Path):  # fmt: skip
    """The recorder's machine lost power: the file ends in the middle, without index."""
    bag = make_bag(tmp_path / "bag", seconds=3.0, scale=4)
    [file] = bag.glob("*.mcap")
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * 0.7)])
    (bag / "metadata.yaml").unlink()
    result = play_through_node(bag, tmp_path / "out", node_command=fake_command)
    lines = [line for line in result.player_log.read_text().splitlines() if str(bag) in line or file.name in line]
    assert len(lines) == 1, lines
    assert result.node_exit == 0
    assert result.frames_out >= result.frames_in / 2 >= 2
    assert_live_equals_offline(bag, result.output_bag, fake_predictor())
