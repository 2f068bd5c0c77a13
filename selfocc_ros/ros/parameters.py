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
from selfocc_ros.node_parameters import RANGES, NodeParameters, ParameterError, checked, is_known, plain
from selfocc_ros.ros.compat import parameter_overrides


@dataclass(frozen=True)
class _Spec:
    description: str
    live: bool = False  # may be set while the node runs


_SPECS: dict[str, _Spec] = {
    "checkpoint": _Spec("Trained network, a .safetensors file; empty takes the one that comes with the package."),
    "cameras": _Spec(
        "'auto' takes every image topic with a CameraInfo beside it; or a list of camera names or image topics."
    ),
    "base_frame": _Spec("Frame of the vehicle (REP-105) in which the occupancy is published."),
    "fixed_frame": _Spec("Frame that does not move with the vehicle; poses between two stamps go through it."),
    "ground_z": _Spec("Height of the ground in base_frame in metres; 0 when base_frame lies on the road."),
    "device": _Spec("Where the network runs: auto (cuda if there is one), cuda or cpu."),
    "max_skew": _Spec(
        "Largest distance in seconds of a camera's image from the time at which it is expected in a set."
    ),
    "max_wait": _Spec("How long in seconds of stamps a set waits for a camera that is late."),
    "tf_wait": _Spec("How long in seconds to wait for transforms newer than the images.", live=True),
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
            asked[name] = checked(name, value)
            node.declare_parameter(name, plain(asked[name]), _descriptor(name, spec), ignore_override=True)
        self.values = NodeParameters(**asked)
        self.warnings = [unknown_parameter(name) for name in overrides if not is_known(name)]
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
                changed[parameter.name] = checked(parameter.name, parameter.value)
            except ParameterError as error:
                return SetParametersResult(successful=False, reason=str(error))
        current = {field.name: getattr(self.values, field.name) for field in fields(self.values)}
        self.values = NodeParameters(**{**current, **changed})
        return SetParametersResult(successful=True)


def unknown_parameter(name: str) -> str:
    """The sentence about an override that no parameter has, with the nearest one that exists."""
    return f"parameter {name!r} does not exist and is ignored{nearest_hint(name, _SPECS)}"


def _descriptor(name: str, spec: _Spec) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(name=name, description=spec.description)
    # `cameras: auto` and `cameras: [front, back]` are both natural, so this one may change its type.
    descriptor.dynamic_typing = name == "cameras"
    if name in RANGES:
        low, high = RANGES[name]
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
    return descriptor
