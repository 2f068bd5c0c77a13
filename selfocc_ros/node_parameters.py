# SPDX-License-Identifier: Apache-2.0
"""The node's parameters as values: what they may be, and what each of them does, without any ROS.

One dataclass is the manual: `ros2 param describe`, the checks and config/node/default.yaml all follow it. Parameters
of a group have dotted names in ROS: `publish.depth` is `NodeParameters.publish.depth`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from selfocc_ros.errors import SelfOccError

T = TypeVar("T")

AUTO = ("auto",)
OF_RCLPY = ("use_sim_time", "start_type_description_service", "qos_overrides")
"""Parameters which rclpy itself declares or reads."""


class ParameterError(SelfOccError, ValueError):
    """A parameter has a value that cannot be used."""


@dataclass(frozen=True)
class Option:
    """What is known of a parameter beside its type.

    Attributes:
        default: in the form that the dataclass holds.
        text: what it does and what it costs.
        unit: of a number; empty where it has none.
        low, high: the range of a number, both included; None where there is none.
        choices: the words that a text may be; empty where any will do.
        live: may be set while the node is active; others are read when it is configured.
    """

    default: Any
    text: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False


def _option(default: T, text: str, unit: str = "", span: tuple[float, float] | None = None,
            choices: tuple[str, ...] = (), *, live: bool = False) -> T:  # fmt: skip
    low, high = span or (None, None)
    metadata = {"option": Option(default, text, unit, low, high, choices, live)}
    field: T = dataclasses.field(default=default, metadata=metadata)
    return field


@dataclass(frozen=True)
class SyncParameters:
    """How images become sets."""

    policy: str = _option(
        "native",
        "native: sets from the cameras' phases, goes on without a camera that is missing; message_filters: its "
        "ApproximateTimeSynchronizer, which waits for all cameras and needs that package.",
        choices=("native", "message_filters"),
    )


@dataclass(frozen=True)
class PublishParameters:
    """Which outputs are published."""

    occupancy_grid: bool = _option(True, "Publish ~/occupancy_grid while somebody subscribes to it.", live=True)
    occupied_points: bool = _option(True, "Publish ~/occupied_points while somebody subscribes to it.", live=True)
    sdf_slice: bool = _option(
        True, "Publish ~/sdf_slice and ~/sdf_slice_points while somebody subscribes to them.", live=True
    )
    voxel_markers: bool = _option(
        True, "Publish ~/voxel_markers while somebody subscribes; RViz shows ~/occupied_points faster.", live=True
    )
    depth: bool = _option(
        True,
        "Publish ~/depth/<camera> while somebody subscribes; rendered for each camera that is subscribed to, so it "
        "costs most of all outputs (see depth_stride).",
        live=True,
    )
    semantic_grid: bool = _option(
        True, "Publish ~/semantic_grid while somebody subscribes, of a network that has classes.", live=True
    )
    free_points: bool = _option(
        True, "Publish ~/free_points while somebody subscribes; several times as many as occupied ones.", live=True
    )
    local_map: bool = _option(
        True, "Publish ~/local_map and ~/local_map_points while somebody subscribes and fusion.enabled is true.",
        live=True,
    )  # fmt: skip


@dataclass(frozen=True)
class FusionParameters:
    """The rolling local map."""

    enabled: bool = _option(
        False, "Fuse the volumes of successive sets into a rolling map in fixed_frame; costs time for each set.",
        live=True,
    )  # fmt: skip
    size: float = _option(60.0, "Length of the sides of the local map; memory grows with its square.", "m", (10, 400))
    decay: float = _option(
        10.0, "Time after which what is not seen any more is forgotten in the local map.", "s", (0.1, 3600),
        live=True,
    )  # fmt: skip
    hit: float = _option(
        0.85, "What a voxel that is seen occupied gains; larger ones let things appear sooner.", "log-odds", (0.01, 10),
        live=True,
    )  # fmt: skip
    miss: float = _option(
        0.4, "What a voxel that is seen free loses; larger ones clear sooner what has moved away.", "log-odds",
        (0.01, 10), live=True,
    )  # fmt: skip


@dataclass(frozen=True)
class DiagnosticsParameters:
    """Limits beyond which /diagnostics says WARN or ERROR."""

    warn_latency: float = _option(1.0, "WARN where the median from set to publishing is longer.", "s", (0, 3600),
                                  live=True)  # fmt: skip
    error_latency: float = _option(5.0, "ERROR where the median from set to publishing is longer.", "s", (0, 3600),
                                   live=True)  # fmt: skip
    warn_age: float = _option(2.0, "WARN where a camera's last image is older.", "s", (0, 3600), live=True)
    error_age: float = _option(10.0, "ERROR where a camera's last image is older.", "s", (0, 3600), live=True)
    min_rate: float = _option(
        0.0, "WARN where occupancy is published less often while images come in; 0 is never.", "Hz", (0, 1000),
        live=True,
    )  # fmt: skip


@dataclass(frozen=True)
class NodeParameters:
    """What the node was asked to do, and with it all that work on recordings as the node would: metres and seconds."""

    checkpoint: str = _option(
        "",
        "Trained network, a .safetensors file; empty takes the one that comes with the package.",
    )
    cameras: tuple[str, ...] = _option(
        AUTO, "'auto' takes every image topic with a CameraInfo beside it; or a list of camera names or image topics."
    )
    preset: str = _option(
        "",
        "Names of topics and frames of a known kind of vehicle or recording: a file of config/layouts by its name, or "
        "the path of such a YAML file. Parameters that are not at their defaults go before it.",
    )
    calibration_file: str = _option(
        "",
        "YAML with intrinsics and mounting of the cameras, for a vehicle that publishes no CameraInfo or no static "
        "transforms; empty takes them from the topics.",
    )
    base_frame: str = _option("base_link", "Frame of the vehicle (REP-105) in which the occupancy is published.")
    fixed_frame: str = _option(
        "odom", "Frame that does not move with the vehicle; poses between two stamps go through it."
    )
    ground_z: float = _option(0.0, "Height of the ground in base_frame; 0 when base_frame lies on the road.", "m",
                              (-10, 10))  # fmt: skip
    device: str = _option(
        "auto", "Where the network runs; auto is cuda if there is one.", choices=("auto", "cuda", "cpu")
    )
    autostart: bool = _option(True, "Configure and activate when started; false waits for a lifecycle manager.")
    qos: str = _option(
        "auto",
        "Reliability of the subscriptions to cameras; auto is that of the publishers. Best effort loses most images "
        "of megabytes over the default transport.",
        choices=("auto", "reliable", "best_effort"),
    )
    stamp: str = _option(
        "header",
        "Time of an image: its header's, or when it was received where headers are empty or of an own clock; then "
        "moving vehicles blur by the delay.",
        choices=("header", "receive"),
    )
    sync: SyncParameters = dataclasses.field(default_factory=SyncParameters)
    max_skew: float = _option(
        0.055, "Largest distance of a camera's image from the time at which it is expected in a set.", "s", (0, 1)
    )
    max_wait: float = _option(
        0.2, "How long, in stamps, a set waits for a camera that is late; adds to the latency only when one is.", "s",
        (0, 5),
    )  # fmt: skip
    min_cameras: int = _option(1, "Sets with fewer cameras that can be used are dropped.", "", (1, 64))
    phases: tuple[str, ...] = _option(
        (),
        "When cameras fire, relative to each other, as texts 'camera=seconds'; 0 for those not listed.",
    )
    tf_wait: float = _option(0.5, "How long to wait for transforms newer than the images.", "s", (0, 5), live=True)
    height_band: tuple[float, float] = _option(
        (0.3, 2.0), "Lowest and highest height above the ground which count in the grids.", "m", (-100, 100), live=True
    )
    local_ground: bool = _option(
        True,
        "Heights are over the ground found in each volume, which follows slopes; false: over the plane of ground_z.",
        live=True,
    )
    occupied_below: float = _option(
        0.0,
        "A voxel is occupied where the network's value (signed distance) is below this; larger ones see more, and "
        "more that is not there.",
        "m", (-10, 10), live=True,
    )  # fmt: skip
    max_rate: float = _option(
        0.0, "Work on at most so many sets per second, to leave the machine to others; 0 is as many as it can.", "Hz",
        (0, 1000), live=True,
    )  # fmt: skip
    publish: PublishParameters = dataclasses.field(default_factory=PublishParameters)
    sdf_slice_height: float = _option(0.5, "Height above the ground of ~/sdf_slice.", "m", (-100, 100), live=True)
    depth_stride: int = _option(
        4, "~/depth/<camera> has a pixel for so many of the image in each direction; the cost falls with its square.",
        "pixels", (1, 64), live=True,
    )  # fmt: skip
    max_markers: int = _option(
        20000, "Most cubes in ~/voxel_markers, the nearest first; RViz becomes slow with more.", "",
        (1, 1_000_000), live=True,
    )  # fmt: skip
    surface_only: bool = _option(
        True, "~/occupied_points holds only voxels with a neighbour that is not occupied.", live=True
    )
    fusion: FusionParameters = dataclasses.field(default_factory=FusionParameters)
    diagnostics: DiagnosticsParameters = dataclasses.field(default_factory=DiagnosticsParameters)
    save_directory: str = _option(
        "", "Folder for the files of ~/save_scene, made if missing; empty is ~/.ros/selfocc.", live=True
    )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> NodeParameters:
        """From checked values by dotted name; defaults for all others."""
        return cls().replace(values)

    def replace(self, values: Mapping[str, Any]) -> NodeParameters:
        """A copy with these checked values, by dotted name."""
        groups: dict[str, dict[str, Any]] = {}
        own: dict[str, Any] = {}
        for name, value in values.items():
            group, dot, rest = name.partition(".")
            if dot:
                groups.setdefault(group, {})[rest] = value
            else:
                own[name] = value
        nested = {group: dataclasses.replace(getattr(self, group), **rest) for group, rest in groups.items()}
        return dataclasses.replace(self, **own, **nested)

    @property
    def phases_s(self) -> dict[str, float]:
        """`phases` as seconds by camera."""
        return {camera: float(seconds) for camera, _, seconds in (text.rpartition("=") for text in self.phases)}

    def flat(self) -> dict[str, Any]:
        """All values by dotted name."""
        return {name: self[name] for name in options()}

    def __getitem__(self, name: str) -> Any:
        value: Any = self
        for part in name.split("."):
            value = getattr(value, part)
        return value


@cache
def options() -> Mapping[str, Option]:
    """Every parameter by its dotted name."""
    found: dict[str, Option] = {}
    for field in dataclasses.fields(NodeParameters):
        if "option" in field.metadata:
            found[field.name] = field.metadata["option"]
        else:
            group = getattr(NodeParameters(), field.name)
            found |= {f"{field.name}.{inner.name}": inner.metadata["option"] for inner in dataclasses.fields(group)}
    return found


def is_known(name: str) -> bool:
    """Whether the node, or rclpy for it, has such a parameter."""
    return name in options() or name.split(".")[0] in OF_RCLPY


def plain(value: Any) -> Any:
    """A value as ROS and YAML hold it: they know lists, no tuples."""
    return list(value) if isinstance(value, tuple) else value


def checked(name: str, value: Any) -> Any:
    """The value as the dataclass holds it; whole numbers do for fractional ones, as people write them in YAML.

    Args:
        name: dotted, of a parameter that exists.

    Raises:
        ParameterError: it has the wrong type or is out of range.
    """
    option = options()[name]
    if name == "cameras":
        return _camera_names(value)
    if name == "phases":
        return _phases(value)
    if isinstance(option.default, tuple):
        return _band(name, value)
    if isinstance(option.default, bool):
        if not isinstance(value, bool):
            raise ParameterError(f"parameter {name} is {value!r}, expected true or false")
        return value
    if isinstance(option.default, str):
        return _text(name, value)
    number = _number(name, value)
    if isinstance(option.default, int):
        if not number.is_integer():
            raise ParameterError(f"parameter {name} is {number:g}, expected a whole number")
        return int(number)
    return number


def _text(name: str, value: Any) -> str:
    choices = options()[name].choices
    if not isinstance(value, str):
        raise ParameterError(f"parameter {name} is {value!r}, expected a text")
    if choices and value not in choices:
        raise ParameterError(f"parameter {name} is {value!r}, expected one of {', '.join(choices)}")
    if not name.endswith("_frame"):
        return value
    if not value.strip("/"):
        raise ParameterError(f"parameter {name} is empty, expected the name of a frame")
    return value.lstrip("/")


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ParameterError(f"parameter {name} is {value!r}, expected a number")
    option = options()[name]
    # Not `value < low`: nothing is smaller than NaN.
    if option.low is not None and option.high is not None and not option.low <= value <= option.high:
        raise ParameterError(f"parameter {name} is {value:g}, expected {option.low:g} to {option.high:g}")
    return float(value)


def _camera_names(value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, (list, tuple)) else ()
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ParameterError(f"parameter cameras is {value!r}, expected 'auto' or a list of camera names or topics")
    if len(set(names)) != len(names):
        raise ParameterError(f"parameter cameras names a camera twice: {', '.join(names)}")
    return names


def _phases(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else list(value) if isinstance(value, (list, tuple, bytes)) else [value]
    phases: dict[str, float] = {}
    for text in texts:
        camera, _, seconds = text.rpartition("=") if isinstance(text, str) else ("", "", "")
        try:
            number = float(seconds)
        except ValueError:
            number = float("nan")
        if not camera.strip() or not -1 <= number <= 1:
            raise ParameterError(
                f"parameter phases holds {text!r}, expected texts 'camera=seconds' with seconds from -1 to 1"
            )
        if camera.strip() in phases:
            raise ParameterError(f"parameter phases names camera {camera.strip()!r} twice")
        phases[camera.strip()] = number
    return tuple(f"{camera}={number!r}" for camera, number in phases.items())


def _band(name: str, value: Any) -> tuple[float, float]:
    numbers = list(value) if isinstance(value, (list, tuple)) or hasattr(value, "tolist") else []
    if len(numbers) != 2:
        raise ParameterError(f"parameter {name} is {value!r}, expected [lowest, highest] in metres")
    low, high = (_number(name, number) for number in numbers)
    if not low < high:
        raise ParameterError(f"parameter {name} is [{low:g}, {high:g}], expected the lowest height first")
    return low, high
