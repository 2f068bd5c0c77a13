# SPDX-License-Identifier: Apache-2.0
"""Where a vehicle or a recording has its images, calibrations and poses: a small YAML, or a preset of config/layouts.

The node's parameter `preset`, `selfocc check`, `replay` and `prepare` all take these files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from selfocc_ros.configuration import ConfigError, config_path, from_mapping, nearest_hint, read_yaml
from selfocc_ros.sensing.calibration import Extrinsics, Intrinsics, parse_extrinsics, parse_intrinsics

PRESETS = "config/layouts"
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")

_CASES: dict[str, Callable[[str], str]] = {"keep": str, "upper": str.upper, "lower": str.lower}
_CHOICES = {
    "stamp": ("header", "receive"),
    "transport": ("auto", "raw", "compressed"),
    "intrinsics": ("camera_info", "file"),
    "extrinsics": ("tf", "file"),
}
_TEMPLATES = ("image", "info", "frame_id")


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
    """A layout of topics and frames.

    Attributes:
        cameras: by name. A name with a `*` stands for all cameras whose image topic fits; the `*` in its topics is
            what the names have in its place.
        base_frame, fixed_frame: frames of the vehicle and of its odometry.
        ground_z: height of the road in the base frame, metres, as the node's parameter.
        stamp: "header", or "receive" where drivers leave header stamps empty.
        max_skew, max_wait: seconds within which images make a sample, and after which it goes without the late ones.
        transport: "raw" or "compressed" takes images of that kind only; "auto" what the image topics are.
        intrinsics: "camera_info", or "file" where no camera has a CameraInfo.
        extrinsics: "tf", or "file" where no camera has a transform.
        phases: when a camera fires (seconds), by camera, relative to anything they have in common.
        min_cameras: sets with fewer cameras are not used.
    """

    cameras: Mapping[str, CameraLayout] = field(default_factory=dict)
    base_frame: str = "base_link"
    fixed_frame: str = "odom"
    ground_z: float = 0.0
    stamp: str = "header"
    max_skew: float = 0.055
    max_wait: float = 0.2
    transport: str = "auto"
    intrinsics: str = "camera_info"
    extrinsics: str = "tf"
    phases: Mapping[str, float] = field(default_factory=dict)
    min_cameras: int = 1

    @staticmethod
    def from_dict(values: Mapping[str, Any], where: str, folder: Path = Path()) -> Layout:
        """A layout from the mapping of a YAML file; its key `preset` names one that it changes.

        Args:
            where: names the file in error messages.
            folder: where files of intrinsics are looked up.

        Raises:
            ConfigError: unknown keys, wrong values, no cameras.
        """
        values = _with_preset(values, where)
        cameras = _expanded(values, where)
        phases = values.pop("phases", {})
        parsed = {name: _camera(entry, f"{where}: camera {name!r}", folder) for name, entry in cameras.items()}
        layout = replace(
            from_mapping(Layout, values, where), cameras=parsed, phases=_phases(phases, parsed, f"{where}: phases")
        )
        for key, choices in _CHOICES.items():
            if getattr(layout, key) not in choices:
                expected = " or ".join(map(repr, choices))
                raise ConfigError(f"{where}: {key} must be {expected}, found {getattr(layout, key)!r}.")
        for key in ("max_skew", "max_wait"):
            if not getattr(layout, key) >= 0.0:
                raise ConfigError(f"{where}: {key} must be 0 or more seconds, found {getattr(layout, key)!r}.")
        return layout

    def to_dict(self) -> dict[str, Any]:
        """Plain values for YAML, without what is not set."""
        values = asdict(self)
        del values["cameras"]
        for name in _LATER:
            if values[name] == getattr(_DEFAULT, name):
                del values[name]
        values["cameras"] = {
            name: {key: value for key, value in asdict(camera).items() if value is not None}
            | ({"intrinsics": camera.intrinsics.to_dict()} if camera.intrinsics else {})
            for name, camera in self.cameras.items()
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
        for entry, part in self._entries(camera):
            if entry.mask is None:
                continue
            path = Path(entry.mask.replace("*", part))
            if path.is_file():
                return path
            if "*" not in entry.mask:
                raise ConfigError(f"the mask of camera {camera!r} does not exist: {path}.")
        return None

    def named(self, camera: str) -> CameraLayout | None:
        """The entry of a camera by its name, topics and frame of it filled in; None where there is none."""
        return next((_filled(entry, entry.image, part) for entry, part in self._entries(camera)), None)

    def _entries(self, camera: str) -> Iterator[tuple[CameraLayout, str]]:
        """The entries whose name fits a camera's, and what their `*` stands for."""
        for name, entry in self.cameras.items():
            match = re.fullmatch(re.escape(name).replace(r"\*", "(.+)"), camera)
            if match:
                yield entry, match.group(1) if match.groups() else "*"

    def find(self, types: Mapping[str, str]) -> dict[str, CameraLayout]:
        """The cameras whose images are there, with the names of the topics as they are.

        Args:
            types: message types ('sensor_msgs/msg/Image') by topic.
        """
        wanted = {"raw": IMAGE_TYPES[:1], "compressed": IMAGE_TYPES[1:]}.get(self.transport, IMAGE_TYPES)
        images = sorted(name for name, kind in types.items() if kind in wanted)
        found: dict[str, CameraLayout] = {}
        for name, camera in self.cameras.items():
            pattern = re.escape(absolute(camera.image)).replace(r"\*", "([^/]+)")
            endings = ("", "/compressed") if self.transport == "compressed" else ("",)
            for topic, ending in ((topic, ending) for ending in endings for topic in images):
                match = re.fullmatch(pattern + ending, absolute(topic))
                part = match.group(1) if match and match.groups() else "*"
                if match and name.replace("*", part) not in found:
                    found[name.replace("*", part)] = _filled(camera, topic, part)
        return found


_DEFAULT = Layout()
_LATER = ("transport", "intrinsics", "extrinsics", "phases", "min_cameras")
"""Keys that are not written where they are at their defaults: layouts without them keep their fingerprint."""


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
    layout = Layout.from_dict(read_yaml(path), path.name, path.parent)
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


def _filled(camera: CameraLayout, image: str, part: str) -> CameraLayout:
    """An entry with `part` in place of the `*` of its topics and frame."""
    info, frame_id = camera.info, camera.frame_id
    return replace(
        camera,
        image=image.replace("*", part),
        info=info.replace("*", part) if info else None,
        frame_id=frame_id.replace("*", part) if frame_id else None,
    )


def _with_preset(values: Mapping[str, Any], where: str, seen: Collection[str] = ()) -> dict[str, Any]:
    """The values with those of the preset below them, and of that one's preset below these."""
    values = dict(values)
    cameras = values.get("cameras")
    if isinstance(cameras, list):
        values["cameras"] = {name: {} for name in cameras}
    preset = values.pop("preset", None)
    if preset is None:
        return values
    if preset in seen:
        raise ConfigError(f"{where}: preset {preset!r} is based on itself.")
    base = _with_preset(read_yaml(config_path(PRESETS, str(preset))), where, (*seen, preset))
    return _merged(base, values)


def _expanded(values: dict[str, Any], where: str) -> dict[str, Any]:
    """The cameras' entries with templates filled in; takes `cameras`, the templates and `case` out of the values."""
    cameras = values.pop("cameras", None)
    templates = {key: values.pop(key) for key in _TEMPLATES if key in values}
    case = values.pop("case", "keep")
    if case not in _CASES:
        raise ConfigError(f"{where}: case must be one of {', '.join(_CASES)}, found {case!r}.")
    if not isinstance(cameras, Mapping) or not cameras:
        raise ConfigError(f"{where}: key 'cameras' must map camera names to topics, found {cameras!r}.")
    out: dict[str, Any] = {}
    for name, entry in cameras.items():
        if not isinstance(entry, Mapping):
            raise ConfigError(f"{where}: camera {name!r} must be a mapping, found {entry!r}.")
        if not re.fullmatch(r"[\w*][\w.*-]*", str(name)):
            raise ConfigError(f"{where}: camera {name!r} needs a name of letters, digits, '_', '-' and '.'.")
        spelt = _CASES[case](str(name))
        out[str(name)] = {
            key: value.replace("{camera}", spelt) if key in _TEMPLATES and isinstance(value, str) else value
            for key, value in {**templates, **entry}.items()
        }
    return out


def _camera(entry: Mapping[str, Any], where: str, folder: Path) -> CameraLayout:
    values = dict(entry)
    given: dict[str, Any] = {}
    if values.get("intrinsics") is not None:
        given["intrinsics"] = parse_intrinsics(values.pop("intrinsics"), f"{where}: intrinsics", folder)
    if values.get("extrinsics") is not None:
        given["extrinsics"] = parse_extrinsics(values.pop("extrinsics"), f"{where}: extrinsics")
    return replace(from_mapping(CameraLayout, values, where), **given)


def _phases(values: Any, cameras: Mapping[str, CameraLayout], where: str) -> dict[str, float]:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} must map camera names to seconds, found {values!r}.")
    for name, seconds in values.items():
        if name not in cameras and not any("*" in known for known in cameras):
            raise ConfigError(f"{where}: there is no camera {name!r}{nearest_hint(str(name), cameras)}.")
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise ConfigError(f"{where}: camera {name!r} must have a number of seconds, found {seconds!r}.")
    return {str(name): float(seconds) for name, seconds in values.items()}


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `changes`, mappings key by key."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return merged
