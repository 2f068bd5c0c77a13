# SPDX-License-Identifier: Apache-2.0
"""What a recording or a running system offers and lacks for the node: heard as the node hears it, nothing predicted.

`Check` judges what somebody else hears, `check_bag` reads a recording for it; `ros/live_check.py` listens for it.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.transforms import TransformTree
from selfocc_ros.logs.check_report import CameraReport, CheckReport, by
from selfocc_ros.logs.records import TopicInfo
from selfocc_ros.logs.samples import SampleReader
from selfocc_ros.sensing.decode import decode
from selfocc_ros.sensing.discovery import CameraTopics
from selfocc_ros.sensing.frames import CameraFrame, DecodeError, RigSample
from selfocc_ros.sensing.rig_source import RigSource

_IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_TF = "tf2_msgs/msg/TFMessage"


@dataclass
class _Stamps:
    """What is remembered of one camera while the recording is read: 16 bytes an image."""

    stamps: array[int] = field(default_factory=lambda: array("q"))
    received: array[int] = field(default_factory=lambda: array("q"))
    zero: int = 0
    encodings: Counter[str] = field(default_factory=Counter)
    frame_ids: Counter[str] = field(default_factory=Counter)
    decoded: bool = False


def check_bag(path: str | Path, source: RigSource | None = None) -> CheckReport:
    """Read a whole recording as the node would and say what was found.

    Args:
        path: any recording that `Bag` reads.
        source: what parameters and files say of the cameras; None is the node's defaults.

    Raises:
        BagError: nothing of it can be read, or it lacks a camera that is named.
    """
    reader = SampleReader(path, source)
    check = BagCheck(reader)
    for sample in reader.samples(on_frame=check.add_frame, keep_empty=True):
        check.add_sample(sample)
    return check.finish()


class Heard(Protocol):
    """What somebody knows who reads a recording or listens to a system; `SampleReader` is one."""

    base_frame: str
    fixed_frame: str
    max_skew_s: float

    @property
    def topics(self) -> Mapping[str, TopicInfo]:
        """What there is, by name."""

    @property
    def cameras(self) -> Mapping[str, CameraTopics]:
        """Topics by camera name."""

    @property
    def models(self) -> Mapping[str, CameraModel]:
        """Calibrations by camera."""

    @property
    def tree(self) -> TransformTree:
        """The transforms."""

    @property
    def calibration_problems(self) -> Mapping[str, str]:
        """One sentence per camera whose CameraInfo cannot be used."""

    @property
    def transform_problems(self) -> Mapping[tuple[str, str], str]:
        """One sentence per broken transform (parent, child)."""


class Check:
    """Judges what somebody hears: give it every image and every sample, the empty ones too; then `finish`.

    Args:
        heard: known as a whole when `finish` is called.
        report: to be filled in.
    """

    def __init__(self, heard: Heard, report: CheckReport) -> None:
        self.report = report
        self._heard = heard
        self._stamps: dict[str, _Stamps] = {}
        self._samples = _Samples()

    def add_frame(self, frame: CameraFrame, receive_ns: int) -> None:
        """Take note of an image."""
        _note_frame(self._camera(frame.camera), self._stamps[frame.camera], frame, receive_ns)

    def add_sample(self, sample: RigSample) -> None:
        """Take note of a sample."""
        self._samples.add(sample, {name: self._camera(name) for name in sample.rig.names}, self.report)

    def finish(self) -> CheckReport:
        """The report, once all has been heard."""
        report, heard, reasons = self.report, self._heard, self._samples.reasons
        topics = heard.topics
        report.messages = sum(info.count for info in topics.values())
        report.transforms = {name: info.count for name, info in topics.items() if info.type == _TF}
        report.frames = tuple(sorted(heard.tree.frames()))
        report.notes += sorted(heard.transform_problems.values())
        report.cameras = {name: self._camera(name) for name in heard.cameras}
        unused = {name for name, info in topics.items() if info.type in _IMAGES} - _used(heard.cameras)
        report.unused_images = {name: _why_unused(name, heard.cameras) for name in sorted(unused)}
        for name, camera in report.cameras.items():
            _finish_camera(camera, self._stamps[name], heard, name, reasons.get(name, Counter()))
        self._samples.finish(report)
        motionless = reasons.get(heard.fixed_frame, Counter())
        _judge(report, heard.base_frame, heard.fixed_frame, motionless, heard.max_skew_s)
        return report

    def _camera(self, name: str) -> CameraReport:
        """The report of a camera, from its first mention on."""
        if name not in self.report.cameras:
            topics = self._heard.cameras[name]
            self.report.cameras[name] = CameraReport(topics.image, topics.info)
            self._stamps[name] = _Stamps()
        return self.report.cameras[name]


class BagCheck(Check):
    """Judges a recording while somebody reads it.

    Give it every image (`on_frame` of `SampleReader.samples`) and every sample, the empty ones too; then `finish`.
    """

    def __init__(self, reader: SampleReader) -> None:
        super().__init__(reader, CheckReport(str(reader.path), duration_s=reader.duration_s))
        self._reader = reader

    def finish(self) -> CheckReport:
        """The report, once the recording has been read to its end."""
        self.report.damage = self._reader.damage
        return super().finish()


class _Samples:
    """Sums over the samples."""

    def __init__(self) -> None:
        self.reasons: dict[str, Counter[str]] = {}
        self.spreads, self.stamps = array("q"), array("q")

    def add(self, sample: RigSample, cameras: Mapping[str, CameraReport], report: CheckReport) -> None:
        report.sets += 1
        if sample.frames:
            report.usable_sets += 1
            self.stamps.append(sample.stamp_ns)
            taken = [frame.stamp_ns for frame in sample.frames]
            self.spreads.append(max(taken) - min(taken))
        report.complete_sets += bool(sample.frames) and not sample.missing
        for camera in cameras.values():
            camera.used += 1
        for name, reason in sample.problems.items():
            self.reasons.setdefault(name, Counter())[reason] += 1

    def finish(self, report: CheckReport) -> None:
        if len(self.stamps) > 1:
            report.set_rate_hz = (len(self.stamps) - 1) / max((self.stamps[-1] - self.stamps[0]) * 1e-9, 1e-9)
        if self.spreads:
            report.spread_ms = float(np.median(self.spreads)) * 1e-6


def _note_frame(camera: CameraReport, stamps: _Stamps, frame: CameraFrame, receive_ns: int) -> None:
    camera.images += 1
    stamps.stamps.append(frame.stamp_ns)
    stamps.received.append(receive_ns)
    stamps.zero += frame.stamp_ns == 0
    stamps.encodings[frame.encoding] += 1
    stamps.frame_ids[frame.frame_id] += 1
    if not stamps.decoded:
        stamps.decoded = True
        try:
            image = decode(frame)
            camera.size = (image.shape[1], image.shape[0])
        except DecodeError as error:
            camera.problems.append(f"its first image cannot be decoded: {error}")


def _finish_camera(camera: CameraReport, stamps: _Stamps, heard: Heard, name: str, reasons: Counter[str]) -> None:
    camera.encodings = tuple(sorted(stamps.encodings))
    camera.frame_id = ", ".join(sorted(stamps.frame_ids))
    if not camera.images:
        camera.problems.append(f"{camera.image_topic} has no image")
        return
    times = np.stack([stamps.stamps, stamps.received], axis=1)
    gaps = np.diff(times[:, 0])
    if (gaps > 0).any():
        camera.rate_hz = float(1e9 / np.median(gaps[gaps > 0]))
    stamped = times[times[:, 0] != 0]
    if len(stamped):
        camera.delay_ms = float(np.median(stamped[:, 1] - stamped[:, 0])) * 1e-6
    if stamps.zero:
        camera.problems.append(f"{stamps.zero} of {camera.images} header stamps are zero")
    elif (gaps < 0).any():
        camera.notes.append(f"header stamps go back {int((gaps < 0).sum())} times")
    if (gaps == 0).any() and not stamps.zero:
        camera.notes.append(f"{int((gaps == 0).sum())} header stamps are repeated")
    if not stamps.zero and abs(camera.delay_ms) > 2000:
        side = "before" if camera.delay_ms > 0 else "after"
        camera.notes.append(f"header stamps lie {abs(camera.delay_ms) / 1e3:.1f} s {side} the receive times")
    if camera.rate_hz and len(gaps) and gaps.max() > 2.5e9 / camera.rate_hz:
        camera.notes.append(f"its longest gap is {gaps.max() * 1e-9:.2f} s")
    model = heard.models.get(name)
    if name in heard.calibration_problems:
        problem = heard.calibration_problems[name]
        camera.problems.append(f"its calibration cannot be used: {problem}" if camera.info_topic else problem)
    elif model is None:
        camera.problems.append(f"{camera.info_topic} has no message")
    else:
        camera.info_size, camera.lens = (model.width, model.height), model.model
        if camera.size is not None and camera.size != camera.info_size:
            camera.problems.append(
                f"its images are {by(camera.size)} but CameraInfo is for {by(camera.info_size)}; "
                "the calibration must be that of the images as they are sent"
            )
    known = model is not None
    for reason, count in reasons.most_common(2):
        if known:  # without a calibration the reason is told already
            camera.problems.append(f"{count} of {camera.images} images have no pose: {reason}")


def _judge(report: CheckReport, base: str, fixed: str, motionless: Counter[str], max_skew_s: float) -> None:
    """Problems of the whole, and what to do about them."""
    do = "publish" if report.live else "record"
    if report.damage:
        report.notes.append(report.damage)
    if not report.cameras:
        report.problems.append("it has no image topic with a CameraInfo beside it")
        if report.unused_images:
            report.advice.append(f"{do} the camera_info topics too, next to the image topics that they belong to")
        else:
            report.advice.append(f"{do} the image topics (compressed ones are smaller) and their camera_info")
        return
    if not any(camera.images for camera in report.cameras.values()):
        report.problems.append("its cameras have no images")
        return
    if base not in report.frames:
        report.problems.append(f"frame {base} is not in its transforms")
        candidates = [frame for frame in report.frames if not frame.endswith("optical")]
        if candidates:
            report.advice.append(f"set base_frame to the vehicle's frame, one of: {', '.join(candidates)}")
        else:
            report.advice.append(f"{do} /tf and /tf_static, with each camera's mounting below {base}")
    elif report.usable_sets == 0:
        report.problems.append("no set of images can be used")
    elif report.usable_sets * 2 < report.sets:
        report.problems.append(f"only {report.usable_sets} of {report.sets} sets of images can be used")
    if motionless:
        report.notes.append(
            f"there is no odometry ({fixed} -> {base}): the vehicle's motion between the stamps of its cameras is "
            "not accounted for, and a recording cannot be trained on"
        )
        report.advice.append(f"{do} /tf with {fixed} -> {base}, or set fixed_frame to the frame that odometry uses")
    if any("stamps are zero" in problem for camera in report.cameras.values() for problem in camera.problems):
        report.advice.append("the driver must fill in header.stamp; until it does, set stamp to 'receive'")
    if any("no pose" in problem for camera in report.cameras.values() for problem in camera.problems):
        when = ", and /tf up to the time of the images"
        if not report.live:
            when = " from its beginning, and /tf over the whole time of the images"
        report.advice.append(f"{do} /tf_static{when}")
    if report.usable_sets and report.complete_sets * 2 < report.usable_sets and len(report.cameras) > 1:
        report.advice.append(
            f"fewer than half of the sets have all cameras: if their stamps differ by more than {max_skew_s:g} s "
            "within one round, raise max_skew; if their rates differ, choose cameras of one rate"
        )


def _used(cameras: Mapping[str, CameraTopics]) -> set[str]:
    return {topics.image for topics in cameras.values()}


def _why_unused(topic: str, cameras: Mapping[str, CameraTopics]) -> str:
    base = topic.removesuffix("/compressed")
    parent = base.rpartition("/")[0]
    for name, camera in cameras.items():
        if camera.info.rpartition("/")[0] in (parent, base):
            return f"camera {name} is read from {camera.image}"
    if "depth" in topic or "disparity" in topic:
        return "it holds depth, not a picture"
    return f"there is no {parent}/camera_info beside it"
