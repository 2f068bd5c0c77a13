# SPDX-License-Identifier: Apache-2.0
"""Starts the occupancy node; with `bag:=` also a player, with `rviz:=true` also RViz with this package's layout.

`ros2 launch selfocc_ros occ.launch.py --show-args` lists the arguments.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, RegisterEventHandler, Shutdown, TimerAction
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch_ros.actions import Node

from selfocc_ros.node_parameters import ParameterError
from selfocc_ros.parameter_file import load_parameters
from selfocc_ros.resources import resource

# After the last message of a recording the node still works on the last images.
LINGER_S = 2.0

# The node ends after the set that it works on, which takes seconds on a busy computer without a GPU.
NODE_ENDS_WITHIN_S = 15

ARGUMENTS = (
    DeclareLaunchArgument(
        "params_file",
        default_value=str(resource("config/node/default.yaml")),
        description="YAML file with the node's parameters.",
    ),
    DeclareLaunchArgument(
        "checkpoint",
        default_value="",
        description="Trained network (.safetensors); empty: what params_file says, or the one that is shipped.",
    ),
    DeclareLaunchArgument(
        "bag",
        default_value="",
        description="Recording to play with /clock (rosbag2 folder, .mcap, .db3, ROS 1 .bag); empty: live topics. "
        "All processes end with it.",
    ),
    DeclareLaunchArgument(
        "rviz", default_value="false", choices=["true", "false"], description="Start RViz with rviz/occ.rviz."
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


def player_and_its_end(bag: str, node: Node) -> list[LaunchDescriptionEntity]:
    """Returns the action that plays `bag`, and what ends the launch after it, or when `node` ends before it."""
    executable, arguments = program("bag_player")
    player = Node(
        executable=executable,
        exec_name="bag_player",
        arguments=[*arguments, existing("bag", bag), "--wait-for-node", "selfocc"],
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


def shown_in(params_file: str) -> list[str]:
    """Returns the arguments that make RViz show everything in the vehicle's frame, whatever its name."""
    try:
        frame = load_parameters(params_file).get("base_frame")
    except ParameterError:  # the node says what is wrong with the file, or goes on without that parameter
        return []
    return ["--fixed-frame", frame] if frame else []


def rviz(params_file: str, namespace: str, use_sim_time: bool) -> LaunchDescriptionEntity:
    """Returns the action that starts RViz, or one that says that it is not installed."""
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        return LogInfo(msg="rviz:=true, but rviz2 is not installed here: going on without it")
    topics = ("/selfocc/occupancy_grid", "/selfocc/occupied_points")
    space = namespace.strip("/")
    return Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(resource("rviz/occ.rviz")), *shown_in(params_file)],
        parameters=[{"use_sim_time": use_sim_time}],
        remappings=[(topic, f"/{space}{topic}") for topic in topics] if space else [],
        output="log",
    )


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Returns the actions for the arguments as they were given."""
    values = {argument.name: context.launch_configurations[argument.name] for argument in ARGUMENTS}
    use_sim_time = bool(values["bag"]) if values["use_sim_time"] == "auto" else values["use_sim_time"] == "true"
    node = occupancy_node(values, use_sim_time)
    actions: list[LaunchDescriptionEntity] = [node]
    if values["bag"]:
        actions += player_and_its_end(values["bag"], node)
    if values["rviz"] == "true":
        actions.append(rviz(values["params_file"], values["namespace"], use_sim_time))
    return actions


def generate_launch_description() -> LaunchDescription:
    """Returns the arguments and what they start."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])
