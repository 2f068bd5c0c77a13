# SPDX-License-Identifier: Apache-2.0
"""What the node knows of one camera: what arrived, how well it fits, what is wrong. No rclpy in here."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

WINDOW_S = 5.0

OK, WAITING, STALE, FAILING, LEFT_OUT = "ok", "waiting", "stale", "failing", "left out"

# Kinds of problems, the gravest first, and the state that they put a camera in.
_STATE_OF = {
    "gone": LEFT_OUT,
    "qos": WAITING,
    "calibration": LEFT_OUT,
    "stamp": LEFT_OUT,
    "geometry": LEFT_OUT,
    "encoding": FAILING,
    "image": FAILING,
}


@dataclass(frozen=True)
class CameraReport:
    """One camera at one moment.

    Attributes:
        state: ok, waiting (nothing came yet), stale (it has fallen silent), failing (its images cannot be used), left
            out (it cannot be used).
        reason: why it is not ok, in one sentence each; else empty.
        age_s: since the last image came in; None before the first.
        rate_hz: of the images of the last seconds, 0 where fewer than two came.
        skew_ms: of its stamp from that of the reference camera in the last set, positive if later; None without any.
        size: (width, height) of the last image; (0, 0) while unknown.
        problems: sentences by kind.
    """

    image_topic: str
    info_topic: str
    state: str = WAITING
    reason: str = ""
    images: int = 0
    age_s: float | None = None
    rate_hz: float = 0.0
    skew_ms: float | None = None
    size: tuple[int, int] = (0, 0)
    encoding: str = ""
    stamp_ns: int = 0
    calibrated: bool = False
    problems: Mapping[str, str] = field(default_factory=dict)


class CameraStatus:
    """Collects what is known of one camera; not thread-safe."""

    def __init__(self, image_topic: str, info_topic: str) -> None:
        self.image_topic = image_topic
        self.info_topic = info_topic
        self.images = 0
        self.seen_s: float | None = None
        self.calibrated = False
        self.problems: dict[str, str] = {}
        self.skew_ms: float | None = None
        self._stamp_ns = 0
        self._size = (0, 0)
        self._encoding = ""
        self._arrivals: deque[float] = deque(maxlen=256)

    def image(self, now_s: float, stamp_ns: int, size: tuple[int, int], encoding: str) -> None:
        """An image came in."""
        self.images += 1
        self.seen_s = now_s
        self._stamp_ns, self._size, self._encoding = stamp_ns, size, encoding
        self._arrivals.append(now_s)
        self.problems.pop("qos", None)

    def problem(self, kind: str, sentence: str) -> None:
        """Note a problem of this kind, or with an empty sentence that it is gone."""
        if kind not in _STATE_OF:
            raise ValueError(f"a camera's problem is one of {', '.join(_STATE_OF)}, found {kind!r}")
        if sentence:
            self.problems[kind] = sentence
        else:
            self.problems.pop(kind, None)

    def unseen(self) -> list[str]:
        """Topics of this camera on which nothing came yet, for no reason that is known."""
        image = [] if self.images or "qos" in self.problems else [self.image_topic]
        info = [] if self.calibrated or "calibration" in self.problems or not self.info_topic else [self.info_topic]
        return image + info

    def report(self, now_s: float, stale_s: float) -> CameraReport:
        """All of it now; a camera is stale where its last image is older than `stale_s`."""
        while self._arrivals and now_s - self._arrivals[0] > WINDOW_S:
            self._arrivals.popleft()
        span = self._arrivals[-1] - self._arrivals[0] if self._arrivals else 0.0
        age_s = None if self.seen_s is None else now_s - self.seen_s
        state, reasons = OK, [self.problems[kind] for kind in _STATE_OF if kind in self.problems]
        if unseen := self.unseen():
            state = WAITING
            reasons += [f"nothing on {topic} yet" for topic in unseen]
        if self.problems:
            state = next(state for kind, state in _STATE_OF.items() if kind in self.problems)
        if age_s is not None and age_s > stale_s:
            state = LEFT_OUT if "gone" in self.problems else STALE
            reasons.insert(0, f"no image on {self.image_topic} for {age_s:.1f} s")
        return CameraReport(
            image_topic=self.image_topic,
            info_topic=self.info_topic,
            state=state,
            reason="; ".join(reasons),
            images=self.images,
            age_s=age_s,
            rate_hz=(len(self._arrivals) - 1) / span if span > 0.0 else 0.0,
            skew_ms=self.skew_ms,
            size=self._size,
            encoding=self._encoding,
            stamp_ns=self._stamp_ns,
            calibrated=self.calibrated,
            problems=dict(self.problems),
        )
