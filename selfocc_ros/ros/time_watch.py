# SPDX-License-Identifier: Apache-2.0
"""Notices stamps that nobody can work with, and time that jumps. No rclpy in here.

Jumps back are found by the synchroniser, from stamps alone. A jump forward cannot be told from a pause by stamps; here
it is known how much time has really passed.
"""

from __future__ import annotations

LEAP_S = 10.0
"""Sets that are so much further apart than they came in have jumped."""
STUCK_IMAGES = 3
"""So many images in a row with stamps that do not go on are no accident."""


class TimeWatch:
    """Judges the stamps of all cameras.

    Args:
        source: where stamps come from, 'header' or 'receive'; the parameter `stamp`.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._empty: dict[str, int] = {}
        self._stuck: dict[str, int] = {}
        self._last_set: tuple[int, float] | None = None

    def is_empty(self, stamp_ns: int) -> bool:
        """Whether this is no stamp at all but a header that nobody has filled in."""
        return stamp_ns == 0 and self._source == "header"

    def image(self, camera: str, topic: str, stamp_ns: int, *, ignored: bool) -> str:
        """Take note of an image; returns what is wrong with the camera's stamps, or nothing.

        Args:
            camera, topic: where it came from.
            stamp_ns: of the image.
            ignored: the synchroniser had no use for it.
        """
        if self.is_empty(stamp_ns):
            # A simulation may begin at 0: one such image is lost and not worth a word.
            self._empty[camera] = self._empty.get(camera, 0) + 1
            if self._empty[camera] < 2:
                return ""
            return (
                f"{topic}: the headers have no stamp (0); fill it in at the camera, or set parameter stamp to receive, "
                "which takes the time of arrival"
            )
        self._empty.pop(camera, None)
        self._stuck[camera] = self._stuck.get(camera, 0) + 1 if ignored else 0
        if self._stuck[camera] < STUCK_IMAGES:
            return ""
        clock = "the camera's clock" if self._source == "header" else "/clock"
        return f"{topic}: the stamps do not go on ({stamp_ns * 1e-9:.3f} s again); does {clock} stand still?"

    def leap_s(self, stamp_ns: int, now_s: float) -> float:
        """Seconds by which the stamp of a set is ahead of the time that has passed, where that is a jump; else 0.

        Args:
            stamp_ns: of a set, in their order.
            now_s: any clock in seconds that does not jump.
        """
        last, self._last_set = self._last_set, (stamp_ns, now_s)
        if last is None:
            return 0.0
        advance_s = (stamp_ns - last[0]) * 1e-9
        leap_s = advance_s - (now_s - last[1])
        # Half of it, for a recording may be played several times as fast and hold a pause.
        return advance_s if leap_s > max(LEAP_S, 0.5 * advance_s) else 0.0

    def forget(self) -> None:
        """Time has jumped, or the rig has changed."""
        self._empty.clear()
        self._stuck.clear()
        self._last_set = None


def jump_sentence(seconds: float) -> str:
    """What is said of a jump by so many seconds, negative where it is back."""
    if seconds < 0:
        return f"time went back by {-seconds:.1f} s (a recording that starts again?): starting afresh"
    return f"time went forward by {seconds:.1f} s (a recording that was moved on?): starting afresh"
