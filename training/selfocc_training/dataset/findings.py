# SPDX-License-Identifier: Apache-2.0
"""What is noticed about a recording while it is prepared; plain values, kept with the drive, for the report."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.logs.check import BagCheck
from selfocc_ros.logs.samples import SampleReader
from selfocc_ros.sensing.decode import decode
from selfocc_ros.sensing.frames import CameraFrame, DecodeError, RigSample
from selfocc_training.dataset.odometer import Odometer, standstill_share
from selfocc_training.dataset.sample import Sample

EXPOSURE_EVERY = 10
"""Of so many images of a camera, one is decoded to see how bright it is."""

_SATURATED, _BLACK = 250, 5
_TF_GAP_S = 0.25
_CLOCK_MS = 100.0
"""Drivers need different times to hand out an image, but not this different."""
_CLOCK_SET_NS = 1_000_000_000
"""As the synchroniser and the transform tree have it."""
_OFTEN = 0.1
_KEPT = 20
_SPREAD = (5.0, 50.0, 95.0)


class Findings:
    """Collects while one recording is read; memory grows by some 40 bytes an image and 8 bytes a transform.

    Args:
        reader: of the recording.
        unused: why image topics are not read, where that is known.

    Attributes:
        left_out: why images were not kept, and how often, by camera.
    """

    def __init__(self, reader: SampleReader, unused: Mapping[str, str]) -> None:
        self._reader, self._unused = reader, unused
        self._check = BagCheck(reader)
        self._stamps = {name: _Stamps() for name in reader.cameras}
        self._offsets: dict[str, array[int]] = {name: array("q") for name in reader.cameras}
        self._exposure: dict[str, array[float]] = {name: array("d") for name in reader.cameras}
        self._transforms: dict[tuple[str, str], _Stamps] = defaultdict(_Stamps)
        self._sample_stamps, self._distances = array("q"), array("d")
        self._missing: dict[str, array[int]] = {name: array("q") for name in reader.cameras}
        self._sizes: dict[str, Counter[tuple[int, int]]] = defaultdict(Counter)
        self._repeated = 0
        self._jumps_back: list[tuple[int, int]] = []
        self.left_out: dict[str, Counter[str]] = defaultdict(Counter)

    def add_frame(self, frame: CameraFrame, receive_ns: int) -> None:
        """Take note of an image as it is recorded."""
        self._check.add_frame(frame, receive_ns)
        stamps = self._stamps[frame.camera]
        if len(stamps.all) % EXPOSURE_EVERY == 0:
            try:
                grey = decode(frame, (1, 1)).mean(axis=2)
            except DecodeError:
                pass  # whoever keeps images will say so
            else:
                shares = float((grey >= _SATURATED).mean()), float((grey <= _BLACK).mean())
                self._exposure[frame.camera].extend((float(grey.mean()) / 255.0, *shares))
        stamps.add(frame.stamp_ns, receive_ns)

    def add_transform(self, parent: str, child: str, stamp_ns: int, receive_ns: int) -> None:
        """Take note of a transform that changes with time."""
        self._transforms[parent.lstrip("/"), child.lstrip("/")].add(stamp_ns, receive_ns)

    def add_set(self, sample: RigSample) -> None:
        """Take note of what the synchroniser gave out, whether it is of use or not."""
        self._check.add_sample(sample)
        for frame in sample.frames:
            self._offsets[frame.camera].append(frame.stamp_ns - sample.stamp_ns)

    def add_jump_back(self, before_ns: int, stamp_ns: int) -> None:
        """Take note of a set whose stamp is not later than that of the set before it."""
        self._jumps_back.append((before_ns, stamp_ns))

    def add_repeated(self) -> None:
        """Take note of a set of a time that was taken already."""
        self._repeated += 1

    def add_kept(self, sample: Sample) -> None:
        """Take note of a sample that became part of the dataset."""
        self._sample_stamps.append(sample.stamp_ns)
        self._distances.append(sample.distance_m)
        for image in sample.images:
            self._sizes[image.name][image.camera.width, image.camera.height] += 1
        for name in sample.missing:
            self._missing[name].append(sample.stamp_ns)

    def finish(self, odometer: Odometer) -> dict[str, Any]:
        """Everything in plain values, once the recording has been read to its end."""
        check = self._check.finish()
        stamps = np.array(self._sample_stamps, np.int64)
        clocks = _clocks({name: camera.delay_ms for name, camera in check.cameras.items() if camera.images})
        cameras = {}
        for name, camera in check.cameras.items():
            cameras[name] = {
                "topic": camera.image_topic,
                "images": camera.images,
                "used": camera.used,
                "rate_hz": camera.rate_hz,
                "size": camera.size,
                "lens": camera.lens,
                "encodings": list(camera.encodings),
                "frame_id": camera.frame_id,
                "delay_ms": camera.delay_ms,
                "problems": camera.problems,
                "notes": [
                    *camera.notes,
                    *clocks.get(name, ()),
                    *self._absences(name, stamps),
                    *_several(self._sizes[name]),
                    *(f"{count} images: {why}" for why, count in self.left_out[name].most_common(3)),
                ],
                **_drops(self._stamps[name].runs()),
                "offset_ms": _spread(np.array(self._offsets[name], np.float64) * 1e-6),
                **_exposure(self._exposure[name]),
            }
        begun = int(stamps[0]) if len(stamps) else 0
        return {
            "duration_s": check.duration_s,
            "messages": check.messages,
            "damage": check.damage,
            "unused_images": {**check.unused_images, **self._unused},
            "frames": list(check.frames),
            "sets": check.sets,
            "complete_sets": check.complete_sets,
            "set_rate_hz": check.set_rate_hz,
            "spread_ms": check.spread_ms,
            "notes": [note for note in check.notes if note != check.damage],
            "repeated_sets": self._repeated,
            "jumps_back": [
                {"at_s": (t - begun) * 1e-9, "seconds": (t - to) * 1e-9} for t, to in self._jumps_back[:_KEPT]
            ],
            "jump_back_count": len(self._jumps_back),
            "cameras": cameras,
            "transforms": {f"{a} -> {b}": _transform(s.runs()) for (a, b), s in self._transforms.items()},
            "begins_ns": begun,
            "distance_m": odometer.distance_m,
            "standstill_share": standstill_share(stamps, np.array(self._distances, np.float64)),
            "jumps": [{"at_s": (t - begun) * 1e-9, "metres": off} for t, off in odometer.jumps[:_KEPT]],
            "jump_count": len(odometer.jumps),
            "pauses": [{"at_s": (t - begun) * 1e-9, "seconds": s} for t, s in odometer.pauses[:_KEPT]],
            "pause_count": len(odometer.pauses),
        }

    def _absences(self, name: str, stamps: NDArray[np.int64]) -> list[str]:
        """What is to be said of a camera that is often not there."""
        missing = np.array(self._missing[name], np.int64)
        if len(missing) <= _OFTEN * len(stamps):
            return []
        first, last = ((missing[place] - stamps[0]) * 1e-9 for place in (0, -1))
        return [f"missing in {len(missing)} of {len(stamps)} samples, between {first:.1f} s and {last:.1f} s"]


def _clocks(delays_ms: dict[str, float]) -> dict[str, list[str]]:
    """What is to be said of cameras whose stamps come from another clock than those of the others.

    Images take about the same time from stamp to recording; a camera for which that differs much, or that is stamped
    after it was received, counts time differently. The clock that leaves the shortest plausible time is the right one.
    """
    usual = min(delays_ms.values(), key=lambda delay: (delay < 0.0, abs(delay)), default=0.0)
    found: dict[str, list[str]] = {}
    for name, delay in delays_ms.items():
        if abs(delay - usual) > _CLOCK_MS:
            way = "behind" if delay > usual else "ahead of"
            sentence = (
                f"its clock seems to be {abs(delay - usual) * 1e-3:.2f} s {way} the others': its images are matched "
                "with those of other moments, or with none; `stamp: receive` in the layout goes by the recorder's clock"
            )
            found[name] = [sentence]
    return found


def _several(sizes: Counter[tuple[int, int]]) -> list[str]:
    """What is to be said of a camera whose images change their size, and its calibration with them."""
    if len(sizes) < 2:
        return []
    told = ", ".join(f"{width}x{height} ({count})" for (width, height), count in sizes.most_common())
    return [f"its images come in several sizes: {told}; nothing is compared across a change"]


class _Stamps:
    """The stamps of one stream, and where its clock was set.

    Attributes:
        all: every stamp (ns), as they came.
    """

    def __init__(self) -> None:
        self.all: array[int] = array("q")
        self._set: list[int] = []
        self._newest_ns = self._receive_ns = 0

    def add(self, stamp_ns: int, receive_ns: int) -> None:
        """Take the next one; a clock was set if it went back, or on by more than the time that has passed."""
        step_ns = stamp_ns - self._newest_ns
        went_on_ns = step_ns - max(receive_ns - self._receive_ns, 0)
        if self.all and (step_ns < -_CLOCK_SET_NS or went_on_ns > _CLOCK_SET_NS):
            self._set.append(len(self.all))
            self._newest_ns = stamp_ns
        self._newest_ns = max(self._newest_ns, stamp_ns)
        self._receive_ns = receive_ns
        self.all.append(stamp_ns)

    def runs(self) -> list[NDArray[np.int64]]:
        """The stamps by the runs of the clock, in order and without repetition."""
        return [np.unique(run) for run in np.split(np.array(self.all, np.int64), self._set)]


def _gaps(runs: list[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64], float]:
    """Gaps within each run of stamps, the stamps before each, and the median gap."""
    gaps = np.concatenate([np.diff(run) for run in runs])
    return np.concatenate([run[:-1] for run in runs]), gaps, float(np.median(gaps)) if len(gaps) else 0.0


def _drops(runs: list[NDArray[np.int64]]) -> dict[str, Any]:
    """Images that are missing between the first and the last one, at the rate that the others come at."""
    _, gaps, period = _gaps(runs)
    if not period:
        return {"dropped": 0, "longest_gap_s": 0.0}
    dropped = np.maximum(np.rint(gaps / period) - 1, 0).sum()
    return {"dropped": int(dropped), "longest_gap_s": float(gaps.max()) * 1e-9}


def _transform(runs: list[NDArray[np.int64]]) -> dict[str, Any]:
    """Rate of a transform, and where it is missing for longer than five of its periods and a quarter of a second."""
    before, gaps, period = _gaps(runs)
    long = np.flatnonzero(gaps > max(5.0 * period, _TF_GAP_S * 1e9)) if period else np.zeros(0, np.int64)
    return {
        "messages": sum(map(len, runs)),
        "rate_hz": 1e9 / period if period else 0.0,
        "gap_count": len(long),
        "gaps": [{"after_ns": int(before[i]), "seconds": float(gaps[i]) * 1e-9} for i in long[:_KEPT]],
    }


def _spread(values: NDArray[np.float64]) -> list[float] | None:
    return [float(v) for v in np.percentile(values, _SPREAD)] if len(values) else None


def _exposure(measured: array[float]) -> dict[str, Any]:
    if not measured:
        return {"brightness": None, "saturated_share": None, "black_share": None}
    brightness, saturated, black = np.array(measured).reshape(-1, 3).mean(axis=0)
    return {"brightness": float(brightness), "saturated_share": float(saturated), "black_share": float(black)}
