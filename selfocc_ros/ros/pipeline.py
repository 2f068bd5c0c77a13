# SPDX-License-Identifier: Apache-2.0
"""The working thread: takes the newest set of images, waits for its transforms, predicts, publishes. No rclpy in here.

It is a thread of its own and not a callback, so however long the network takes, /clock, transforms and images go on
being received. Whatever is wrong with a set costs that set, never the thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.transforms import ExtrapolationError, TransformError, TransformTree
from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.ros.latest import Latest
from selfocc_ros.ros.status import Complaints, Status
from selfocc_ros.sensing.frames import CameraFrame
from selfocc_ros.sensing.gather import gather_sample
from selfocc_ros.sensing.sync import FrameSet

POLL_S = 0.005
_NEWER = ""  # stands for every camera that lacks only a newer transform


class PredictorLike(Protocol):
    """What the pipeline asks of a predictor."""

    def predict(self, sample: Any) -> Any:
        """A prediction with `volume`, `timings_s` and `failed`."""


class Pipeline:
    """Works on the newest set until stopped.

    Args:
        load: makes the predictor; called on the working thread, since it takes seconds.
        models: the calibrations known now, by camera.
        tree: transforms, filled by others.
        parameters: asked anew for each set, since some may change.
        publish: takes the prediction out into the world.
        status, complain: told what happens and what goes wrong.
    """

    def __init__(
        self,
        load: Callable[[], PredictorLike],
        models: Callable[[], dict[str, CameraModel]],
        tree: TransformTree,
        parameters: Callable[[], NodeParameters],
        publish: Callable[[Any, int], None],
        status: Status,
        complain: Complaints,
    ) -> None:
        self._load = load
        self._models = models
        self._tree = tree
        self._parameters = parameters
        self._publish = publish
        self._status = status
        self._complain = complain
        self._newest: Latest[tuple[float, FrameSet[CameraFrame]]] = Latest()
        self._hopeless: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="selfocc-pipeline", daemon=True)

    def start(self) -> None:
        """Start the working thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Let the thread end after the set in hand; True if it did."""
        self._stop.set()
        self._newest.close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def offer(self, sets: list[FrameSet[CameraFrame]]) -> None:
        """Sets that became complete, oldest first: the newest is worked on next, unless a newer one comes."""
        self._status.set_formed(dropped=len(sets) - 1)
        if self._newest.put((time.monotonic(), sets[-1])):
            self._status.replaced()

    def forget(self) -> None:
        """Drop the set that waits (time has jumped)."""
        self._newest.clear()
        self._hopeless.clear()

    def _run(self) -> None:
        try:
            predictor = self._load()
        except SelfOccError as error:
            self._status.model_failed(str(error))
            return
        except Exception as error:  # noqa: BLE001  the node stays up and says why, whatever broke
            self._status.model_failed(f"the network cannot be loaded: {type(error).__name__}: {error}")
            return
        self._status.model_ready()
        while (item := self._newest.take()) is not None:
            formed_s, frames = item
            try:
                self._work(predictor, frames, formed_s)
            except SelfOccError as error:
                self._skip(type(error), str(error))
            except Exception as error:  # noqa: BLE001  a bad frame must not end a live node; told once per kind
                self._skip(type(error), f"{type(error).__name__}: {error}")

    def _skip(self, key: object, reason: str) -> None:
        self._status.skipped(reason)
        self._complain(("skip", key), f"a set of images was skipped: {reason}")

    def _work(self, predictor: PredictorLike, frames: FrameSet[CameraFrame], formed_s: float) -> None:
        parameters = self._parameters()
        taken_s = time.monotonic()
        self._await_transforms(frames, parameters)
        models = self._models()
        sample = gather_sample(
            frames,
            models,
            {},
            self._tree,
            parameters.base_frame,
            parameters.fixed_frame,
        )
        # What is wrong with a camera's calibration is told where CameraInfo comes in.
        problems = {name: text for name, text in sample.problems.items() if name in models or name not in frames.items}
        for name in frames.items:
            self._status.problem(name, "geometry", problems.get(name, ""))
        for name, problem in problems.items():
            self._complain((name, "geometry"), problem)
        if not sample.frames:
            self._skip("empty", f"none of its cameras can be used: {'; '.join(sample.problems.values())}")
            return
        gathered_s = time.monotonic()
        prediction = predictor.predict(sample)
        predicted_s = time.monotonic()
        for frame in sample.frames:
            problem = prediction.failed.get(frame.camera, "")
            self._status.problem(frame.camera, "image", problem)
            if problem:
                self._complain((frame.camera, "image"), problem)
        self._publish(prediction.volume, sample.stamp_ns)
        done_s = time.monotonic()
        stages = {"queue": taken_s - formed_s, "transforms": gathered_s - taken_s, **prediction.timings_s}
        self._status.published({**stages, "publish": done_s - predicted_s, "total": done_s - formed_s})

    def _await_transforms(self, frames: FrameSet[CameraFrame], parameters: NodeParameters) -> None:
        """Wait until the transforms reach all images, at most `tf_wait`.

        Transforms usually come a little later than the images that they belong to, so a lookup that fails is not the
        end. A camera for which waiting once did not help, because nobody publishes its transform, is not waited for
        again, unless all that it lacks is a newer transform, or time has jumped back.
        """
        deadline = time.monotonic() + parameters.tf_wait
        while not self._stop.is_set():
            late: set[str] = set()
            for name, frame in frames.items.items():
                try:
                    self._tree.lookup_between(
                        parameters.base_frame, frames.stamp_ns, frame.frame_id, frame.stamp_ns, parameters.fixed_frame
                    )
                    self._hopeless.discard(name)
                except TransformError as error:
                    late.add(_NEWER if isinstance(error, ExtrapolationError) and error.future else name)
            if not late - self._hopeless:
                return
            if time.monotonic() >= deadline:
                self._hopeless |= late - {_NEWER}
                return
            self._stop.wait(POLL_S)
