# SPDX-License-Identifier: Apache-2.0
"""How long a set of images waits for its transforms, and when it does so no more. No rclpy in here.

Transforms usually come a little later than the images that they belong to, so a lookup that fails is not the end. But
what does not come must not cost every set the whole wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from selfocc_ros.geometry.transforms import ExtrapolationError, TransformError, TransformTree
from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.sensing.frames import CameraFrame
from selfocc_ros.sensing.sync import FrameSet

POLL_S = 0.005
BEHIND_SETS = 2
"""So many sets in a row must lack odometry before the next one goes on without."""

_NEWER = ""  # stands for every camera that lacks only a newer transform


class TransformWait:
    """Waits for the transforms of sets, one after the other.

    Args:
        tree: filled by another thread.
        stop: ends all waiting.
    """

    def __init__(self, tree: TransformTree, stop: threading.Event) -> None:
        self._tree = tree
        self._stop = stop
        self._hopeless: set[str] = set()
        self._behind = 0

    def forget(self) -> None:
        """Time has jumped: what did not help before may help now."""
        self._hopeless.clear()
        self._behind = 0

    def wait(
        self,
        frames: FrameSet[CameraFrame],
        parameters: NodeParameters,
        abandon: Callable[[], bool] = lambda: False,
    ) -> str:
        """Wait until the transforms reach all images of a set, at most `tf_wait`.

        A camera for which waiting once did not help, because nobody publishes its transform, is not waited for again,
        unless all that it lacks is a newer transform, or time has jumped. Nor is a transform waited for that is
        further behind than the wait is long.

        Args:
            frames: the set.
            parameters: frames, and `tf_wait`.
            abandon: whether to end at once, for the set is of no use any more.

        Returns:
            Why the set has to do without odometry, where those before it lacked it too; else nothing.
        """
        deadline = time.monotonic() + parameters.tf_wait
        while not self._stop.is_set() and not abandon():
            late = self._late(frames, parameters)
            if not late - self._hopeless:
                break
            if time.monotonic() >= deadline:
                self._hopeless |= late - {_NEWER}
                break
            self._stop.wait(POLL_S)
        return self._missing_odometry(frames.stamp_ns, parameters)

    def _late(self, frames: FrameSet[CameraFrame], parameters: NodeParameters) -> set[str]:
        """Cameras whose transforms may still come, and `_NEWER`."""
        late: set[str] = set()
        wanted = [(frame.frame_id, frame.stamp_ns) for frame in frames.items.values()]
        poses = self._tree.lookup_each(parameters.base_frame, frames.stamp_ns, wanted, parameters.fixed_frame)
        for name, pose in zip(frames.items, poses, strict=True):
            if not isinstance(pose, TransformError):
                self._hopeless.discard(name)
            elif not isinstance(pose, ExtrapolationError) or not pose.future:
                late.add(name)
            elif pose.distance_s <= parameters.tf_wait:
                late.add(_NEWER)
        return late

    def _missing_odometry(self, stamp_ns: int, parameters: NodeParameters) -> str:
        """Why odometry does not reach a stamp, if that has gone on for some sets: one may have been an accident."""
        try:
            self._tree.lookup(parameters.fixed_frame, parameters.base_frame, stamp_ns)
        except ExtrapolationError as error:
            # Images from just before the first transform are a start, and soon over.
            if error.future or error.distance_s > parameters.tf_wait:
                self._behind += 1
                return str(error) if self._behind > BEHIND_SETS else ""
        except TransformError:
            pass  # there is no odometry at all: gathering tells so
        self._behind = 0
        return ""
