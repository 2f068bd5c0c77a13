# SPDX-License-Identifier: Apache-2.0
"""docs/your_vehicle.md, command by command, on a town recording with that page's topics and frames."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfocc_ros.cli import main
from selfocc_ros.logs.reader import Bag
from selfocc_ros.logs.writer import BagWriter
from selfocc_ros.town.rigs import RigSpec, load_rig
from selfocc_ros.town.write import write_drive

FRAMES = {"base_link": "vehicle", "odom": "world"}
ABOVE_ROAD_M = 0.4
CAMERAS = ("front", "front_left", "front_right")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


@pytest.fixture
def page(repository: Path) -> str:
    return (repository / "docs" / "your_vehicle.md").read_text(encoding="utf-8")


def renamed(bag: Path, out: Path) -> Path:
    """The town's recording as that of the page's vehicle: three cameras, other names, a base frame above the road."""

    def frame(name: str) -> str:
        return FRAMES.get(name, name.replace("camera_", "sensor_"))

    with Bag(bag) as town, BagWriter(out) as own:
        for topic, receive_ns, msg in town.messages():
            new = rename(topic)
            if new is None:
                continue
            for header in headers(msg):
                header.frame_id = frame(header.frame_id)
            for edge in getattr(msg, "transforms", ()):
                edge.child_frame_id = frame(edge.child_frame_id)
                # The base frame rises: what hangs on it sinks in it.
                edge.transform.translation.z += ABOVE_ROAD_M if edge.child_frame_id == "vehicle" else -ABOVE_ROAD_M
            if new not in own.topics:
                own.add_topic(new, msg.__msgtype__, latched=new == "/tf_static")
            own.write(new, receive_ns, msg)
    return out


def headers(msg: Any) -> Iterator[Any]:
    if hasattr(msg, "header"):
        yield msg.header
    for edge in getattr(msg, "transforms", ()):
        yield edge.header


def rename(topic: str) -> str | None:
    if topic in ("/tf", "/tf_static"):
        return topic
    match = re.fullmatch(r"/camera/(\w+)/(image/compressed|camera_info)", topic)
    if match is None:
        return None
    return f"/sensing/{match[1]}/" + ("camera_info" if match[2] == "camera_info" else "image_raw/compressed")


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("vehicle")
    rig = RigSpec("vehicle", tuple(item for item in load_rig("surround6").cameras if item[0] in CAMERAS))
    out = {}
    for seed, (name, seconds) in enumerate({"monday": 3.0, "tuesday": 1.5}.items(), start=9101):
        bag = write_drive(seed, seconds, rig, folder / f"town_{name}", 10.0)
        out[name] = renamed(bag, folder / name)
    return out


def record(command: list[str], drives: dict[str, Path], here: Path) -> None:
    """`ros2 bag record`: its expression must take all that the vehicle offers; the recordings are there already."""
    assert command[:5] == ["ros2", "bag", "record", "-s", "mcap"]
    pattern = command[command.index("-e") + 1]
    assert command[command.index("-o") + 1] in drives
    for name, path in drives.items():
        with Bag(path) as bag:
            assert all(re.fullmatch(pattern, topic) for topic in bag.topics()), bag.topics()
        (here / name).symlink_to(path)


def launch(command: list[str], repository: Path) -> None:
    """`ros2 launch`: its arguments must exist, and its files; the node itself has run in the step before."""
    assert command[:4] == ["ros2", "launch", "selfocc_ros", "occ.launch.py"]
    tree = ast.parse((repository / "launch" / "occ.launch.py").read_text(encoding="utf-8"))
    declared = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "DeclareLaunchArgument"
    }
    given = dict(argument.split(":=") for argument in command[4:])
    assert set(given) <= declared
    assert Path(given["params_file"]).is_file()
    assert Path(given["checkpoint"]).is_file()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed")
@pytest.mark.skipif(
    importlib.util.find_spec("rclpy") is None or importlib.util.find_spec("tf2_msgs") is None,
    reason="rclpy or tf2_msgs is not installed",
)
def test_every_command_of_the_page_does_what_it_says(
    page: str, drives: dict[str, Path], repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (vehicle,) = blocks(page, "yaml")
    Path("vehicle.yaml").write_text(vehicle)
    assert yaml.safe_load(vehicle)["/**"]["ros__parameters"]["ground_z"] == -ABOVE_ROAD_M
    commands = [shlex.split(line) for block in blocks(page, "bash") for line in block.splitlines()]
    assert [command[1] for command in commands] == [
        "bag", "check", "replay", "prepare", "train", "replay", "demo", "launch",
    ]  # fmt: skip
    for command in commands:
        if command[:3] == ["ros2", "bag", "record"]:
            record(command, drives, tmp_path)
        elif command[:2] == ["ros2", "launch"]:
            launch(command, repository)
        else:
            assert command[0] == "selfocc"
            # As written, but for the length of training: half an hour is too long for a test.
            short = ["--steps", "2"] if command[1] == "train" else []
            assert main([*command[1:], *short]) == 0, shlex.join(command)
    assert list(Path("out/before").glob("*.png"))
    assert list(Path("out/after").glob("*.npz"))
    assert Path("out/desk/demo.png").is_file()
    assert "ground_z: -0.4" in Path("data/mine/layout.yaml").read_text()
