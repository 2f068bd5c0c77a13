# SPDX-License-Identifier: Apache-2.0
"""Where a recording keeps images, calibrations and poses: a small YAML, or a preset of config/layouts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from selfocc_ros.configuration import ConfigError, config_path, from_mapping, read_yaml
from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import pose
from selfocc_ros.logs.reader import Bag
from selfocc_ros.logs.records import BagError, TopicInfo
from selfocc_ros.logs.samples import SampleReader
from selfocc_ros.sensing.discovery import CameraTopics

PRESETS = "config/layouts"
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


@dataclass(frozen=True)
class Intrinsics:
    """Calibration of a camera whose recording has no CameraInfo.

    Attributes:
        width, height: of the images as they are recorded.
        k: the 9 numbers of K, row by row.
        model, d: lens and its coefficients, as in CameraInfo.
    """

    width: int
    height: int
    k: tuple[float, ...]
    model: str = "pinhole"
    d: tuple[float, ...] = ()


@dataclass(frozen=True)
class Extrinsics:
    """Mounting of a camera that has no transform: its optical frame (z forward, x right) in the base frame.

    Attributes:
        translation: x, y, z in metres.
        quaternion: x, y, z, w.
    """

    translation: tuple[float, float, float]
    quaternion: tuple[float, float, float, float]


@dataclass(frozen=True)
class CameraLayout:
    """One camera.

    Attributes:
        image: topic of Image or CompressedImage.
        info: topic of CameraInfo; not needed with `intrinsics`.
        frame_id: optical frame, where it is not to be what the images say.
        intrinsics, extrinsics: used instead of CameraInfo and of transforms.
        mask: picture of the size of the images that is black where the camera sees its own vehicle; in a YAML file its
            path is relative to the file.
    """

    image: str
    info: str | None = None
    frame_id: str | None = None
    intrinsics: Intrinsics | None = None
    extrinsics: Extrinsics | None = None
    mask: str | None = None


@dataclass(frozen=True)
class Layout:
    """A layout of recordings.

    Attributes:
        cameras: by name. A name with a `*` stands for all cameras whose image topic fits; the `*` in its topics is
            what the names have in its place.
        base_frame, fixed_frame: frames of the vehicle and of its odometry.
        ground_z: height of the road in the base frame, metres, as the node's parameter.
        stamp: "header", or "receive" where drivers leave header stamps empty.
        max_skew, max_wait: seconds within which images make a sample, and after which it goes without the late ones.
    """

    cameras: Mapping[str, CameraLayout] = field(default_factory=dict)
    base_frame: str = "base_link"
    fixed_frame: str = "odom"
    ground_z: float = 0.0
    stamp: str = "header"
    max_skew: float = 0.055
    max_wait: float = 0.2

    @staticmethod
    def from_dict(values: Mapping[str, Any], where: str) -> Layout:
        """A layout from the mapping of a YAML file; its key `preset` names one that it changes.

        Raises:
            ConfigError: unknown keys, wrong values, no cameras.
        """
        values = dict(values)
        preset = values.pop("preset", None)
        if preset is not None:
            values = _merged(read_yaml(config_path(PRESETS, str(preset))), values)
        cameras = values.pop("cameras", None)
        if not isinstance(cameras, Mapping) or not cameras:
            raise ConfigError(f"{where}: key 'cameras' must map camera names to topics, found {cameras!r}.")
        parsed = {}
        for name, entry in cameras.items():
            if not isinstance(entry, Mapping):
                raise ConfigError(f"{where}: camera {name!r} must be a mapping, found {entry!r}.")
            if not re.fullmatch(r"[\w*][\w.*-]*", str(name)):
                raise ConfigError(f"{where}: camera {name!r} needs a name of letters, digits, '_', '-' and '.'.")
            parsed[str(name)] = from_mapping(CameraLayout, entry, f"{where}: camera {name!r}")
        layout = replace(from_mapping(Layout, values, where), cameras=parsed)
        if layout.stamp not in ("header", "receive"):
            raise ConfigError(f"{where}: stamp must be 'header' or 'receive', found {layout.stamp!r}.")
        return layout

    def to_dict(self) -> dict[str, Any]:
        """Plain values for YAML, without what is not set."""
        values = asdict(self)
        cameras = values.pop("cameras")
        values["cameras"] = {
            name: {key: value for key, value in camera.items() if value is not None} for name, camera in cameras.items()
        }
        plain: dict[str, Any] = json.loads(json.dumps(values))  # tuples become lists
        return plain

    def fingerprint(self) -> str:
        """A short hash of everything that samples depend on: all but the masks and the road."""
        bare = replace(
            self, ground_z=0.0, cameras={name: replace(camera, mask=None) for name, camera in self.cameras.items()}
        )
        return hashlib.sha256(json.dumps(bare.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def mask_of(self, camera: str) -> Path | None:
        """The mask of one of a recording's cameras, or None.

        Raises:
            ConfigError: it is named, but not there; of cameras behind a `*` not all need one.
        """
        for name, entry in self.cameras.items():
            match = re.fullmatch(re.escape(name).replace(r"\*", "(.+)"), camera)
            if match is None or entry.mask is None:
                continue
            path = Path(entry.mask.replace("*", match.group(1) if match.groups() else "*"))
            if path.is_file():
                return path
            if "*" not in entry.mask:
                raise ConfigError(f"the mask of camera {camera!r} does not exist: {path}.")
        return None

    def resolve(self, topics: Mapping[str, TopicInfo], bag: Path) -> dict[str, CameraLayout]:
        """The cameras that a recording has.

        Raises:
            BagError: none of them; lists the image topics that there are.
        """
        images = sorted(name for name, info in topics.items() if info.type in IMAGE_TYPES and info.count)
        found: dict[str, CameraLayout] = {}
        for name, camera in self.cameras.items():
            pattern = re.escape(absolute(camera.image)).replace(r"\*", "([^/]+)")
            for topic in images:
                match = re.fullmatch(pattern, absolute(topic))
                if match:
                    part = match.group(1) if match.groups() else "*"
                    found[name.replace("*", part)] = replace(
                        camera,
                        image=topic,
                        info=camera.info.replace("*", part) if camera.info else None,
                        frame_id=camera.frame_id.replace("*", part) if camera.frame_id else None,
                    )
        if not found:
            wanted = ", ".join(camera.image for camera in self.cameras.values())
            raise BagError(
                f"{bag} has none of the layout's images ({wanted}); its image topics are {', '.join(images) or 'none'}"
            )
        for name, camera in found.items():
            if camera.intrinsics is None and (camera.info is None or not topics.get(camera.info)):
                raise BagError(
                    f"{bag} has no calibration of camera '{name}': expected CameraInfo on "
                    f"{camera.info or 'a topic that the layout names'}, or 'intrinsics' of it in the layout"
                )
        return found

    def open(self, bag: Path) -> SampleReader:
        """A reader of the recording's samples.

        Raises:
            BagError: it cannot be read, or has no camera of this layout.
            CalibrationError, PoseError: intrinsics or extrinsics of the layout that are none.
        """
        with Bag(bag) as opened:
            topics = opened.topics()
        cameras = self.resolve(topics, bag)
        frames = {name: camera.frame_id for name, camera in cameras.items() if camera.frame_id}
        frames |= {name: f"{name}_layout" for name, camera in cameras.items() if camera.extrinsics}
        reader = SampleReader(
            bag,
            {
                name: CameraTopics(camera.image, camera.info or "", "Compressed" in topics[camera.image].type)
                for name, camera in cameras.items()
            },
            self.base_frame,
            self.fixed_frame,
            self.max_skew,
            self.max_wait,
            frame_ids=frames,
            receive_stamps=self.stamp == "receive",
        )
        for name, camera in cameras.items():
            if camera.intrinsics is not None:
                given = camera.intrinsics
                reader.models[name] = CameraModel.from_camera_info(
                    given.width, given.height, np.array(given.k), given.d, given.model
                )
            if camera.extrinsics is not None:
                mounting = pose(camera.extrinsics.translation, camera.extrinsics.quaternion)
                reader.tree.set_static(self.base_frame, frames[name], mounting)
        return reader


def load_layout(name_or_path: str) -> Layout:
    """A preset of config/layouts by its name, or a YAML file.

    Raises:
        ConfigError: there is no such layout, or it is wrong.
    """
    return read_layout(config_path(PRESETS, name_or_path))


def read_layout(path: Path) -> Layout:
    """The layout of a YAML file, with masks found from where it lies.

    Raises:
        ConfigError: the file is missing or wrong.
    """
    layout = Layout.from_dict(read_yaml(path), path.name)
    return replace(
        layout,
        cameras={
            name: replace(camera, mask=str(path.parent / camera.mask)) if camera.mask else camera
            for name, camera in layout.cameras.items()
        },
    )


def absolute(topic: str) -> str:
    """A topic with its leading slash, which some writers leave out."""
    return "/" + topic.lstrip("/")


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `changes`, mappings key by key."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return merged
