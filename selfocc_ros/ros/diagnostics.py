# SPDX-License-Identifier: Apache-2.0
"""/diagnostics: the node's state and one entry per camera, once a second and whenever the state changes.

The entry `<namespace/node>: state` is also how others learn that the node is ready (`bag_player --wait-for-node`): its
key `state` is loading, discovering, ready, running, waiting, disabled or error, and `image_topics` what it subscribes
to.
"""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from selfocc_ros.node_parameters import DiagnosticsParameters
from selfocc_ros.ros import camera_status
from selfocc_ros.ros.camera_status import CameraReport
from selfocc_ros.ros.status import Snapshot

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
LISTENING = ("ready", "running", "waiting")

_LEVELS = {"running": OK, "ready": OK, "error": ERROR}
_STATE = ": state"


def node_of_state(entry: str) -> str | None:
    """The node, with its namespace, whose state an entry of this name tells; None for other entries."""
    return entry.removesuffix(_STATE) if entry.endswith(_STATE) else None


def diagnostics(
    node: str, snapshot: Snapshot, stamp: Time, limits: DiagnosticsParameters | None = None
) -> DiagnosticArray:
    """The message for a snapshot; `limits` decide where WARN and ERROR begin."""
    limits = limits or DiagnosticsParameters()
    message = DiagnosticArray()
    message.header.stamp = stamp
    message.status = [_node_entry(node, snapshot, limits)]
    cameras = {**snapshot.cameras, **snapshot.gone}
    message.status += [_camera_entry(node, name, camera, limits) for name, camera in cameras.items()]
    return message


def alarms(snapshot: Snapshot, limits: DiagnosticsParameters) -> list[tuple[bytes, str]]:
    """Each limit that is exceeded, as (level, sentence)."""
    found: list[tuple[bytes, str]] = []
    latency_s = snapshot.latency_ms.get("total", 0.0) * 1e-3
    for what, value, warn, error, name in (
        ("it takes {:.1f} s from a set to publishing", latency_s, limits.warn_latency, limits.error_latency, "latency"),
        ("no camera has sent an image for {:.1f} s", snapshot.silent_s, limits.warn_age, limits.error_age, "age"),
    ):
        level, limit = (ERROR, error) if value > error else (WARN, warn)
        if value > limit:
            prefix = "error" if level == ERROR else "warn"
            found.append((level, f"{what.format(value)}, more than diagnostics.{prefix}_{name} ({limit:g} s)"))
    if snapshot.state in ("running", "waiting") and snapshot.rate_hz < limits.min_rate:
        text = f"occupancy goes out at {snapshot.rate_hz:.1f} Hz, less than diagnostics.min_rate"
        found.append((WARN, f"{text} ({limits.min_rate:g} Hz)"))
    return found


def _node_entry(node: str, snapshot: Snapshot, limits: DiagnosticsParameters) -> DiagnosticStatus:
    values = {
        "state": snapshot.state,
        "reason": snapshot.reason or (snapshot.last_jump if snapshot.jumped else ""),
        "model": snapshot.model,
        "image_topics": ",".join(camera.image_topic for camera in snapshot.cameras.values()),
        "rate_hz": f"{snapshot.rate_hz:.2f}",
        "sets": snapshot.sets,
        "dropped": snapshot.dropped,
        "skipped": snapshot.skipped,
        "published": snapshot.published,
        "use_sim_time": str(snapshot.use_sim_time).lower(),
        "time_jumps": snapshot.jumps,
        "last_time_jump": snapshot.last_jump,
        "waiting_for": "; ".join(snapshot.waiting),
        **{f"latency_ms.{stage}": f"{ms:.1f}" for stage, ms in snapshot.latency_ms.items()},
    }
    level = _LEVELS.get(snapshot.state, WARN)
    if snapshot.state == "running" and (snapshot.waiting or snapshot.reason or snapshot.jumped):
        level = WARN
    exceeded = alarms(snapshot, limits)
    text = " | ".join([snapshot.line(), *(sentence for _, sentence in exceeded)])
    return _entry(node + _STATE, max([level, *(alarm for alarm, _ in exceeded)]), text, values)


def _camera_entry(node: str, name: str, camera: CameraReport, limits: DiagnosticsParameters) -> DiagnosticStatus:
    level = OK if camera.state == camera_status.OK else WARN
    if camera.age_s is not None and camera.age_s > limits.error_age:
        level = ERROR
    values = {
        "state": camera.state,
        "reason": camera.reason,
        "age_s": "" if camera.age_s is None else f"{camera.age_s:.2f}",
        "rate_hz": f"{camera.rate_hz:.2f}",
        "skew_ms": "" if camera.skew_ms is None else f"{camera.skew_ms:.1f}",
        "size": "{}x{}".format(*camera.size) if any(camera.size) else "",
        "encoding": camera.encoding,
        "image_topic": camera.image_topic,
        "camera_info_topic": camera.info_topic,
        "images": camera.images,
        "stamp_ns": camera.stamp_ns,
        "calibrated": camera.calibrated,
    }
    return _entry(f"{node}: camera {name}", level, camera.reason or camera.state, values)


def _entry(name: str, level: bytes, text: str, values: dict[str, Any]) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=text, hardware_id="selfocc_ros", values=pairs)
