# SPDX-License-Identifier: Apache-2.0
"""The working thread: takes the newest set of images, waits for its transforms, predicts, publishes. No rclpy in here.

It is a thread of its own and not a callback, so however long the network takes, /clock, transforms and images go on
being received. Whatever is wrong with a set costs that set, never the thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.transforms import ExtrapolationError, TransformError, TransformTree
from selfocc_ros.geometry.voxels import OccupancyVolume
from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.ros.latest import Latest
from selfocc_ros.ros.status import Complaints, Status
from selfocc_ros.sensing.frames import CameraFrame, RigSample
from selfocc_ros.sensing.gather import gather_sample
from selfocc_ros.sensing.sync import FrameSet

POLL_S = 0.005
_NEWER = ""  # stands for every camera that lacks only a newer transform


class PredictionLike(Protocol):
    """What a predictor says of one sample; see `runtime.predictor.Prediction`."""

    @property
    def stamp_ns(self) -> int:
        """Reference stamp of the sample."""

    @property
    def volume(self) -> OccupancyVolume:
        """Occupancy in the base frame at that stamp."""

    @property
    def scene(self) -> Any:
        """The continuous fields, for `render_depth`."""

    @property
    def timings_s(self) -> Mapping[str, float]:
        """Seconds per stage."""

    @property
    def failed(self) -> Mapping[str, str]:
        """Cameras whose image could not be used, with the reason."""


class PredictorLike(Protocol):
    """What the node asks of a predictor; see `runtime.predictor.Predictor`."""

    def predict(self, sample: RigSample) -> Any:
        """The `PredictionLike` of a sample."""

    def decide(self, prediction: Any, occupied_below: float) -> OccupancyVolume:
        """The volume of a prediction with voxels occupied where its values are below another limit than 0."""

    def render_depth(
        self,
        prediction: Any,
        camera: CameraModel,
        base_from_camera: NDArray[np.float64],
        stride: int = 1,
        least_opacity: float = 0.0,
    ) -> NDArray[np.float32]:
        """Depth in metres at every `stride`-th pixel of a camera, NaN where less of the ray than this ends anywhere."""

    def describe(self) -> str:
        """Its size, grid and device in a few words, for the log."""


class Pipeline:
    """Works on the newest set until stopped.

    Args:
        load: makes the first predictor; called on a thread of its own, since it takes seconds.
        models: the calibrations known now, by camera.
        tree: transforms, filled by others.
        parameters: asked anew for each set, since some may change.
        publish: takes a prediction of a sample out into the world; returns the seconds that each output took.
        status, complain: told what happens and what goes wrong.
    """

    def __init__(
        self,
        load: Callable[[], PredictorLike],
        models: Callable[[], dict[str, CameraModel]],
        tree: TransformTree,
        parameters: Callable[[], NodeParameters],
        publish: Callable[[Any, RigSample], Mapping[str, float]],
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
        self._enabled = True
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="selfocc-pipeline", daemon=True)
        self._predictor: PredictorLike | None = None
        self._swap_lock = threading.Lock()
        self._loader: threading.Thread | None = None
        self._next: tuple[PredictorLike, str, Future[str]] | None = None

    @property
    def predictor(self) -> PredictorLike | None:
        """The predictor in use, or None while none is loaded. Changes on the working thread only, between two sets."""
        return self._predictor

    @property
    def enabled(self) -> bool:
        """Whether sets are worked on; where not, they are dropped unseen."""
        return self._enabled

    @enabled.setter
    def enabled(self, enabled: bool) -> None:
        self._enabled = enabled
        if not enabled:
            self._newest.clear()
        self._status.set_enabled(enabled)

    def start(self) -> Future[str]:
        """Start the working thread and load the first predictor; see `replace` for the future."""
        self._thread.start()
        return self.replace(self._load)

    def replace(self, load: Callable[[], PredictorLike]) -> Future[str]:
        """Load another predictor beside the one in use, and go over to it between two sets.

        The future gives one sentence about the new predictor once it is in use, or raises SelfOccError: then the old
        one, if there is any, stays. One is loaded at a time.
        """
        future: Future[str] = Future()
        with self._swap_lock:
            if self._stop.is_set():
                future.set_exception(SelfOccError("no network is loaded: the node is about to end"))
            elif self._loader is not None:
                future.set_exception(SelfOccError("another network is being loaded: ask again when it is in use"))
            else:
                self._loader = threading.Thread(
                    target=self._load_next, args=(load, future), name="selfocc-loader", daemon=True
                )
                self._loader.start()
        return future

    def stop(self, timeout_s: float) -> bool:
        """Let the threads end after the set, or the load, in hand; True if they did."""
        deadline = time.monotonic() + timeout_s
        self._stop.set()
        self._newest.close()
        with self._swap_lock:
            loader = self._loader
        threads = [thread for thread in (self._thread, loader) if thread is not None and thread.ident is not None]
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in threads):
            return False
        self._give_up_next()
        self._predictor = None
        return True

    def offer(self, sets: list[FrameSet[CameraFrame]]) -> None:
        """Sets that became complete, oldest first: the newest is worked on next, unless a newer one comes."""
        if not self._enabled:
            return
        self._status.set_formed(dropped=len(sets) - 1)
        if self._newest.put((time.monotonic(), sets[-1])):
            self._status.replaced()

    def forget(self) -> None:
        """Drop the set that waits (time has jumped)."""
        self._newest.clear()
        self._hopeless.clear()

    def _load_next(self, load: Callable[[], PredictorLike], future: Future[str]) -> None:
        problem = ""
        try:
            predictor = load()
            sentence = predictor.describe()
        except SelfOccError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001  the node stays up and says why, whatever broke
            problem = f"the network cannot be loaded: {type(error).__name__}: {error}"
        with self._swap_lock:
            self._loader = None
            if not problem:
                self._next = (predictor, sentence, future)
        if problem:
            if self._predictor is None:
                self._status.model_failed(problem)
            future.set_exception(SelfOccError(problem))
            return
        self._newest.poke()
        if self._stop.is_set():
            self._give_up_next()

    def _adopt_next(self) -> None:
        """Go over to the predictor that has been loaded, if there is one."""
        with self._swap_lock:
            loaded, self._next = self._next, None
        if loaded is None:
            return
        self._predictor, sentence, future = loaded
        self._status.model_ready(sentence)
        future.set_result(sentence)

    def _give_up_next(self) -> None:
        with self._swap_lock:
            loaded, self._next = self._next, None
        if loaded is not None:
            loaded[-1].set_exception(SelfOccError("the network is not used: the node is about to end"))

    def _run(self) -> None:
        while self._predictor is None and not self._stop.is_set():
            self._newest.await_poke()
            self._adopt_next()
        while self._predictor is not None and not self._stop.is_set():
            item = self._newest.take()
            self._adopt_next()
            if item is None:
                continue
            formed_s, frames = item
            try:
                self._work(self._predictor, frames, formed_s)
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
        outputs_s = self._publish(prediction, sample)
        done_s = time.monotonic()
        stages = {"queue": taken_s - formed_s, "transforms": gathered_s - taken_s, **prediction.timings_s}
        stages |= {"publish": done_s - predicted_s, **{f"publish.{name}": s for name, s in outputs_s.items()}}
        self._status.published({**stages, "total": done_s - formed_s})

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
