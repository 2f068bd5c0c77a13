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

from selfocc_ros.node_parameters import DiagnosticsParameters
from selfocc_ros.ros.camera_status import WINDOW_S, CameraReport, CameraStatus

GONE_S = 60.0
"""So long a camera that has left the rig is still reported."""


@dataclass(frozen=True)
class Snapshot:
    """The node's state at one moment, for the log line and /diagnostics.

    Attributes:
        state, reason: see `Status`.
        rate_hz: of publishing.
        latency_ms: median of the last seconds by stage, `total` among them.
        sets: sets of images that became complete; of these `dropped` were replaced by newer ones before they were
            worked on, `skipped` could not be used, and `published` went out.
        cameras: of the rig.
        gone: that have left the rig lately.
        stale: names of the cameras that have fallen silent while others go on.
        silent_s: since the last image of any camera came in; 0 before the first.
        waiting: what the node lacks, in sentences.
        model: the network in use.
        jumps: how often time has jumped.
        last_jump: how it did the last time.
        jumped: it has done so just now.
        use_sim_time: the node's clock is /clock.
    """

    state: str
    reason: str
    rate_hz: float
    latency_ms: Mapping[str, float]
    sets: int
    dropped: int
    skipped: int
    published: int
    cameras: Mapping[str, CameraReport]
    gone: Mapping[str, CameraReport] = field(default_factory=dict)
    stale: tuple[str, ...] = ()
    silent_s: float = 0.0
    waiting: tuple[str, ...] = ()
    model: str = ""
    jumps: int = 0
    last_jump: str = ""
    jumped: bool = False
    use_sim_time: bool = False

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

    States: `unconfigured` and `inactive` as a lifecycle node, `loading` the network, `error` it cannot be loaded or
    fails again and again, `discovering` cameras, `ready` and listening, `running`: occupancy went out within
    `WINDOW_S`, `waiting`: images come in but nothing goes out, `disabled`: told to rest.

    Args:
        clock: seconds that do not jump.
        limits: asked anew each time, since they may change; a camera is stale beyond `warn_age`.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        limits: Callable[[], DiagnosticsParameters] = DiagnosticsParameters,
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._lock = threading.Lock()
        self._lifecycle = "active"
        self._model, self._model_error, self._description = "loading", "", ""
        self._fault = ""
        self._enabled, self._sim = True, False
        self._cameras: dict[str, CameraStatus] = {}
        self._gone: dict[str, tuple[float, CameraStatus]] = {}
        self._waiting: list[str] = []
        self._troubles: dict[str, str] = {}
        self._outcome: deque[tuple[float, dict[str, float]]] = deque(maxlen=1000)
        self._arrived_s = float("-inf")
        self._sets = self._dropped = self._skips = self._published = 0
        self._skipped = ""
        self._jumps, self._last_jump, self._jumped_s = 0, "", float("-inf")

    def set_lifecycle(self, state: str) -> None:
        """The node is now unconfigured, configuring, inactive or active."""
        with self._lock:
            self._lifecycle = state
            if state == "configuring":
                self._model, self._model_error, self._description = "loading", "", ""

    def model_ready(self, description: str = "") -> None:
        """A network can be used; what it is."""
        with self._lock:
            self._model, self._description, self._fault = "ready", description, ""

    def model_failed(self, sentence: str) -> None:
        """The network cannot be loaded."""
        with self._lock:
            self._model, self._model_error = "error", sentence

    def network_fault(self, sentence: str) -> None:
        """The network fails again and again, or with an empty sentence that it works."""
        with self._lock:
            self._fault = sentence

    def set_sim_time(self, sim: bool) -> None:
        """Whether the node's clock is /clock."""
        with self._lock:
            self._sim = sim

    def set_enabled(self, enabled: bool) -> None:
        """Whether sets of images are worked on at all."""
        with self._lock:
            self._enabled = enabled

    def set_cameras(self, cameras: Mapping[str, tuple[str, str]]) -> None:
        """The rig is now these cameras: (image topic, CameraInfo topic) by name. Known ones keep their history.

        Without any camera, nothing is listened to: then none is missed either.
        """
        with self._lock:
            known, now = self._cameras, self._clock()
            self._cameras = {name: CameraStatus(*topics) for name, topics in cameras.items()}
            for name, camera in known.items():
                if cameras.get(name) == (camera.image_topic, camera.info_topic):
                    self._cameras[name] = camera
                elif name not in cameras and cameras:
                    camera.problem("gone", f"nobody publishes {camera.image_topic} any more")
                    self._gone[name] = (now, camera)
            self._gone = {name: gone for name, gone in self._gone.items() if cameras and name not in cameras}

    def set_waiting(self, sentences: list[str]) -> None:
        """What discovery waits for."""
        with self._lock:
            self._waiting = list(sentences)

    def image(self, camera: str, stamp_ns: int, size: tuple[int, int] = (0, 0), encoding: str = "") -> None:
        """An image came in."""
        with self._lock:
            self._arrived_s = self._clock()
            known = self._cameras.get(camera)
            if known is not None:
                known.image(self._arrived_s, stamp_ns, size, encoding)

    def calibration(self, camera: str, problem: str = "") -> None:
        """A CameraInfo came in, usable or not."""
        with self._lock:
            known = self._cameras.get(camera)
            if known is not None:
                known.calibrated = not problem
                known.problem("qos", "")
                known.problem("calibration", problem)

    def problem(self, camera: str, kind: str, sentence: str) -> None:
        """Note a camera's problem of this kind (calibration, geometry, image, qos, stamp); empty: it is gone."""
        with self._lock:
            known = self._cameras.get(camera)
            if known is not None:
                known.problem(kind, sentence)

    def trouble(self, kind: str, sentence: str) -> None:
        """Note what is wrong with more than one camera, or with an empty sentence that it is gone."""
        with self._lock:
            self._troubles.pop(kind, None)
            if sentence:
                self._troubles[kind] = sentence

    def jumped(self, sentence: str) -> None:
        """Time has jumped."""
        with self._lock:
            self._jumps += 1
            self._last_jump, self._jumped_s = sentence, self._clock()

    def set_formed(self, dropped: int, skews_ms: Mapping[str, float] | None = None) -> None:
        """A set of images is ready to be worked on, and so many older ones will not be."""
        with self._lock:
            self._sets += 1 + dropped
            self._dropped += dropped
            for name, skew_ms in (skews_ms or {}).items():
                if name in self._cameras:
                    self._cameras[name].skew_ms = skew_ms

    def replaced(self) -> None:
        """A set was replaced by a newer one before it was worked on."""
        with self._lock:
            self._dropped += 1

    def skipped(self, reason: str) -> None:
        """A set could not be worked on."""
        with self._lock:
            self._skips += 1
            self._skipped = reason

    def published(self, stages_s: Mapping[str, float]) -> None:
        """Occupancy went out; seconds per stage, `total` among them."""
        with self._lock:
            self._published += 1
            self._skipped = ""
            self._outcome.append((self._clock(), dict(stages_s)))

    def snapshot(self) -> Snapshot:
        """The sum of it all, now."""
        stale_s = self._limits().warn_age
        with self._lock:
            now = self._clock()
            while self._outcome and now - self._outcome[0][0] > WINDOW_S:
                self._outcome.popleft()
            self._gone = {name: gone for name, gone in self._gone.items() if now - gone[0] < GONE_S}
            recent = [stages for _, stages in self._outcome]
            latency = {
                name: 1e3 * statistics.median(s[name] for s in recent if name in s)
                for name in (recent[-1] if recent else {})
            }
            state, reason = self._state(now, bool(recent))
            stale = tuple(
                name
                for name, camera in self._cameras.items()
                # Where all of them are silent, nothing is wrong with this one.
                if camera.seen_s is not None and camera.seen_s + stale_s < self._arrived_s
            )
            return Snapshot(
                state=state,
                reason=reason,
                rate_hz=self._rate_hz(),
                latency_ms=latency,
                sets=self._sets,
                dropped=self._dropped,
                skipped=self._skips,
                published=self._published,
                cameras={name: camera.report(now, stale_s) for name, camera in self._cameras.items()},
                gone={name: camera.report(now, stale_s) for name, (_, camera) in self._gone.items()},
                stale=stale,
                silent_s=now - self._arrived_s if self._arrived_s > float("-inf") else 0.0,
                waiting=tuple(self._lacks(stale)),
                model=self._description,
                jumps=self._jumps,
                last_jump=self._last_jump,
                jumped=now - self._jumped_s < WINDOW_S,
                use_sim_time=self._sim,
            )

    def _lacks(self, stale: tuple[str, ...]) -> list[str]:
        problems = [problem for camera in self._cameras.values() for problem in camera.problems.values()]
        unseen = [topic for camera in self._cameras.values() for topic in camera.unseen()]
        return [
            *self._waiting,
            *self._troubles.values(),
            *problems,
            *([f"a first message on {', '.join(unseen)}"] if unseen else []),
            *(f"images on {self._cameras[name].image_topic}" for name in stale),
        ]

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
        if self._fault:
            return "error", self._fault
        if not self._cameras:
            return "discovering", "cameras"
        if running:
            return "running", self._skipped
        if now - self._arrived_s < WINDOW_S:
            return "waiting", self._skipped or "no set of images is complete yet"
        return "ready", ""
