# SPDX-License-Identifier: Apache-2.0
"""The node's parameters: declared with type, description and range, checked, and read into one dataclass.

A value of the wrong type or out of range ends the start with one sentence (a vehicle must not drive with another
value than the one asked for); a name that does not exist is a warning that names the nearest one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from selfocc_ros.configuration import nearest_hint
from selfocc_ros.errors import SelfOccError
from selfocc_ros.ros.compat import parameter_overrides
from selfocc_ros.ros.watch import AUTO

DEVICES = ("auto", "cuda", "cpu")
#: Parameters which rclpy itself declares or reads.
_OF_RCLPY = ("use_sim_time", "start_type_description_service", "qos_overrides")


class ParameterError(SelfOccError, ValueError):
    """A parameter has a value that cannot be used."""


@dataclass(frozen=True)
class NodeParameters:
    """What the node was asked to do; units are metres and seconds."""

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


@dataclass(frozen=True)
class _Spec:
    description: str
    range: tuple[float, float] | None = None
    live: bool = False  # may be set while the node runs


_SPECS: dict[str, _Spec] = {
    "checkpoint": _Spec("Trained network, a .safetensors file; empty takes the one that comes with the package."),
    "cameras": _Spec(
        "'auto' takes every image topic with a CameraInfo beside it; or a list of camera names or image topics."
    ),
    "base_frame": _Spec("Frame of the vehicle (REP-105) in which the occupancy is published."),
    "fixed_frame": _Spec("Frame that does not move with the vehicle; poses between two stamps go through it."),
    "ground_z": _Spec("Height of the ground in base_frame in metres; 0 when base_frame lies on the road.", (-10, 10)),
    "device": _Spec("Where the network runs: auto (cuda if there is one), cuda or cpu."),
    "max_skew": _Spec(
        "Largest distance in seconds of a camera's image from the time at which it is expected in a set.", (0.0, 1.0)
    ),
    "max_wait": _Spec("How long in seconds of stamps a set waits for a camera that is late.", (0.0, 5.0)),
    "tf_wait": _Spec("How long in seconds to wait for transforms newer than the images.", (0.0, 5.0), live=True),
    "height_band": _Spec(
        "Lowest and highest height above the ground in metres which count in occupancy_grid.", live=True
    ),
}


class Parameters:
    """Declares the parameters on `node` and keeps `values` current while live ones change.

    Attributes:
        values: the checked values.
        warnings: one sentence for each override that no parameter has.

    Raises:
        ParameterError: a value has the wrong type or is out of range.
    """

    def __init__(self, node: Node) -> None:
        overrides = parameter_overrides(node)
        asked: dict[str, Any] = {}
        defaults = NodeParameters()
        for name, spec in _SPECS.items():
            value = overrides[name].value if name in overrides else getattr(defaults, name)
            asked[name] = _checked(name, value)
            node.declare_parameter(name, _plain(asked[name]), _descriptor(name, spec), ignore_override=True)
        self.values = NodeParameters(**asked)
        self.warnings = [unknown_parameter(name) for name in overrides if not _is_known(name)]
        node.add_on_set_parameters_callback(self._set)

    def _set(self, parameters: list[Parameter[Any]]) -> SetParametersResult:
        changed: dict[str, Any] = {}
        for parameter in parameters:
            if parameter.name not in _SPECS:
                continue
            if not _SPECS[parameter.name].live:
                return SetParametersResult(
                    successful=False, reason=f"parameter {parameter.name} is read once: restart the node to change it"
                )
            try:
                changed[parameter.name] = _checked(parameter.name, parameter.value)
            except ParameterError as error:
                return SetParametersResult(successful=False, reason=str(error))
        current = {field.name: getattr(self.values, field.name) for field in fields(self.values)}
        self.values = NodeParameters(**{**current, **changed})
        return SetParametersResult(successful=True)


def unknown_parameter(name: str) -> str:
    """The sentence about an override that no parameter has, with the nearest one that exists."""
    return f"parameter {name!r} does not exist and is ignored{nearest_hint(name, _SPECS)}"


def _is_known(name: str) -> bool:
    return name in _SPECS or name.split(".")[0] in _OF_RCLPY


def _descriptor(name: str, spec: _Spec) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(name=name, description=spec.description)
    # `cameras: auto` and `cameras: [front, back]` are both natural, so this one may change its type.
    descriptor.dynamic_typing = name == "cameras"
    if spec.range is not None:
        low, high = spec.range
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
    return descriptor


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _checked(name: str, value: Any) -> Any:
    """The value as the dataclass holds it; whole numbers do for fractional ones, as people write them in YAML."""
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
    low, high = _SPECS[name].range or (float("-inf"), float("inf"))
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
