# SPDX-License-Identifier: Apache-2.0
"""A layout for a recording that nobody has described, from its topics, their types and its transforms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from selfocc_ros.configuration import read_yaml
from selfocc_ros.logs.reader import Bag
from selfocc_ros.logs.records import BagError
from selfocc_ros.node_parameters import AUTO
from selfocc_ros.resources import resource
from selfocc_ros.sensing.discovery import CameraTopics, choose_cameras, find_cameras
from selfocc_training.dataset.layout import IMAGE_TYPES, PRESETS, CameraLayout, Layout, absolute

_TF = "tf2_msgs/msg/TFMessage"
_LOOK_AT = 2000
"""Messages of transforms, and of images, that are looked at: seconds of a recording."""

_BASES = ("base_link", "base_footprint")
_FIXED = ("odom", "map", "world")
_KNOWN = ("base_frame", "fixed_frame", "ground_z", "max_skew", "max_wait")
"""Parameters of the node that a layout has too."""


def propose(path: Path, vehicle: Mapping[str, Any] | None = None) -> Layout:
    """The layout that a recording seems to have.

    Cameras are those that `find_cameras` sees. The base frame is base_link, or else the frame that carries most
    cameras and moves; the fixed frame is odom, map or world, or else the parent that the base frame moves in.

    Args:
        path: recording.
        vehicle: what is known beforehand, as in the node's parameters: cameras, base_frame, fixed_frame, ground_z,
            max_skew and max_wait count.

    Raises:
        BagError: no camera is found, or one that was asked for is not there; names the preset that fits, if one does.
    """
    with Bag(path) as bag:
        topics = bag.topics()
        cameras = find_cameras({name: info.type for name, info in topics.items()})
        if not cameras:
            raise BagError(_no_cameras(path, {name: info.type for name, info in topics.items() if info.count}))
        cameras = _asked_for(cameras, (vehicle or {}).get("cameras", AUTO), path)
        timed, static = _edges(bag, [name for name, info in topics.items() if info.type == _TF])
        frames = _optical_frames(bag, {camera.image for camera in cameras.values()})
    known = {name: value for name, value in (vehicle or {}).items() if name in _KNOWN}
    base = known.pop("base_frame", None) or _base(frames, timed, static)
    fixed = known.pop("fixed_frame", None) or _fixed(base, timed, static)
    # Where only slashes tell cameras apart, their topics are their names.
    cameras = {name.strip("/").replace("/", "_") or "camera": camera for name, camera in cameras.items()}
    layout = {name: CameraLayout(camera.image, camera.info) for name, camera in cameras.items()}
    return Layout(layout, base, fixed, **known)


def _asked_for(found: dict[str, CameraTopics], wanted: Sequence[str], path: Path) -> dict[str, CameraTopics]:
    if tuple(wanted) == AUTO:
        return found
    chosen, missing = choose_cameras(found, wanted)
    if missing:
        raise BagError(f"{path} has no camera {missing[0]!r}, found {', '.join(found)}")
    return chosen


def layout_text(layout: Layout, origin: str) -> str:
    """The layout as YAML that explains itself; `origin` says in a phrase where it comes from."""
    head = (
        f"# Where the recordings keep images, calibrations and poses: {origin}.\n"
        "# Change a copy of it and pass that with --layout; docs/dataset.md explains the keys.\n"
    )
    return head + yaml.safe_dump(layout.to_dict(), sort_keys=False)


def _no_cameras(path: Path, kinds: Mapping[str, str]) -> str:
    images = sorted(name for name, kind in kinds.items() if kind in IMAGE_TYPES)
    if not images:
        return f"{path} has no images: expected topics of sensor_msgs Image or CompressedImage"
    absolutes = {absolute(name) for name in images}
    for preset in sorted(resource(PRESETS).glob("*.yaml")):
        cameras = read_yaml(preset)["cameras"].values()
        if any(camera["image"] in absolutes for camera in cameras):
            return (
                f"{path} has no CameraInfo beside its images; its topics are those of the layout {preset.stem}: "
                f"pass --layout {preset.stem}, or a YAML file with 'preset: {preset.stem}' and each camera's intrinsics"
            )
    return (
        f"{path} has no CameraInfo beside its images ({', '.join(images)}): pass a --layout that names its topic, or "
        "gives each camera's intrinsics"
    )


def _edges(bag: Bag, topics: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Parents by child, of transforms that change and of static ones."""
    timed: dict[str, str] = {}
    static: dict[str, str] = {}
    for topic, _, msg in islice(bag.messages(topics), _LOOK_AT):
        edges = static if topic.rpartition("/")[2] == "tf_static" else timed
        for item in msg.transforms:
            edges[item.child_frame_id.lstrip("/")] = item.header.frame_id.lstrip("/")
    return timed, static


def _optical_frames(bag: Bag, topics: set[str]) -> list[str]:
    frames: dict[str, str] = {}
    for topic, _, msg in islice(bag.messages(topics), 100 * len(topics)):
        frames.setdefault(topic, str(msg.header.frame_id).lstrip("/"))
        if len(frames) == len(topics):
            break
    return list(frames.values())


def _base(frames: list[str], timed: Mapping[str, str], static: Mapping[str, str]) -> str:
    known = {*timed, *timed.values(), *static, *static.values()}
    for name in _BASES:
        if name in known:
            return name
    tops: Counter[str] = Counter()
    for frame in frames:
        top, seen = frame, {frame}
        while top in static and static[top] not in seen:
            top = static[top]
            seen.add(top)
        tops[top] += 1
    moving = [top for top, _ in tops.most_common() if top in timed]
    return moving[0] if moving else (tops.most_common(1)[0][0] if tops else "") or _BASES[0]


def _fixed(base: str, timed: Mapping[str, str], static: Mapping[str, str]) -> str:
    above, seen = [], {base}
    frame = base
    while (parent := timed.get(frame) or static.get(frame)) is not None and parent not in seen:
        above.append(parent)
        seen.add(parent)
        frame = parent
    return next((name for name in _FIXED if name in above), above[0] if above else _FIXED[0])
