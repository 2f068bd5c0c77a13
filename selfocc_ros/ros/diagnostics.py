# SPDX-License-Identifier: Apache-2.0
"""/diagnostics: the node's state and one entry per camera, once a second and whenever the state changes.

The entry `<namespace/node>: state` is also how others learn that the node is ready (`bag_player --wait-for-node`): its
key `state` is loading, discovering, ready, running, waiting, disabled or error, and `image_topics` what it subscribes
to.
"""

from __future__ import annotations

import time
from typing import Any

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from selfocc_ros.ros.status import STALE_S, CameraStatus, Snapshot

_LEVELS = {"running": DiagnosticStatus.OK, "ready": DiagnosticStatus.OK, "error": DiagnosticStatus.ERROR}
LISTENING = ("ready", "running", "waiting")


_STATE = ": state"


def node_of_state(entry: str) -> str | None:
    """The node, with its namespace, whose state an entry of this name tells; None for other entries."""
    return entry.removesuffix(_STATE) if entry.endswith(_STATE) else None


def diagnostics(node: str, snapshot: Snapshot, stamp: Time, now_s: float | None = None) -> DiagnosticArray:
    """The message for a snapshot; `now_s` is the clock of `Status` (monotonic)."""
    message = DiagnosticArray()
    message.header.stamp = stamp
    now_s = time.monotonic() if now_s is None else now_s
    message.status = [_node_entry(node, snapshot)]
    message.status += [_camera_entry(node, name, camera, now_s) for name, camera in snapshot.cameras.items()]
    return message


def _node_entry(node: str, snapshot: Snapshot) -> DiagnosticStatus:
    values = {
        "state": snapshot.state,
        "reason": snapshot.reason,
        "model": snapshot.model,
        "image_topics": ",".join(camera.image_topic for camera in snapshot.cameras.values()),
        "rate_hz": f"{snapshot.rate_hz:.2f}",
        "sets": snapshot.sets,
        "dropped": snapshot.dropped,
        "published": snapshot.published,
        "waiting_for": "; ".join(snapshot.waiting),
        **{f"latency_ms.{stage}": f"{ms:.1f}" for stage, ms in snapshot.latency_ms.items()},
    }
    level = _LEVELS.get(snapshot.state, DiagnosticStatus.WARN)
    if snapshot.state == "running" and snapshot.waiting:
        level = DiagnosticStatus.WARN
    return _entry(node + _STATE, level, snapshot.line(), values)


def _camera_entry(node: str, name: str, camera: CameraStatus, now_s: float) -> DiagnosticStatus:
    age_s = None if camera.seen_s is None else now_s - camera.seen_s
    lacks = [*camera.problems.values(), *(f"nothing on {topic} yet" for topic in camera.unseen())]
    level, text = DiagnosticStatus.OK, "ok"
    if age_s is not None and age_s > STALE_S:
        level, text = DiagnosticStatus.STALE, f"last image {age_s:.1f} s ago"
    if lacks:
        level, text = DiagnosticStatus.WARN, "; ".join(lacks)
    values = {
        "image_topic": camera.image_topic,
        "camera_info_topic": camera.info_topic,
        "images": camera.images,
        "age_s": "" if age_s is None else f"{age_s:.2f}",
        "stamp_ns": camera.stamp_ns,
        "calibrated": camera.calibrated,
    }
    return _entry(f"{node}: camera {name}", level, text, values)


def _entry(name: str, level: bytes, text: str, values: dict[str, Any]) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=text, hardware_id="selfocc_ros", values=pairs)
