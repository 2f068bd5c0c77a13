# SPDX-License-Identifier: Apache-2.0
"""The node's parameters as values: what they may be, and how a file holds them, without any ROS.

One such file tells `selfocc check`, `replay` and `demo` the same as the node.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from selfocc_ros.configuration import nearest_hint
from selfocc_ros.errors import SelfOccError

DEVICES = ("auto", "cuda", "cpu")
AUTO = ("auto",)
RANGES: dict[str, tuple[float, float]] = {
    "ground_z": (-10, 10),
    "max_skew": (0.0, 1.0),
    "max_wait": (0.0, 5.0),
    "tf_wait": (0.0, 5.0),
}
OF_RCLPY = ("use_sim_time", "start_type_description_service", "qos_overrides")
"""Parameters which rclpy itself declares or reads."""


class ParameterError(SelfOccError, ValueError):
    """A parameter has a value that cannot be used."""


@dataclass(frozen=True)
class NodeParameters:
    """What the node was asked to do, and with it all that work on recordings as the node would: metres and seconds."""

    checkpoint: str = ""
    cameras: tuple[str, ...] = AUTO
    base_frame: str = "base_link"
    fixed_frame: str = "odom"
    ground_z: float = 0.0
    device: str = "auto"
    max_skew: float = 0.055
    max_wait: float = 0.2
    tf_wait: float = 0.5
    height_band: tuple[float, float] = (0.3, 2.0)


def is_known(name: str) -> bool:
    """Whether the node, or rclpy for it, has such a parameter."""
    return name in NodeParameters.__dataclass_fields__ or name.split(".")[0] in OF_RCLPY


def plain(value: Any) -> Any:
    """A value as ROS and YAML hold it: they know lists, no tuples."""
    return list(value) if isinstance(value, tuple) else value


def load_parameters(path: str | Path, node: str = "selfocc") -> dict[str, Any]:
    """What a ROS 2 parameter file sets for the node, checked; parameters of rclpy are left out.

    Args:
        path: YAML as `--params-file` takes it: `/**` or the node's name, then `ros__parameters`.
        node: sections of other nodes do not count.

    Raises:
        ParameterError: the file cannot be read or is no such file, a name does not exist, or a value cannot be used.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no YAML"
        raise ParameterError(f"{path}: cannot be read ({reason})") from error
    sections = content if isinstance(content, dict) else {}
    found = [sections[name] for name in ("/**", node, f"/{node}") if name in sections]
    if not found or not all(isinstance(s, dict) and isinstance(s.get("ros__parameters"), dict) for s in found):
        raise ParameterError(f"{path}: expected '/**:' or '{node}:', and under it 'ros__parameters:'")
    asked = {name: value for section in found for name, value in section["ros__parameters"].items()}
    for name in asked:
        if not is_known(str(name)):
            hint = nearest_hint(str(name), NodeParameters.__dataclass_fields__)
            raise ParameterError(f"{path}: parameter {name!r} does not exist{hint}")
    known = NodeParameters.__dataclass_fields__
    return {name: checked(name, value) for name, value in asked.items() if name in known}


def checked(name: str, value: Any) -> Any:
    """The value as the dataclass holds it; whole numbers do for fractional ones, as people write them in YAML.

    Raises:
        ParameterError: it has the wrong type or is out of range.
    """
    if name == "cameras":
        return _camera_names(value)
    if name == "height_band":
        return _band(value)
    if isinstance(getattr(NodeParameters, name), str):
        if not isinstance(value, str):
            raise ParameterError(f"parameter {name} is {value!r}, expected a text")
        if name == "device" and value not in DEVICES:
            raise ParameterError(f"parameter device is {value!r}, expected one of {', '.join(DEVICES)}")
        if name.endswith("_frame") and not value.strip("/"):
            raise ParameterError(f"parameter {name} is empty, expected the name of a frame")
        return value.lstrip("/") if name.endswith("_frame") else value
    number = _number(name, value)
    low, high = RANGES.get(name) or (float("-inf"), float("inf"))
    if not low <= number <= high:
        raise ParameterError(f"parameter {name} is {number:g}, expected {low:g} to {high:g}")
    return number


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ParameterError(f"parameter {name} is {value!r}, expected a number")
    return float(value)


def _camera_names(value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, (list, tuple)) else ()
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ParameterError(f"parameter cameras is {value!r}, expected 'auto' or a list of camera names or topics")
    if len(set(names)) != len(names):
        raise ParameterError(f"parameter cameras names a camera twice: {', '.join(names)}")
    return names


def _band(value: Any) -> tuple[float, float]:
    numbers = [] if isinstance(value, (str, bool, int, float)) else list(value)
    if len(numbers) != 2:
        raise ParameterError(f"parameter height_band is {value!r}, expected [lowest, highest] in metres")
    low, high = (_number("height_band", number) for number in numbers)
    if not low < high:
        raise ParameterError(f"parameter height_band is [{low:g}, {high:g}], expected the lowest height first")
    return low, high
