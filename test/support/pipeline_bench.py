# SPDX-License-Identifier: Apache-2.0
"""The working thread with a network that tests write themselves, and without DDS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.transforms import TransformTree
from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.ros.complaints import Complaints
from selfocc_ros.ros.pipeline import Pipeline
from selfocc_ros.ros.status import Status
from selfocc_ros.sensing.frames import CameraFrame, RigSample
from selfocc_ros.sensing.sync import FrameSet

MS = 1_000_000
CAMERA = CameraModel(8, 6, np.array([[8.0, 0, 3.5], [0, 8.0, 2.5], [0, 0, 1]]))


def a_set(stamp_ms: int, *names: str) -> FrameSet[CameraFrame]:
    names = names or ("front",)
    frames = {name: CameraFrame(name, stamp_ms * MS, f"{name}_optical", "jpeg", b"") for name in names}
    return FrameSet(stamp_ms * MS, frames, ())


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30.0
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.002)


def a_predictor(predict: Callable[[RigSample], Any], name: str) -> Any:
    return SimpleNamespace(predict=predict, describe=lambda: name)


class PipelineBench:
    """A pipeline whose predictor is `self.predict`, which may be replaced; collects what comes out."""

    def __init__(self, **parameters: Any) -> None:
        self.parameters = NodeParameters(**{"tf_wait": 5.0, **parameters})
        self.tree = TransformTree()
        self.tree.set_static("base_link", "front_optical", np.eye(4))
        self.told: list[str] = []
        self.samples: list[RigSample] = []
        self.published: list[int] = []
        self.forgotten: list[int] = []  # after how many were published
        self.status = Status()
        self.status.set_cameras({"front": ("/front/image", "/front/info"), "left": ("/left/image", "/left/info")})
        self.load: Callable[[], Any] = lambda: a_predictor(lambda sample: self.predict(sample), "the first")
        self.predict: Callable[[RigSample], Any] = self.remember
        self.pipeline = Pipeline(
            load=lambda: self.load(),
            models=lambda: {"front": CAMERA, "left": CAMERA},
            tree=self.tree,
            parameters=lambda: self.parameters,
            publish=self.publish,
            status=self.status,
            complain=Complaints(self.told.append),
            forget=lambda: self.forgotten.append(len(self.published)),
        )

    def publish(self, _: Any, sample: RigSample) -> dict[str, float]:
        self.published.append(sample.stamp_ns // MS)
        return {"grid": 0.25}

    def remember(self, sample: RigSample) -> Any:
        self.samples.append(sample)
        return SimpleNamespace(volume=None, timings_s={}, failed={})

    def odometry(self, *stamps_ms: int) -> None:
        for stamp_ms in stamps_ms:
            pose = np.eye(4)
            pose[0, 3] = stamp_ms * 0.01
            self.tree.set("odom", "base_link", stamp_ms * MS, pose)

    def held(self) -> tuple[threading.Event, threading.Event]:
        """Let the network hold the next samples until told: (one is in its hands, it may go on)."""
        busy, go_on = threading.Event(), threading.Event()

        def slow(sample: RigSample) -> Any:
            busy.set()
            go_on.wait(30.0)
            return self.remember(sample)

        self.predict = slow
        return busy, go_on
