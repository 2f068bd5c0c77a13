# SPDX-License-Identifier: Apache-2.0
"""What the node knows about itself: rate, latency, drops, and what each camera lacks. No rclpy in here.

Written by the receiving and the working thread, read by the reports; all methods are safe to call from any thread.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

WINDOW_S = 5.0
STALE_S = 2.0
TELL_AGAIN_S = 30.0


class Complaints:
    """Tells each kind of problem once and then at most every `TELL_AGAIN_S`, however often it occurs."""

    def __init__(self, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._told: dict[object, float] = {}
        self._lock = threading.Lock()

    def __call__(self, key: object, sentence: str) -> None:
        """Tell `sentence` unless something with this `key` was told lately."""
        now = self._clock()
        with self._lock:
            if now - self._told.get(key, float("-inf")) < TELL_AGAIN_S:
                return
            self._told[key] = now
        self._tell(sentence)


@dataclass
class CameraStatus:
    """What is known of one camera; an empty text means that there is no such problem."""

    image_topic: str
    info_topic: str
    images: int = 0
    seen_s: float | None = None
    stamp_ns: int = 0
    calibrated: bool = False
    problems: dict[str, str] = field(default_factory=dict)  # kind -> sentence

    def unseen(self) -> list[str]:
        """Topics of this camera on which nothing came yet, for no reason that is known."""
        image = [] if self.images or "qos" in self.problems else [self.image_topic]
        info = [] if self.calibrated or "calibration" in self.problems else [self.info_topic]
        return image + info


@dataclass(frozen=True)
class Snapshot:
    """The node's state at one moment, for the log line and /diagnostics.

    `stale` names the cameras that have fallen silent while others go on; `waiting` says what the node waits for;
    `model` describes the network in use.
    """

    state: str
    reason: str
    rate_hz: float
    latency_ms: dict[str, float]
    sets: int
    dropped: int
    published: int
    cameras: dict[str, CameraStatus]
    stale: list[str]
    waiting: list[str]
    model: str = ""

    def line(self) -> str:
        """One line for the log."""
        parts = [self.state + (f" ({self.reason})" if self.reason else "")]
        if self.latency_ms:
            stages = ", ".join(f"{name} {ms:.0f}" for name, ms in self.latency_ms.items() if name != "total")
            parts.append(f"{self.rate_hz:.1f} Hz, {self.latency_ms['total']:.0f} ms ({stages})")
        if self.sets:
            parts.append(f"{self.published} sets published, {self.dropped} dropped")
        if self.waiting:
            parts.append("waits for: " + "; ".join(self.waiting))
        return " | ".join(parts)


class Status:
    """Collects what happens; `snapshot` sums it up.

    States: `unconfigured` and `inactive` as a lifecycle node, `loading` the network, `error` it cannot be loaded,
    `discovering` cameras, `ready` and listening, `running`: occupancy went out within `WINDOW_S`, `waiting`: images
    come in but nothing goes out, `disabled`: told to rest.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._lifecycle = "active"
        self._model, self._model_error, self._description = "loading", "", ""
        self._enabled = True
        self._cameras: dict[str, CameraStatus] = {}
        self._waiting: list[str] = []
        self._outcome: deque[tuple[float, dict[str, float]]] = deque(maxlen=1000)
        self._arrived_s = float("-inf")
        self._sets = self._dropped = self._published = 0
        self._skipped = ""

    def set_lifecycle(self, state: str) -> None:
        """The node is now unconfigured, configuring, inactive or active."""
        with self._lock:
            self._lifecycle = state
            if state == "configuring":
                self._model, self._model_error, self._description = "loading", "", ""

    def model_ready(self, description: str = "") -> None:
        """A network can be used; what it is."""
        with self._lock:
            self._model, self._description = "ready", description

    def model_failed(self, sentence: str) -> None:
        """The network cannot be loaded."""
        with self._lock:
            self._model, self._model_error = "error", sentence

    def set_enabled(self, enabled: bool) -> None:
        """Whether sets of images are worked on at all."""
        with self._lock:
            self._enabled = enabled

    def set_cameras(self, cameras: Mapping[str, tuple[str, str]]) -> None:
        """The rig is now these cameras: (image topic, CameraInfo topic) by name. Known ones keep their history."""
        with self._lock:
            known = self._cameras
            self._cameras = {name: CameraStatus(*topics) for name, topics in cameras.items()}
            for name, camera in known.items():
                if cameras.get(name) == (camera.image_topic, camera.info_topic):
                    self._cameras[name] = camera

    def set_waiting(self, sentences: list[str]) -> None:
        """What discovery waits for."""
        with self._lock:
            self._waiting = list(sentences)

    def image(self, camera: str, stamp_ns: int) -> None:
        """An image came in."""
        with self._lock:
            self._arrived_s = self._clock()
            known = self._cameras.get(camera)
            if known is not None:
                known.images += 1
                known.seen_s, known.stamp_ns = self._arrived_s, stamp_ns
                known.problems.pop("qos", None)

    def calibration(self, camera: str, problem: str = "") -> None:
        """A CameraInfo came in, usable or not."""
        with self._lock:
            known = self._cameras.get(camera)
            if known is not None:
                known.calibrated = not problem
                known.problems.pop("qos", None)
        self.problem(camera, "calibration", problem)

    def problem(self, camera: str, kind: str, sentence: str) -> None:
        """Note a problem of this kind, or with an empty sentence that it is gone."""
        with self._lock:
            known = self._cameras.get(camera)
            if known is None:
                return
            if sentence:
                known.problems[kind] = sentence
            else:
                known.problems.pop(kind, None)

    def set_formed(self, dropped: int) -> None:
        """A set of images is ready to be worked on, and so many older ones will not be."""
        with self._lock:
            self._sets += 1 + dropped
            self._dropped += dropped

    def replaced(self) -> None:
        """A set was replaced by a newer one before it was worked on."""
        with self._lock:
            self._dropped += 1

    def skipped(self, reason: str) -> None:
        """A set could not be worked on."""
        with self._lock:
            self._skipped = reason

    def published(self, stages_s: Mapping[str, float]) -> None:
        """Occupancy went out; seconds per stage, `total` among them."""
        with self._lock:
            self._published += 1
            self._skipped = ""
            self._outcome.append((self._clock(), dict(stages_s)))

    def snapshot(self) -> Snapshot:
        """The sum of it all, now."""
        with self._lock:
            now = self._clock()
            while self._outcome and now - self._outcome[0][0] > WINDOW_S:
                self._outcome.popleft()
            recent = [stages for _, stages in self._outcome]
            latency = {
                name: 1e3 * statistics.median(s[name] for s in recent if name in s)
                for name in (recent[-1] if recent else {})
            }
            state, reason = self._state(now, bool(recent))
            stale = [
                name
                for name, camera in self._cameras.items()
                # Where all of them are silent, nothing is wrong with this one.
                if camera.seen_s is not None and camera.seen_s + STALE_S < self._arrived_s
            ]
            cameras = {
                name: CameraStatus(**{**vars(c), "problems": dict(c.problems)}) for name, c in self._cameras.items()
            }
            unseen = [topic for camera in cameras.values() for topic in camera.unseen()]
            return Snapshot(
                state, reason, self._rate_hz(), latency, self._sets, self._dropped, self._published, cameras, stale,
                self._waiting
                + [problem for camera in cameras.values() for problem in camera.problems.values()]
                + ([f"a first message on {', '.join(unseen)}"] if unseen else [])
                + [f"images on {cameras[name].image_topic}" for name in stale],
                self._description,
            )  # fmt: skip

    def _rate_hz(self) -> float:
        if len(self._outcome) < 2:
            return 0.0
        span = self._outcome[-1][0] - self._outcome[0][0]
        return (len(self._outcome) - 1) / span if span > 0 else 0.0

    def _state(self, now: float, running: bool) -> tuple[str, str]:
        if self._model == "error":
            return "error", self._model_error
        if self._lifecycle == "unconfigured":
            return "unconfigured", "waits to be configured"
        if self._model == "loading":
            return "loading", "the network"
        if self._lifecycle == "inactive":
            return "inactive", "waits to be activated"
        if not self._enabled:
            return "disabled", "by ~/set_enabled"
        if not self._cameras:
            return "discovering", "cameras"
        if running:
            return "running", self._skipped
        if now - self._arrived_s < WINDOW_S:
            return "waiting", self._skipped or "no set of images is complete yet"
        return "ready", ""
