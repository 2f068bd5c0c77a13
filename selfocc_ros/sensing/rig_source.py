# SPDX-License-Identifier: Apache-2.0
"""What is known of a vehicle's cameras before the first message: parameters, preset and calibration file together.

The node and all that reads recordings ask the same object which topics are cameras, what their files say of them and
how their images are matched, so both make the same samples.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.node_parameters import AUTO, NodeParameters
from selfocc_ros.sensing.calibration import CameraCalibration, Extrinsics, Intrinsics, read_calibrations
from selfocc_ros.sensing.discovery import CameraTopics, choose_cameras, find_cameras, info_beside
from selfocc_ros.sensing.frames import CameraFrame
from selfocc_ros.sensing.layout import CameraLayout, Layout, absolute, load_layout
from selfocc_ros.sensing.sync import RigSynchronizer

FILLED = ("base_frame", "fixed_frame", "ground_z", "stamp", "max_skew", "max_wait", "min_cameras")
"""Parameters that a layout has too."""


@dataclass(frozen=True)
class RigSource:
    """The cameras as parameters and files describe them.

    Attributes:
        parameters: those of the node, with the layout's values for all that are at their defaults.
        layout: where topics are; None looks for image topics with a CameraInfo beside them.
        calibrations: what the calibration file says, by camera; goes before what the layout says.
    """

    parameters: NodeParameters = field(default_factory=NodeParameters)
    layout: Layout | None = None
    calibrations: Mapping[str, CameraCalibration] = field(default_factory=dict)

    @classmethod
    def of(cls, parameters: NodeParameters) -> RigSource:
        """Read the preset and the calibration file that the parameters name.

        Raises:
            ConfigError: a file is missing or wrong.
        """
        layout = load_layout(parameters.preset) if parameters.preset else None
        file = parameters.calibration_file
        calibrations = read_calibrations(Path(file).expanduser()) if file else {}
        return cls(parameters, layout, calibrations).refilled(parameters)

    @classmethod
    def of_layout(cls, layout: Layout) -> RigSource:
        """The source of a layout alone."""
        return cls(NodeParameters(), layout).refilled(NodeParameters())

    def refilled(self, parameters: NodeParameters) -> RigSource:
        """The same with other parameters; those at their defaults get the layout's values.

        What was set goes before a preset; what was set to the default cannot be told from what was not set.
        """
        if self.layout is None:
            return replace(self, parameters=parameters)
        defaults = NodeParameters()
        open_ = [name for name in FILLED if getattr(parameters, name) == getattr(defaults, name)]
        return replace(self, parameters=replace(parameters, **{name: getattr(self.layout, name) for name in open_}))

    def find(self, types: Mapping[str, str]) -> dict[str, CameraTopics]:
        """All cameras among these topics, whether the parameter `cameras` wants them or not.

        Args:
            types: message types ('sensor_msgs/msg/Image') by topic.

        Returns:
            topics by camera; `info` is empty where no CameraInfo is asked for.
        """
        if self.layout is None:
            given = {name for name, calibration in self.calibrations.items() if calibration.intrinsics is not None}
            found = find_cameras(types, given)
            return {name: replace(topics, info="") if name in given else topics for name, topics in found.items()}
        out = {}
        for name, camera in self.layout.find(types).items():
            info = camera.info or (info_beside(camera.image, types) if self.layout.intrinsics != "file" else None)
            out[name] = CameraTopics(
                camera.image, "" if self.intrinsics(name) else info or "", "Compressed" in types[camera.image]
            )
        return out

    def expected(self) -> dict[str, CameraTopics]:
        """The cameras that the preset names, before anything is heard; none where it leaves the names open."""
        if self.layout is None:
            return {}
        return {
            name: CameraTopics(
                absolute(camera.image),
                camera.info or "",
                self.layout.transport == "compressed" or camera.image.endswith("compressed"),
            )
            for name, camera in self.layout.cameras.items()
            if "*" not in name
        }

    def choose(self, found: Mapping[str, CameraTopics]) -> tuple[dict[str, CameraTopics], tuple[str, ...]]:
        """The cameras that the parameter `cameras` wants of those found, and the entries that mean none of them."""
        wanted = self.parameters.cameras
        return (dict(found), ()) if tuple(wanted) == AUTO else choose_cameras(found, wanted)

    @property
    def wanted(self) -> tuple[str, ...]:
        """The entries of the parameter `cameras`; where it says auto, the cameras of the preset by name."""
        names = tuple(self.layout.cameras) if self.layout is not None else ()
        if self.parameters.cameras != AUTO or not names or any("*" in name for name in names):
            return self.parameters.cameras
        return names

    def absent(self, entry: str, found: Collection[str], images: Collection[str]) -> str:
        """What to tell of a wanted camera that is not there.

        Args:
            entry: of `wanted`.
            found: names of the cameras that are there.
            images: the image topics that are there.
        """
        known = self._of_layout(entry)
        if known is not None:
            return (
                f"camera '{entry}' of preset {self.parameters.preset}: no images on {known.image} "
                f"(there are: {', '.join(images) or 'no images'})"
            )
        return (
            f"camera {entry!r} of parameter cameras: no such image topic with a CameraInfo beside it "
            f"(there are: {', '.join(found) or 'none'})"
        )

    def intrinsics(self, camera: str) -> Intrinsics | None:
        """What the files say of a camera's lens."""
        entry = self.calibrations.get(camera)
        if entry is not None and entry.intrinsics is not None:
            return entry.intrinsics
        known = self._of_layout(camera)
        return known.intrinsics if known is not None else None

    def extrinsics(self, camera: str) -> Extrinsics | None:
        """What the files say of a camera's mounting."""
        entry = self.calibrations.get(camera)
        if entry is not None and entry.extrinsics is not None:
            return entry.extrinsics
        known = self._of_layout(camera)
        return known.extrinsics if known is not None else None

    def models(self, cameras: Mapping[str, CameraTopics]) -> dict[str, CameraModel]:
        """The calibrations that files give, by camera.

        Raises:
            CalibrationError: intrinsics that are none.
        """
        given = {name: self.intrinsics(name) for name in cameras}
        return {name: known.camera(cameras[name].rectified) for name, known in given.items() if known is not None}

    def mountings(self, cameras: Collection[str]) -> list[tuple[str, str, NDArray[np.float64]]]:
        """(base frame, optical frame, base_from_camera) of the cameras whose mounting files give."""
        given = {name: self.extrinsics(name) for name in cameras}
        return [
            (self.parameters.base_frame, _own_frame(name), known.base_from_camera())
            for name, known in given.items()
            if known is not None
        ]

    def as_layout(self, found: Mapping[str, CameraTopics]) -> Layout:
        """A layout of the wanted ones of these cameras that says all that is known here."""
        values = self.parameters
        cameras = {
            name: replace(
                self._of_layout(name) or CameraLayout(topics.image),
                image=topics.image,
                info=topics.info or None,
                intrinsics=self.intrinsics(name),
                extrinsics=self.extrinsics(name),
            )
            for name, topics in self.choose(found)[0].items()
        }
        phases = {name: phase for name, phase in self.phases().items() if name in cameras}
        return Layout(cameras, phases=phases, **{name: getattr(values, name) for name in FILLED})

    def lacking(self, camera: str, topics: CameraTopics) -> str:
        """Why a camera can have no calibration or no mounting, or an empty text."""
        if not topics.info and self.intrinsics(camera) is None:
            what, give = "CameraInfo", "intrinsics"
        elif self.layout is not None and self.layout.extrinsics == "file" and self.extrinsics(camera) is None:
            what, give = "transform", "extrinsics"
        else:
            return ""
        return f"camera '{camera}' ({topics.image}) has no {what}: give its {give} in calibration_file or in the preset"

    def strangers(self, cameras: Collection[str]) -> list[str]:
        """A sentence for each name in the parameters or the calibration file that no camera has."""
        known = ", ".join(cameras) or "none"
        return [
            f"{where} has camera '{name}', but no camera has that name (there are: {known})"
            for where, names in (
                (self.parameters.calibration_file, self.calibrations),
                ("parameter phases", self.parameters.phases_s),
            )
            for name in names
            if name not in cameras
        ]

    def settle(self, frame: CameraFrame, receive_ns: int) -> CameraFrame:
        """The frame with the stamp and the optical frame that parameters and files give it.

        Args:
            receive_ns: when its message was received.
        """
        if self.parameters.stamp == "receive":
            frame = replace(frame, stamp_ns=receive_ns)
        if self.extrinsics(frame.camera) is not None:
            return replace(frame, frame_id=_own_frame(frame.camera))
        known = self._of_layout(frame.camera)
        return replace(frame, frame_id=known.frame_id) if known is not None and known.frame_id else frame

    def synchronizer(self, cameras: Collection[str]) -> RigSynchronizer[Any]:
        """What matches the images of these cameras."""
        values = self.parameters
        return RigSynchronizer(
            list(cameras),
            max_skew_s=values.max_skew,
            max_wait_s=values.max_wait,
            phases_s={name: phase for name, phase in self.phases().items() if name in cameras},
            min_cameras=values.min_cameras,
        )

    def phases(self) -> dict[str, float]:
        """When each camera fires (seconds): the parameter's, or else the layout's."""
        return self.parameters.phases_s or dict(self.layout.phases if self.layout else {})

    def _of_layout(self, camera: str) -> CameraLayout | None:
        return self.layout.named(camera) if self.layout is not None else None


def _own_frame(camera: str) -> str:
    """The optical frame of a camera whose mounting a file gives; no driver's, whose transforms may say otherwise."""
    return f"{camera}_calibrated"
