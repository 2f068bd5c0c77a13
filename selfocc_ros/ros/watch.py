# SPDX-License-Identifier: Apache-2.0
"""Decides which cameras the node listens to, from what the ROS graph shows over time. No rclpy in here.

The graph fills up bit by bit when publishers start, so a choice counts only once it has stood still:

- `auto`: every image topic with a CameraInfo beside it, once nothing was added for `SETTLE_S`. Cameras that appear
  later are added the same way. Cameras whose publishers are gone leave the rig after `LEAVE_S`, unless none would be
  left: then the node keeps its rig and waits for them to come back.
- a list: all of them as soon as they are there; after `START_S` those that are there, and the others when they appear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from selfocc_ros.node_parameters import AUTO
from selfocc_ros.sensing.discovery import CameraTopics, choose_cameras

SETTLE_S = 1.0
LEAVE_S = 5.0
START_S = 5.0

Cameras = dict[str, CameraTopics]


class CameraWatch:
    """Follows the graph through `update`; `cameras` is the current choice.

    Args:
        wanted: ("auto",) or names of cameras, image topics or the namespaces that both topics of a camera share.
    """

    def __init__(self, wanted: Sequence[str]) -> None:
        self.auto = tuple(wanted) == AUTO
        self.wanted = tuple(wanted)
        self.cameras: Cameras = {}
        self.missing: tuple[str, ...] = () if self.auto else self.wanted
        self._candidate: Cameras = {}
        self._since_s = 0.0

    @property
    def deciding(self) -> bool:
        """Whether cameras are there that are not counted yet."""
        return bool(self._candidate) and self._candidate != self.cameras

    def update(self, found: Mapping[str, CameraTopics], now_s: float) -> bool:
        """Take note of the cameras that have publishers now; True when `cameras` has changed.

        Args:
            found: cameras by name.
            now_s: any clock in seconds that does not jump.
        """
        candidate, self.missing = (dict(found), ()) if self.auto else choose_cameras(found, self.wanted)
        if candidate != self._candidate:
            self._candidate, self._since_s = candidate, now_s
        if not candidate or candidate == self.cameras:
            return False
        if now_s - self._since_s < self._patience_s():
            return False
        self.cameras = candidate
        return True

    def _patience_s(self) -> float:
        if any(name not in self._candidate for name in self.cameras):
            return LEAVE_S
        if self.auto:
            return SETTLE_S
        return START_S if self.missing and not self.cameras else 0.0
