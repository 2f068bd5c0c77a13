# SPDX-License-Identifier: Apache-2.0
"""What a recording consists of, whatever its container: topics and serialised messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from selfocc_ros.errors import SelfOccError


class BagError(SelfOccError, ValueError):
    """A recording cannot be read or written; the sentence names the file and what is wrong with it."""


@dataclass(frozen=True)
class TopicInfo:
    """One topic of a recording.

    Attributes:
        type: ROS 2 type name, such as `sensor_msgs/msg/CameraInfo`.
        count: messages recorded (or readable, where the file is damaged).
        latched: offered as transient_local (ROS 1: latching), so that late subscribers get the last message.
        reliable: offered as reliable.
    """

    type: str
    count: int
    latched: bool = False
    reliable: bool = True


class RawMessage(NamedTuple):
    """A message as recorded: topic, ROS 2 type name, receive time in ns, and its CDR bytes."""

    topic: str
    type: str
    receive_ns: int
    data: bytes | memoryview


# ROS 1 knew this type under another name; its fields are the same.
_RENAMED = {"tf/msg/tfMessage": "tf2_msgs/msg/TFMessage"}


def ros2_type(name: str) -> str:
    """The ROS 2 name of a message type: `tf/tfMessage` -> `tf2_msgs/msg/TFMessage`."""
    parts = name.split("/")
    full = f"{parts[0]}/msg/{parts[1]}" if len(parts) == 2 else name
    return _RENAMED.get(full, full)
