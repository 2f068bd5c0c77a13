# SPDX-License-Identifier: Apache-2.0
"""The node's parameters in ROS: declared with type, description and range, checked, and kept as one dataclass.

A value of the wrong type or out of range ends the start with one sentence (a vehicle must not drive with another
value than the one asked for); a name that does not exist is a warning that names the nearest one. While the node runs
all values of one request change together, or none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from selfocc_ros.configuration import nearest_hint
from selfocc_ros.node_parameters import NodeParameters, Option, ParameterError, checked, is_known, options, plain
from selfocc_ros.ros.compat import on_parameters, parameter_overrides

_ANY_TIME = ("checkpoint",)  # set while active, used when ~/load_checkpoint asks for it
_WHEN = {
    "checkpoint": "may be set at any time and is loaded by ~/load_checkpoint or the next configure",
    "autostart": "read once, when the node starts",
}
# `cameras: auto` and `cameras: [front, back]` are both natural, and an empty list has no type in ROS.
_DYNAMIC = ("cameras", "phases")


class Parameters:
    """Declares the parameters on `node`, checks what is set, and knows which values are in use.

    Attributes:
        values: the checked values in use: live ones as they were set last, others as of the last `take`.
        asked: the checked values as they were set last.
        active: whether the node is at work, so that values which are read at configure are refused.
        warnings: one sentence for each override that no parameter has.

    Raises:
        ParameterError: a value has the wrong type or is out of range.
    """

    def __init__(self, node: Node) -> None:
        overrides = parameter_overrides(node)
        asked: dict[str, Any] = {}
        for name, option in options().items():
            # An empty list in a file arrives without type and value.
            given = name in overrides and not (name in _DYNAMIC and overrides[name].value is None)
            asked[name] = checked(name, overrides[name].value if given else option.default)
            descriptor = _descriptor(name, option)
            node.declare_parameter(name, plain(asked[name]), descriptor, ignore_override=True)
        if not asked["phases"]:
            node.set_parameters([Parameter("phases", Parameter.Type.STRING_ARRAY, [])])
        self.values = self.asked = NodeParameters.of(asked)
        self.active = False
        self.warnings = [unknown_parameter(name) for name in overrides if not is_known(name)]
        on_parameters(node, self._check, self._changed)

    def take(self) -> NodeParameters:
        """Use all that was asked for; returns it."""
        self.values = self.asked
        return self.values

    def use_checkpoint(self, checkpoint: str) -> None:
        """This one is in use now."""
        self.values = self.values.replace({"checkpoint": checkpoint})

    def _check(self, parameters: Sequence[Parameter[Any]]) -> str:
        """Why these cannot be set, in one sentence; empty where they can."""
        for parameter in parameters:
            name = parameter.name
            if name not in options():
                continue
            try:
                value = checked(name, parameter.value)
            except ParameterError as error:
                return str(error)
            if self.active and not options()[name].live and name not in _ANY_TIME and value != self.asked[name]:
                return _read_at_configure(name)
        return ""

    def _changed(self, parameters: Sequence[Parameter[Any]]) -> None:
        """They are set, all of them: one assignment, since another thread reads the values."""
        changed = {p.name: checked(p.name, p.value) for p in parameters if p.name in options()}
        self.asked = self.asked.replace(changed)
        self.values = self.values.replace({name: value for name, value in changed.items() if options()[name].live})


def prepared(parameters: Sequence[Parameter[Any]]) -> list[Parameter[Any]]:
    """What was sent to be set, with whole numbers as fractional ones where those are expected.

    Raises:
        ParameterError: one of the names does not exist.
    """
    return [_prepared(parameter) for parameter in parameters]


def _prepared(parameter: Parameter[Any]) -> Parameter[Any]:
    name, value = parameter.name, parameter.value
    if not is_known(name):
        raise ParameterError(f"parameter {name!r} does not exist{nearest_hint(name, options())}")
    default = options()[name].default if name in options() else None
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return Parameter(name, value=float(value))
    if name == "height_band" and parameter.type_ == Parameter.Type.INTEGER_ARRAY:
        return Parameter(name, value=[float(number) for number in value])
    return parameter


def unknown_parameter(name: str) -> str:
    """The sentence about an override that no parameter has, with the nearest one that exists."""
    return f"parameter {name!r} does not exist and is ignored{nearest_hint(name, options())}"


def _read_at_configure(name: str) -> str:
    if name == "autostart":
        return f"parameter autostart is {_WHEN[name]}"
    return (
        f"parameter {name} is read when the node is configured: deactivate it, set the parameter, and then clean up, "
        "configure and activate it again"
    )


def _descriptor(name: str, option: Option) -> ParameterDescriptor:
    default = plain(option.default)
    told = str(default).lower() if isinstance(default, bool) else repr(default)
    when = _WHEN.get(name, "may be set while the node runs" if option.live else "read when the node is configured")
    description = f"{option.text} Default {told}{' ' + option.unit if option.unit else ''}; {when}."
    descriptor = ParameterDescriptor(name=name, description=description, dynamic_typing=name in _DYNAMIC)
    low, high = option.low, option.high
    if option.choices:
        descriptor.additional_constraints = f"one of {', '.join(option.choices)}"
    elif low is None or high is None:
        pass
    elif isinstance(option.default, tuple):
        descriptor.additional_constraints = f"the lowest first, {low:g} to {high:g}"
    elif isinstance(option.default, int):
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    else:
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
    return descriptor
