# SPDX-License-Identifier: Apache-2.0
"""Starts the occupancy node; with `bag:=` also a player, with `rviz:=true` also RViz with this vehicle's cameras.

`ros2 launch selfocc_ros occ.launch.py --show-args` lists the arguments.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, RegisterEventHandler, Shutdown, TimerAction
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch_ros.actions import Node

from selfocc_ros.errors import SelfOccError
from selfocc_ros.logs.reader import Bag
from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.parameter_file import load_parameters
from selfocc_ros.resources import resource
from selfocc_ros.sensing.discovery import CameraTopics
from selfocc_ros.sensing.rig_source import RigSource
from selfocc_ros.viz.rviz_layout import VehicleLayout, vehicle_layout

# After the last message of a recording the node still works on the last images.
LINGER_S = 2.0

# The node ends after the set that it works on, which takes seconds on a busy computer without a GPU.
NODE_ENDS_WITHIN_S = 15

ARGUMENTS = (
    DeclareLaunchArgument(
        "params_file",
        default_value=str(resource("config/node/default.yaml")),
        description="YAML file with the node's parameters; the arguments below go before it.",
    ),
    DeclareLaunchArgument(
        "checkpoint",
        default_value="",
        description="Trained network (.safetensors); empty: what params_file says, or the one that is shipped.",
    ),
    DeclareLaunchArgument(
        "preset",
        default_value="",
        description="Topics and frames of a known kind of vehicle or recording: "
        f"{', '.join(sorted(path.stem for path in resource('config/layouts').glob('*.yaml')))}, or a YAML file; "
        "empty: what params_file says.",
    ),
    DeclareLaunchArgument(
        "autostart",
        default_value="auto",
        choices=["auto", "true", "false"],
        description="Whether the node configures and activates itself; false leaves that to a lifecycle manager; "
        "auto: what params_file says, or true.",
    ),
    DeclareLaunchArgument(
        "bag",
        default_value="",
        description="Recording to play with /clock (rosbag2 folder, .mcap, .db3, ROS 1 .bag); empty: live topics. "
        "All processes end with it.",
    ),
    DeclareLaunchArgument("rate", default_value="1.0", description="Seconds of the recording per second."),
    DeclareLaunchArgument("start", default_value="0.0", description="Seconds into the recording at which to start."),
    DeclareLaunchArgument("loop", default_value="1", description="How often to play the recording; 0: for ever."),
    DeclareLaunchArgument(
        "rviz",
        default_value="false",
        choices=["true", "false"],
        description="Start RViz, with the cameras of the recording or the preset; without these, of rviz_config.",
    ),
    DeclareLaunchArgument(
        "rviz_config", default_value=str(resource("rviz/occ.rviz")), description="Layout of RViz to start from."
    ),
    DeclareLaunchArgument(
        "use_sim_time",
        default_value="auto",
        choices=["auto", "true", "false"],
        description="Take the time from /clock; auto: true if bag is given.",
    ),
    DeclareLaunchArgument(
        "namespace", default_value="", description="ROS namespace of the node; frames and camera topics keep theirs."
    ),
    DeclareLaunchArgument(
        "log_level",
        default_value="info",
        choices=["debug", "info", "warn", "error", "fatal"],
        description="What the node logs.",
    ),
)


def existing(argument: str, value: str) -> str:
    """Returns the absolute path given as an argument; raises FileNotFoundError with a sentence if nothing is there."""
    path = Path(value).expanduser().absolute()
    if not path.exists():
        raise FileNotFoundError(f"launch argument {argument}:={value}: there is no such file or folder")
    return str(path)


def preset(value: str) -> str:
    """Returns the preset as the node takes it: a name as it is, a file by its absolute path."""
    return existing("preset", value) if value.endswith((".yaml", ".yml")) or "/" in value else value


def program(name: str) -> tuple[str, list[str]]:
    """Returns (executable, first arguments) that start `selfocc_ros.ros.<name>`.

    colcon puts scripts into lib/selfocc_ros, bound to the interpreter of the build; pip has no such place, and there
    the interpreter that runs this file has the package.
    """
    try:
        script = Path(get_package_prefix("selfocc_ros")) / "lib" / "selfocc_ros" / name
    except PackageNotFoundError:
        script = Path(name)
    if script.is_absolute() and os.access(script, os.X_OK):
        return str(script), []
    return sys.executable, ["-m", f"selfocc_ros.ros.{name}"]


def occupancy_node(values: dict[str, str], use_sim_time: bool) -> Node:
    """Returns the action that starts the node."""
    executable, arguments = program("occupancy_node")
    logger = ".".join([*values["namespace"].strip("/").split("/"), "selfocc"]).lstrip(".")
    overrides: dict[str, bool | str] = {"use_sim_time": use_sim_time}
    if values["checkpoint"]:
        overrides["checkpoint"] = existing("checkpoint", values["checkpoint"])
    if values["preset"]:
        overrides["preset"] = preset(values["preset"])
    if values["autostart"] != "auto":
        overrides["autostart"] = values["autostart"] == "true"
    return Node(
        executable=executable,
        exec_name="occupancy_node",
        namespace=values["namespace"] or None,
        parameters=[existing("params_file", values["params_file"]), overrides],
        arguments=arguments,
        ros_arguments=["--log-level", f"{logger}:={values['log_level']}"],
        sigterm_timeout=str(NODE_ENDS_WITHIN_S),
        output="screen",
        emulate_tty=True,
    )


def player_and_its_end(values: dict[str, str], node: Node) -> list[LaunchDescriptionEntity]:
    """Returns the action that plays `bag`, and what ends the launch after it, or when `node` ends before it."""
    executable, arguments = program("bag_player")
    options = [f"--{name}={values[name]}" for name in ("rate", "start", "loop")]
    name = full_name(values["namespace"])
    player = Node(
        executable=executable,
        exec_name="bag_player",
        arguments=[*arguments, existing("bag", values["bag"]), *options, "--wait-for-node", name],
        output="screen",
        emulate_tty=True,
    )

    def after_player(event: ProcessExited, _context: LaunchContext) -> list[LaunchDescriptionEntity]:
        if event.returncode:
            return [Shutdown(reason=f"bag_player ended with status {event.returncode}")]
        return [TimerAction(period=LINGER_S, actions=[Shutdown(reason="the recording is over")])]

    return [
        player,
        RegisterEventHandler(OnProcessExit(target_action=player, on_exit=after_player)),
        RegisterEventHandler(
            OnProcessExit(target_action=node, on_exit=[Shutdown(reason="the node ended before the recording")])
        ),
    ]


def full_name(namespace: str) -> str:
    """Returns the node's name with its namespace: `/car/selfocc`."""
    return "/" + "/".join(part for part in (*namespace.split("/"), "selfocc") if part)


def rig(values: dict[str, str]) -> tuple[dict[str, CameraTopics], str]:
    """Returns what is known before the start: the cameras to show, and the vehicle's frame.

    Cameras are those of the recording, else those that the preset names; none where only the running system tells.
    What is wrong with a file is not told here: the node and the player say it, and go on or not.
    """
    given = {"preset": preset(values["preset"])} if values["preset"] else {}
    try:
        source = RigSource.of(NodeParameters.of({**load_parameters(values["params_file"]), **given}))
        frame = source.parameters.base_frame
        if not values["bag"]:
            return source.expected(), frame
        with Bag(existing("bag", values["bag"])) as recording:
            return source.choose(source.find({name: info.type for name, info in recording.topics().items()}))[0], frame
    except SelfOccError:
        return {}, ""


def written(layout: VehicleLayout) -> str:
    """Returns the path of a new file that holds the layout; RViz reads it, and may save to it."""
    with tempfile.NamedTemporaryFile("w", prefix="selfocc_", suffix=".rviz", delete=False, encoding="utf-8") as file:
        file.write(layout.text)
    return file.name


def rviz(values: dict[str, str], use_sim_time: bool) -> list[LaunchDescriptionEntity]:
    """Returns what starts RViz and removes its layout afterwards, or says that it is not installed."""
    config = existing("rviz_config", values["rviz_config"])
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        return [LogInfo(msg="rviz:=true, but rviz2 is not installed here: going on without it")]
    layout = vehicle_layout(config, *rig(values), full_name(values["namespace"]))
    path = written(layout)
    node = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", path],
        parameters=[{"use_sim_time": use_sim_time}],
        remappings=list(layout.remappings),
        output="log",
    )

    def remove(_event: ProcessExited, _context: LaunchContext) -> None:
        Path(path).unlink(missing_ok=True)

    return [node, RegisterEventHandler(OnProcessExit(target_action=node, on_exit=remove))]


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Returns the actions for the arguments as they were given."""
    values = {argument.name: context.launch_configurations[argument.name] for argument in ARGUMENTS}
    use_sim_time = bool(values["bag"]) if values["use_sim_time"] == "auto" else values["use_sim_time"] == "true"
    node = occupancy_node(values, use_sim_time)
    actions: list[LaunchDescriptionEntity] = [node]
    if values["bag"]:
        actions += player_and_its_end(values, node)
    if values["rviz"] == "true":
        actions += rviz(values, use_sim_time)
    return actions


def generate_launch_description() -> LaunchDescription:
    """Returns the arguments and what they start."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])
