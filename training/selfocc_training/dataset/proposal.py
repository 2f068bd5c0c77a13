# SPDX-License-Identifier: Apache-2.0
"""A layout for a recording that nobody has described, from its topics, their types and its transforms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from selfocc_ros.logs.reader import Bag
from selfocc_ros.logs.records import BagError
from selfocc_ros.logs.samples import SampleReader
from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.resources import resource
from selfocc_ros.sensing.discovery import CameraTopics
from selfocc_ros.sensing.layout import IMAGE_TYPES, PRESETS, CameraLayout, Layout, absolute, load_layout
from selfocc_ros.sensing.rig_source import FILLED, RigSource

_TF = "tf2_msgs/msg/TFMessage"
_LOOK_AT = 2000
"""Messages of transforms, and of images, that are looked at: seconds of a recording."""

_BASES = ("base_link", "base_footprint")
_FIXED = ("odom", "map", "world")


def propose(path: Path, vehicle: Mapping[str, Any] | None = None) -> Layout:
    """The layout that a recording seems to have.

    Cameras are those that `find_cameras` sees. The base frame is base_link, or else the frame that carries most
    cameras and moves; the fixed frame is odom, map or world, or else the parent that the base frame moves in.

    Args:
        path: recording.
        vehicle: what is known beforehand, by name of the node's parameters: those count that say which cameras there
            are, where their calibrations and frames are, and how their images are matched.

    Raises:
        BagError: no camera is found, or one that was asked for is not there; names the preset that fits, if one does.
    """
    source = RigSource.of(NodeParameters.of(vehicle or {}))
    if source.layout is not None:
        return source.as_layout(SampleReader(path, source).cameras)
    with Bag(path) as bag:
        topics = bag.topics()
        cameras = source.find({name: info.type for name, info in topics.items()})
        if not cameras:
            raise BagError(_no_cameras(path, {name: info.type for name, info in topics.items() if info.count}))
        cameras = _asked_for(cameras, source, path)
        timed, static = _edges(bag, [name for name, info in topics.items() if info.type == _TF])
        frames = _optical_frames(bag, {camera.image for camera in cameras.values()})
    given = vehicle or {}
    base = given.get("base_frame") or _base(frames, timed, static)
    fixed = given.get("fixed_frame") or _fixed(base, timed, static)
    layout = replace(source.as_layout(cameras), base_frame=base, fixed_frame=fixed)
    cameras_by_name = {_plain(name): camera for name, camera in layout.cameras.items()}
    return replace(layout, cameras=cameras_by_name, phases={_plain(k): v for k, v in layout.phases.items()})


def contradiction(layout: Layout, vehicle: Mapping[str, Any]) -> str:
    """What a proposal that follows these parameters would have otherwise than a layout that is there already.

    Only what the parameters set counts, or a preset that they name; values are compared as a proposal would write them,
    so what a layout was proposed from never contradicts it. Recordings are not looked at: a camera that the layout has
    not is none that the first recording had.

    Args:
        layout: of a dataset.
        vehicle: as `propose` takes it.

    Returns:
        a phrase like "max_skew 0.055, but the node's parameters have 0.1", or an empty text.

    Raises:
        ConfigError: the preset or the calibration file is missing or wrong.
    """
    source = RigSource.of(NodeParameters.of(vehicle))
    source = replace(source, calibrations={_plain(name): known for name, known in source.calibrations.items()})
    asked = {*vehicle, *((*FILLED, "phases") if source.layout is not None else ())}
    cameras = {name: camera for name, camera in layout.cameras.items() if "*" not in name}
    found = {name: CameraTopics(camera.image, camera.info or "", False) for name, camera in cameras.items()}
    chosen, missing = source.choose(found)
    if missing or len(chosen) < len(found):
        return _but("cameras", ", ".join(layout.cameras), ", ".join(source.parameters.cameras))
    for name in (name for name in FILLED if name in asked):
        if getattr(layout, name) != getattr(source.parameters, name):
            return _but(name, getattr(layout, name), getattr(source.parameters, name))
    phases = {name: phase for name, phase in ((_plain(k), v) for k, v in source.phases().items()) if layout.named(name)}
    if "phases" in asked and phases != layout.phases:
        return _but("phases", dict(layout.phases), phases)
    for name, camera in cameras.items():
        for key, there, now in _told(source, name, camera) if asked & {"preset", "calibration_file"} else ():
            if there != now:
                return f"other {key} of camera '{name}' than the node's preset and calibration_file give"
    return ""


def _but(name: str, there: object, now: object) -> str:
    return f"{name} {there}, but the node's parameters have {now}"


def _told(source: RigSource, name: str, camera: CameraLayout) -> Iterator[tuple[str, object, object]]:
    """(what, as a layout's camera has it, as preset and calibration file have it now)."""
    intrinsics = source.intrinsics(name)
    yield "intrinsics", camera.intrinsics, intrinsics
    yield "extrinsics", camera.extrinsics, source.extrinsics(name)
    if source.layout is not None:
        seen = (source.layout.find({camera.image: kind}).get(name) for kind in IMAGE_TYPES)
        known = next((entry for entry in seen if entry is not None), None)
        yield "images", camera.image, known.image if known is not None else None
        if known is not None:
            yield "frame_id", camera.frame_id, known.frame_id
            if known.info and intrinsics is None:
                yield "info", camera.info, known.info


def _plain(name: str) -> str:
    """A camera's name as layouts have it: where only slashes tell cameras apart, their topics are their names."""
    return name.strip("/").replace("/", "_") or "camera"


def _asked_for(found: dict[str, CameraTopics], source: RigSource, path: Path) -> dict[str, CameraTopics]:
    chosen, missing = source.choose(found)
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
        cameras = load_layout(str(preset)).cameras.values()
        if any(camera.image in absolutes for camera in cameras):
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
