# SPDX-License-Identifier: Apache-2.0
"""The RViz layout of a vehicle: rviz/occ.rviz with its cameras, its frame and the name of its node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from selfocc_ros.errors import SelfOccError
from selfocc_ros.sensing.discovery import CameraTopics

NODE = "/selfocc"
"""The node as the layout file names it."""

OPEN_IMAGES = 6
"""So many cameras have their picture open at once; the others are a click away."""

_IMAGE = "rviz_default_plugins/Image"
_TRANSPORT = "/compressed"


class LayoutError(SelfOccError, ValueError):
    """An RViz layout cannot be used; the sentence names the file."""


@dataclass(frozen=True)
class VehicleLayout:
    """A layout for one vehicle.

    Attributes:
        text: what the file for `rviz2 -d` holds.
        remappings: (name, topic) of topics that RViz must hear under another name. It takes a topic for compressed
            only where its name ends in /compressed.
    """

    text: str
    remappings: tuple[tuple[str, str], ...] = ()


def vehicle_layout(
    path: str | Path,
    cameras: Mapping[str, CameraTopics] | None = None,
    base_frame: str = "",
    node: str = NODE,
) -> VehicleLayout:
    """Fit a layout file to a vehicle.

    Args:
        path: a layout that RViz saved, such as rviz/occ.rviz.
        cameras: topics by camera name, in the place of the cameras of the file; None or none keeps those.
        base_frame: the vehicle's frame; empty keeps that of the file.
        node: full name of the node that publishes.

    Raises:
        LayoutError: the file cannot be read or is no layout.
    """
    layout = _read(path)
    manager = layout["Visualization Manager"]
    remappings: list[tuple[str, str]] = []
    if cameras:
        images = [shown for shown in manager["Displays"] if _is_camera(shown)]
        others = [shown for shown in manager["Displays"] if not _is_camera(shown) and not _is_depth(shown)]
        model = images[0] if images else {"Class": _IMAGE, "Topic": {}}
        new: list[Any] = []
        for number, (name, topics) in enumerate(cameras.items()):
            topic = topics.image
            if topics.compressed and not topic.endswith(_TRANSPORT):
                topic += _TRANSPORT
                remappings.append((topic, topics.image))
            new.append(_image(model, f"Camera {name}", topic, shown=number < OPEN_IMAGES))
        new += [_image(model, f"Depth {name}", f"{NODE}/depth/{name}", shown=False) for name in cameras]
        manager["Displays"] = others + new
    if base_frame:
        manager["Global Options"]["Fixed Frame"] = base_frame
        _replace(manager, {"Reference Frame": base_frame, "Target Frame": base_frame})
    if node != NODE:
        _rename(manager, node)
    return VehicleLayout(yaml.safe_dump(layout, sort_keys=False), tuple(remappings))


def _read(path: str | Path) -> dict[str, Any]:
    try:
        layout = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no YAML"
        raise LayoutError(f"RViz layout {path}: cannot be read ({reason})") from error
    manager = layout.get("Visualization Manager") if isinstance(layout, dict) else None
    if not isinstance(manager, dict) or not isinstance(manager.get("Displays"), list):
        raise LayoutError(f"RViz layout {path}: expected 'Visualization Manager:' with a list of 'Displays:'")
    manager.setdefault("Global Options", {})
    found: dict[str, Any] = layout
    return found


def _topic(display: Any) -> str:
    topic = display.get("Topic")
    return str(topic.get("Value", "")) if isinstance(topic, dict) else ""


def _is_camera(display: Any) -> bool:
    return display.get("Class") == _IMAGE and not _topic(display).startswith(NODE + "/")


def _is_depth(display: Any) -> bool:
    return display.get("Class") == _IMAGE and _topic(display).startswith(f"{NODE}/depth/")


def _image(model: Mapping[str, Any], name: str, topic: str, *, shown: bool) -> dict[str, Any]:
    depth = topic.startswith(f"{NODE}/depth/")
    return {
        **model,
        "Name": name,
        "Enabled": shown,
        "Value": shown,
        "Normalize Range": depth,
        # Best effort hears every publisher; it is the subscription of a picture to look at.
        "Topic": {**model["Topic"], "Value": topic, "Reliability Policy": "Best Effort"},
    }


def _replace(node: Any, values: Mapping[str, str]) -> None:
    """Set these keys wherever they stand."""
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _replace(child, values)
    if isinstance(node, dict):
        node.update({key: value for key, value in values.items() if key in node})


def _rename(node: Any, name: str) -> None:
    """Give topics of the node its full name."""
    for key, child in list(node.items() if isinstance(node, dict) else enumerate(node)):
        if isinstance(child, (dict, list)):
            _rename(child, name)
        elif key == "Value" and isinstance(child, str) and child.startswith(NODE + "/"):
            node[key] = name + child.removeprefix(NODE)
