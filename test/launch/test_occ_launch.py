# SPDX-License-Identifier: Apache-2.0
"""launch/occ.launch.py, where ROS's launch can be imported (an installed ROS; PyPI has no wheel of it)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

# Below this folder's own name: a bare `import launch` may find the repository's folder of launch files.
pytest.importorskip("launch.actions", reason="ROS's launch is not installed here: PyPI has no wheel of it")
pytest.importorskip("launch_ros.actions", reason="ROS's launch_ros is not installed here: PyPI has no wheel of it")

ARGUMENTS = {
    "params_file", "checkpoint", "preset", "autostart", "bag", "rate", "start", "loop", "rviz", "rviz_config",
    "use_sim_time", "namespace", "log_level",
}  # fmt: skip

# `ros2 launch FILE NAME:=VALUE ...`, without needing ros2cli.
LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import AnyLaunchDescriptionSource
arguments = [tuple(argument.split(":=", 1)) for argument in sys.argv[2:]]
service = LaunchService(argv=sys.argv[2:])
included = IncludeLaunchDescription(AnyLaunchDescriptionSource(sys.argv[1]), launch_arguments=arguments)
service.include_launch_description(LaunchDescription([included]))
sys.exit(service.run())
"""


@pytest.fixture
def launch_file(repository: Path) -> Path:
    return repository / "launch" / "occ.launch.py"


def description(launch_file: Path) -> Any:
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    return get_launch_description_from_python_launch_file(str(launch_file))


def start(launch_file: Path, log_folder: Path, *arguments: str) -> subprocess.Popen[str]:
    # A session of its own, so that a signal reaches the launch service alone, as it would from a supervisor.
    return subprocess.Popen(
        [sys.executable, "-c", LAUNCH, str(launch_file), *arguments],
        env=os.environ | {"ROS_LOG_DIR": str(log_folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Returns what the process printed up to the line with `text`, or all of it if it ends before."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            break
    return "".join(lines)


def test_the_arguments_are_listed_and_described(launch_file: Path) -> None:
    arguments = description(launch_file).get_launch_arguments()
    assert {argument.name for argument in arguments} == ARGUMENTS
    for argument in arguments:
        assert argument.description
        assert argument.default_value is not None, f"{argument.name} must not have to be given"


@pytest.mark.parametrize("argument", ["params_file", "checkpoint", "preset", "bag"])
def test_a_file_that_is_not_there_is_named(argument: str, launch_file: Path, tmp_path: Path) -> None:
    process = start(launch_file, tmp_path, f"{argument}:=/nowhere/x")
    out, _ = process.communicate()
    assert process.returncode == 1
    assert f"launch argument {argument}:=/nowhere/x: there is no such file or folder" in out


@pytest.mark.parametrize("to", ["service", "group"])
def test_it_starts_in_a_namespace_and_ends_on_ctrl_c(to: str, launch_file: Path, tmp_path: Path) -> None:
    process = start(launch_file, tmp_path, "namespace:=car", "rviz:=true")
    try:
        out = read_until(process, "[car.selfocc]")
        assert "rviz2" in out
        # The node prints as soon as it is constructed; a moment later it spins.
        time.sleep(1.0)
        if to == "service":
            process.send_signal(signal.SIGINT)
        else:
            # A terminal's Ctrl-C reaches every process, and launch passes it on: the node gets it twice.
            os.killpg(process.pid, signal.SIGINT)
        rest, _ = process.communicate()
    finally:
        process.kill()
    assert "process has finished cleanly" in rest, out + rest
    assert "Traceback" not in rest
    assert process.returncode == 0


def test_without_autostart_the_node_waits_for_a_lifecycle_manager(launch_file: Path, tmp_path: Path) -> None:
    process = start(launch_file, tmp_path, "autostart:=false")
    try:
        out = read_until(process, "unconfigured (waits to be configured)")
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate()
    finally:
        process.kill()
    assert "unconfigured" in out, out
    assert "process has finished cleanly" in rest, rest
    assert process.returncode == 0


@pytest.fixture
def fake_rviz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of rviz2; returns the folder into which it puts its arguments and its layout."""
    program, told = tmp_path / "lib/rviz2/rviz2", tmp_path / "told"
    program.parent.mkdir(parents=True)
    told.mkdir()
    program.write_text(
        f'#!/bin/sh\ncp "$2" {told}/layout\necho "$@" > {told}/part && mv {told}/part {told}/arguments\n'
    )
    program.chmod(0o755)
    marker = tmp_path / "share/ament_index/resource_index/packages/rviz2"
    marker.parent.mkdir(parents=True)
    marker.touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join([str(tmp_path), os.environ.get("AMENT_PREFIX_PATH", "")]))
    return told


def test_rviz_shows_the_vehicles_own_frame_and_cameras(launch_file: Path, tmp_path: Path, fake_rviz: Path) -> None:
    from selfocc_ros.town.rigs import load_rig
    from selfocc_ros.town.write import write_drive

    params = tmp_path / "vehicle.yaml"
    params.write_text("/**:\n  ros__parameters: {base_frame: car}\n")
    bag = write_drive(9001, 0.5, load_rig("front1"), tmp_path / "drive", 4.0)
    process = start(launch_file, tmp_path, "rviz:=true", f"params_file:={params}", f"bag:={bag}", "namespace:=fleet")
    try:
        for _ in range(600):
            if (fake_rviz / "arguments").exists():
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate()
    finally:
        process.kill()
    assert (fake_rviz / "arguments").exists(), out
    layout = yaml.safe_load((fake_rviz / "layout").read_text())["Visualization Manager"]
    assert layout["Global Options"]["Fixed Frame"] == "car"
    images = [shown for shown in layout["Displays"] if shown["Class"].endswith("/Image")]
    assert [shown["Topic"]["Value"] for shown in images] == [
        "/camera/front/image/compressed",
        "/fleet/selfocc/depth/front",
    ]
    # The layout was written for this start alone.
    assert not Path((fake_rviz / "arguments").read_text().split()[1]).exists(), out


@pytest.mark.slow
def test_a_recording_is_played_to_the_node_and_the_launch_ends_with_it(launch_file: Path, tmp_path: Path) -> None:
    from selfocc_ros.configuration import from_mapping, read_yaml
    from selfocc_ros.model.checkpoint import save_checkpoint
    from selfocc_ros.model.config import ModelConfig
    from selfocc_ros.model.selfocc import build_model
    from selfocc_ros.resources import resource
    from selfocc_ros.town.rigs import load_rig
    from selfocc_ros.town.write import write_drive

    tiny = resource("config/models/tiny.yaml")
    config = from_mapping(ModelConfig, read_yaml(tiny), str(tiny))
    checkpoint = tmp_path / "random.safetensors"
    save_checkpoint(checkpoint, build_model(config), {"command": "test"}, config=config)
    bag = write_drive(9001, 1.5, load_rig("front1"), tmp_path / "drive", 4.0)
    process = start(launch_file, tmp_path, f"bag:={bag}", f"checkpoint:={checkpoint}")
    try:
        out, _ = process.communicate()
    finally:
        process.kill()
    assert "ready" in out
    assert "done" in out
    assert "Traceback" not in out
    assert "[bag_player-2]: process has finished cleanly" in out
    assert "[occupancy_node-1]: process has finished cleanly" in out
    assert process.returncode == 0
