# SPDX-License-Identifier: Apache-2.0
"""What arrives on /tf and /tf_static, and how late: whether transforms come in time for the images that need them."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from selfocc_ros.logs.convert import stamp_ns

Edge = tuple[str, str]

_REMEMBERED = 2000


class TransformWatch:
    """Notes every transform; safe to feed from one thread and to ask from another.

    Args:
        now_ns: the clock by which delays are told.
    """

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self.messages: Counter[str] = Counter()
        self._times: dict[Edge, deque[tuple[int, int]]] = {}  # of edges on /tf: stamp and receive time
        self._parents: dict[str, set[str]] = {}

    def add(self, topic: str, message: Any) -> None:
        """A message came in."""
        now_ns = self._now_ns()
        with self._lock:
            self.messages[topic] += 1
            for transform in message.transforms:
                parent, child = transform.header.frame_id.lstrip("/"), transform.child_frame_id.lstrip("/")
                self._parents.setdefault(child, set()).add(parent)
                if topic != "/tf_static":
                    times = self._times.setdefault((parent, child), deque(maxlen=_REMEMBERED))
                    times.append((stamp_ns(transform.header.stamp), now_ns))

    def two_parents(self) -> list[str]:
        """One sentence for each frame that is published below two others."""
        with self._lock:
            return [
                f"the frame {child} is published below {' and below '.join(sorted(parents))}: one of them must stop"
                for child, parents in sorted(self._parents.items())
                if len(parents) > 1
            ]

    def delay_s(self, frames: Iterable[str]) -> float | None:
        """Median of receive time less stamp over the timed transforms above `frames`; None without one."""
        delays = [delay for delay, _, _ in self._above(frames).values()]
        return max(delays) if delays else None

    def late(self, frames: Iterable[str], images_delay_s: float, wait_s: float) -> list[str]:
        """One sentence for each timed transform above `frames` that comes too late for images.

        Args:
            frames: those of the vehicle and its cameras.
            images_delay_s: receive time less stamp of the images.
            wait_s: how long the node waits.
        """
        sentences = []
        for (parent, child), (delay_s, period_s, _) in sorted(self._above(frames).items()):
            # In the worst case an image is taken just after one transform and has to wait for the next.
            after_s = delay_s + period_s - images_delay_s
            if after_s > wait_s:
                sentences.append(
                    f"the transform {parent} -> {child} comes up to {after_s:.2f} s after the images that need it "
                    f"({1 / period_s:.1f} Hz, stamped {delay_s:.2f} s before it is received), and the node waits "
                    f"{wait_s:g} s: raise tf_wait, or publish it sooner or more often"
                )
        return sentences

    def _above(self, frames: Iterable[str]) -> dict[Edge, tuple[float, float, int]]:
        """Delay and period in seconds and count of the timed transforms between `frames` and their roots."""
        with self._lock:
            edges: set[Edge] = set()
            waiting = [frame.lstrip("/") for frame in frames]
            while waiting:
                child = waiting.pop()
                new = {(parent, child) for parent in self._parents.get(child, ())} - edges
                edges |= new
                waiting += [parent for parent, _ in new]
            times = {
                edge: np.array(self._times[edge], np.int64) for edge in edges if len(self._times.get(edge, ())) > 1
            }
        out = {}
        for edge, stamps in times.items():
            gaps = np.diff(stamps[:, 0])
            if (gaps > 0).any():
                delay_s = float(np.median(stamps[:, 1] - stamps[:, 0])) * 1e-9
                out[edge] = (delay_s, float(np.median(gaps[gaps > 0])) * 1e-9, len(stamps))
        return out
