# SPDX-License-Identifier: Apache-2.0
"""The working thread: takes the newest set of images, waits for its transforms, predicts, publishes. No rclpy in here.

It is a thread of its own and not a callback, so however long the network takes, /clock, transforms and images go on
being received. Whatever is wrong with a set costs that set, never the thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.transforms import TransformTree
from selfocc_ros.geometry.voxels import OccupancyVolume
from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.ros.complaints import Complaints
from selfocc_ros.ros.latest import Latest
from selfocc_ros.ros.status import Status
from selfocc_ros.ros.transform_wait import TransformWait
from selfocc_ros.runtime.memory import free_memory, is_out_of_memory
from selfocc_ros.sensing.frames import CameraFrame, RigSample
from selfocc_ros.sensing.gather import gather_sample
from selfocc_ros.sensing.sync import FrameSet

FAILING_SETS = 3
"""So many failures of the network in a row are an error."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 0.8


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
        forget: called on the working thread, between two sets, when what was published before is of another time.
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
        forget: Callable[[], None] = lambda: None,
    ) -> None:
        self._load = load
        self._models = models
        self._tree = tree
        self._parameters = parameters
        self._publish = publish
        self._status = status
        self._complain = complain
        self._forget = forget
        self._newest: Latest[tuple[float, int, FrameSet[CameraFrame]]] = Latest()
        self._era = self._known_era = 0  # counts the jumps of time: what was asked of us, and what has been done
        self._failures = 0
        self._rest_until_s = 0.0
        self._enabled = True
        self._stop = threading.Event()
        self._transforms = TransformWait(tree, self._stop)
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
        newest = sets[-1]
        skews_ms = {name: (frame.stamp_ns - newest.stamp_ns) * 1e-6 for name, frame in newest.items.items()}
        self._status.set_formed(dropped=len(sets) - 1, skews_ms=skews_ms)
        if self._newest.put((time.monotonic(), self._era, newest)):
            self._status.replaced()

    def forget(self) -> None:
        """Time has jumped: the set that waits is dropped, and after the one in hand all that belongs to the old time.

        What the network works on is still published: in a loop that is shorter than that takes, nothing ever would.
        """
        self._era += 1
        if self._newest.clear():
            self._status.replaced()
        self._newest.poke()

    def _load_next(self, load: Callable[[], PredictorLike], future: Future[str]) -> None:
        problem, memory = "", False
        try:
            predictor = load()
            sentence = predictor.describe()
        except SelfOccError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001  the node stays up and says why, whatever broke
            problem, memory = f"the network cannot be loaded: {type(error).__name__}: {error}", is_out_of_memory(error)
        if memory:  # the half of it that is there must not keep the one in use from working
            free_memory()
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
        replaces = self._predictor is not None
        self._predictor, sentence, future = loaded
        if replaces:
            free_memory()
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
            self._between_sets()
        while self._predictor is not None and not self._stop.is_set():
            self._rest()
            item = self._newest.take()
            self._between_sets()
            if item is None:
                continue
            formed_s, era, frames = item
            try:
                self._work(self._predictor, frames, formed_s, era)
            except SelfOccError as error:
                self._skip(type(error), str(error))
            except Exception as error:  # noqa: BLE001  a bad frame must not end a live node; told once per kind
                self._skip(type(error), f"{type(error).__name__}: {error}")

    def _rest(self) -> None:
        """Wait until the next set may be taken; meanwhile a newer one takes its place."""
        while not self._stop.is_set() and (left_s := self._rest_until_s - time.monotonic()) > 0.0:
            self._newest.await_poke(left_s)
            self._between_sets()

    def _between_sets(self) -> None:
        self._adopt_next()
        era = self._era
        if era == self._known_era:
            return
        self._known_era = era
        self._transforms.forget()
        try:
            self._forget()
        except Exception as error:  # noqa: BLE001  it must not end a live node
            self._complain(("forget", type(error)), f"what belongs to another time stays: {error!r}")

    def _skip(self, key: object, reason: str) -> None:
        self._status.skipped(reason)
        self._complain(("skip", key), f"a set of images was skipped: {reason}")

    def _work(self, predictor: PredictorLike, frames: FrameSet[CameraFrame], formed_s: float, era: int) -> None:
        parameters = self._parameters()
        taken_s = time.monotonic()
        if parameters.max_rate > 0.0:
            self._rest_until_s = taken_s + 1.0 / parameters.max_rate
        unmoved = self._transforms.wait(frames, parameters, abandon=lambda: era != self._era)
        if era != self._era:
            self._status.replaced()
            return
        models = self._models()
        sample = gather_sample(
            frames,
            models,
            {},
            self._tree,
            parameters.base_frame,
            parameters.fixed_frame,
            unmoved,
        )
        self._tell_geometry(frames, models, sample, parameters.fixed_frame)
        if self._too_few(len(sample.frames), parameters, sample.problems.values()):
            return
        gathered_s = time.monotonic()
        prediction = self._predict(predictor, sample)
        if prediction is None:
            return
        predicted_s = time.monotonic()
        for frame in sample.frames:
            problem = prediction.failed.get(frame.camera, "")
            self._status.problem(frame.camera, "image", problem)
            if problem:
                self._complain((frame.camera, "image"), problem)
        if self._too_few(len(sample.frames) - len(prediction.failed), parameters, prediction.failed.values()):
            return
        outputs_s = self._publish(prediction, sample)
        done_s = time.monotonic()
        stages = {"queue": taken_s - formed_s, "transforms": gathered_s - taken_s, **prediction.timings_s}
        stages |= {"publish": done_s - predicted_s, **{f"publish.{name}": s for name, s in outputs_s.items()}}
        self._status.published({**stages, "total": done_s - formed_s})

    def _too_few(self, usable: int, parameters: NodeParameters, reasons: Iterable[str]) -> bool:
        """Whether a set has too few cameras that can be used, and is skipped."""
        if usable >= parameters.min_cameras:
            return False
        found = "none of its cameras" if not usable else f"only {usable} of its cameras"
        wanted = "" if parameters.min_cameras == 1 else f" (parameter min_cameras is {parameters.min_cameras})"
        self._skip("few", f"{found} can be used{wanted}: {'; '.join(reasons)}")
        return True

    def _tell_geometry(
        self, frames: FrameSet[CameraFrame], models: Mapping[str, CameraModel], sample: RigSample, fixed_frame: str
    ) -> None:
        # What is wrong with a camera's calibration is told where CameraInfo comes in.
        problems = {name: text for name, text in sample.problems.items() if name in models or name not in frames.items}
        for name in frames.items:
            self._status.problem(name, "geometry", problems.get(name, ""))
        self._status.trouble("motion", problems.get(fixed_frame, ""))
        for name, problem in problems.items():
            self._complain((name, "geometry"), problem)

    def _predict(self, predictor: PredictorLike, sample: RigSample) -> Any | None:
        """The prediction, or None where the network failed; then the next set has to wait, longer each time.

        A sample that cannot be used (SelfOccError) is no failure of the network.
        """
        try:
            prediction = predictor.predict(sample)
        except SelfOccError:
            raise
        except Exception as error:  # noqa: BLE001  whatever a network raises must not end a live node
            kind, sentence, memory = type(error), f"{type(error).__name__}: {error}", is_out_of_memory(error)
        else:
            self._failures = 0
            self._status.network_fault("")
            return prediction
        # Only now: until the exception is gone, its traceback holds all that the network had allocated.
        if memory:
            free_memory()
            sentence = f"the device is out of memory ({sentence}); caches were freed"
        self._failures += 1
        if self._failures >= FAILING_SETS:
            pause_s = min(FIRST_PAUSE_S * 2.0 ** min(self._failures - FAILING_SETS, 16), LONGEST_PAUSE_S)
            self._rest_until_s = time.monotonic() + pause_s
            self._status.network_fault(
                f"the network failed {self._failures} times in a row, the next try is in {pause_s:.1f} s: {sentence}"
            )
        self._skip(kind, sentence)
        return None
