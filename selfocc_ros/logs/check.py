# SPDX-License-Identifier: Apache-2.0
"""What a recording offers and lacks for the node: it is read as the node would hear it, and nothing is predicted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from selfocc_ros.logs.samples import SampleReader
from selfocc_ros.sensing.decode import decode
from selfocc_ros.sensing.discovery import CameraTopics
from selfocc_ros.sensing.frames import CameraFrame, DecodeError, RigSample

_IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_TF = "tf2_msgs/msg/TFMessage"


@dataclass
class CameraReport:
    """One camera of the recording.

    Attributes:
        image_topic, info_topic: where it publishes.
        images: how many images there are.
        rate_hz: images per second of stamp time, 0 where it cannot be told.
        encodings: what was found.
        size: (width, height) of the first image that could be decoded, or None.
        info_size: (width, height) of the calibration, or None.
        lens: model of the calibration, or None.
        frame_id: optical frame of the images.
        delay_ms: median of receive time less stamp.
        used: images that became part of a sample, with a pose.
        problems: sentences; the node leaves this camera out, now and then or always.
        notes: sentences; the node copes.
    """

    image_topic: str
    info_topic: str
    images: int = 0
    rate_hz: float = 0.0
    encodings: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    info_size: tuple[int, int] | None = None
    lens: str | None = None
    frame_id: str = ""
    delay_ms: float = 0.0
    used: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class CheckReport:
    """What `check_bag` found.

    Attributes:
        path: the recording as it was given.
        duration_s, messages: how long it is and how much it holds.
        damage: what cannot be read of it, or None.
        cameras: by name.
        unused_images: image topics that are no cameras, with the reason.
        transforms: number of messages on /tf, /tf_static and the like, by topic.
        frames: known coordinate frames.
        sets: sets of images that the synchroniser gives out.
        usable_sets: of these, with at least one camera that has calibration and pose.
        complete_sets: of these, with all cameras.
        set_rate_hz: usable sets per second.
        spread_ms: median time between the first and last image of a set.
        problems: sentences about the recording as a whole; with any of them the node does not run.
        notes: sentences about the recording as a whole; the node copes.
        advice: what to do, one sentence each.
    """

    path: str
    duration_s: float = 0.0
    messages: int = 0
    damage: str | None = None
    cameras: dict[str, CameraReport] = field(default_factory=dict)
    unused_images: dict[str, str] = field(default_factory=dict)
    transforms: dict[str, int] = field(default_factory=dict)
    frames: tuple[str, ...] = ()
    sets: int = 0
    usable_sets: int = 0
    complete_sets: int = 0
    set_rate_hz: float = 0.0
    spread_ms: float = 0.0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the node can run on this recording: at least half of its sets can be used."""
        return not self.problems

    @property
    def verdict(self) -> str:
        """The last line of the report."""
        if not self.ok:
            return "The node cannot run on this recording: " + "; ".join(self.problems) + "."
        left_out = [name for name, camera in self.cameras.items() if camera.images and not camera.used]
        if left_out:
            return f"The node can run on this recording, without {', '.join(left_out)}."
        return "The node can run on this recording."

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"ok": self.ok, "verdict": self.verdict, **asdict(self)}


@dataclass
class _Stamps:
    """What is remembered of one camera while the recording is read."""

    times: list[tuple[int, int]] = field(default_factory=list)  # stamp, receive time
    zero: int = 0
    encodings: Counter[str] = field(default_factory=Counter)
    frame_ids: Counter[str] = field(default_factory=Counter)
    decoded: bool = False


def check_bag(
    path: str | Path,
    base_frame: str = "base_link",
    fixed_frame: str = "odom",
    max_skew_s: float = 0.055,
    max_wait_s: float = 0.2,
    cameras: str | Sequence[str] = "auto",
) -> CheckReport:
    """Read a whole recording as the node would and say what was found.

    Args:
        path: any recording that `Bag` reads.
        base_frame, fixed_frame, max_skew_s, max_wait_s, cameras: as the node's parameters.

    Raises:
        BagError: nothing of it can be read, or it lacks a camera that is named.
    """
    reader = SampleReader(path, cameras, base_frame, fixed_frame, max_skew_s, max_wait_s)
    check = BagCheck(reader)
    for sample in reader.samples(on_frame=check.add_frame, keep_empty=True):
        check.add_sample(sample)
    return check.finish()


class BagCheck:
    """Judges a recording while somebody reads it.

    Give it every image (`on_frame` of `SampleReader.samples`) and every sample, the empty ones too; then `finish`.
    """

    def __init__(self, reader: SampleReader) -> None:
        self._reader = reader
        topics = reader.topics
        self._report = report = CheckReport(str(reader.path), reader.duration_s, damage=reader.damage)
        report.messages = sum(info.count for info in topics.values())
        report.transforms = {name: info.count for name, info in topics.items() if info.type == _TF}
        report.cameras = {name: CameraReport(t.image, t.info) for name, t in reader.cameras.items()}
        unused = {name for name, info in topics.items() if info.type in _IMAGES} - _used(reader.cameras)
        report.unused_images = {name: _why_unused(name, reader.cameras) for name in sorted(unused)}
        self._stamps = {name: _Stamps() for name in report.cameras}
        self._samples = _Samples()

    def add_frame(self, frame: CameraFrame, receive_ns: int) -> None:
        """Take note of an image."""
        _note_frame(self._report.cameras[frame.camera], self._stamps[frame.camera], frame, receive_ns)

    def add_sample(self, sample: RigSample) -> None:
        """Take note of a sample."""
        self._samples.add(sample, self._report)

    def finish(self) -> CheckReport:
        """The report, once the recording has been read to its end."""
        report, reader, reasons = self._report, self._reader, self._samples.reasons
        report.damage = reader.damage or report.damage
        report.frames = tuple(sorted(reader.tree.frames()))
        report.notes += sorted(reader.transform_problems.values())
        for name, camera in report.cameras.items():
            _finish_camera(camera, self._stamps[name], reader, name, reasons.get(name, Counter()))
        self._samples.finish(report)
        motionless = reasons.get(reader.fixed_frame, Counter())
        _judge(report, reader.base_frame, reader.fixed_frame, motionless, reader.max_skew_s)
        return report


class _Samples:
    """Sums over the samples."""

    def __init__(self) -> None:
        self.reasons: dict[str, Counter[str]] = {}
        self.spreads: list[int] = []
        self.stamps: list[int] = []

    def add(self, sample: RigSample, report: CheckReport) -> None:
        report.sets += 1
        if sample.frames:
            report.usable_sets += 1
            self.stamps.append(sample.stamp_ns)
            taken = [frame.stamp_ns for frame in sample.frames]
            self.spreads.append(max(taken) - min(taken))
        report.complete_sets += bool(sample.frames) and not sample.missing
        for name in sample.rig.names:
            report.cameras[name].used += 1
        for name, reason in sample.problems.items():
            self.reasons.setdefault(name, Counter())[reason] += 1

    def finish(self, report: CheckReport) -> None:
        if len(self.stamps) > 1:
            report.set_rate_hz = (len(self.stamps) - 1) / max((self.stamps[-1] - self.stamps[0]) * 1e-9, 1e-9)
        if self.spreads:
            report.spread_ms = float(np.median(self.spreads)) * 1e-6


def _note_frame(camera: CameraReport, stamps: _Stamps, frame: CameraFrame, receive_ns: int) -> None:
    camera.images += 1
    stamps.times.append((frame.stamp_ns, receive_ns))
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


def _finish_camera(
    camera: CameraReport, stamps: _Stamps, reader: SampleReader, name: str, reasons: Counter[str]
) -> None:
    camera.encodings = tuple(sorted(stamps.encodings))
    camera.frame_id = ", ".join(sorted(stamps.frame_ids))
    if not camera.images:
        camera.problems.append(f"{camera.image_topic} has no image")
        return
    times = np.array(stamps.times, np.int64)
    gaps = np.diff(times[:, 0])
    if (gaps > 0).any():
        camera.rate_hz = float(1e9 / np.median(gaps[gaps > 0]))
    camera.delay_ms = float(np.median(times[:, 1] - times[:, 0])) * 1e-6
    if stamps.zero:
        camera.problems.append(f"{stamps.zero} of {camera.images} header stamps are zero")
    elif (gaps < 0).any():
        camera.notes.append(f"header stamps go back {int((gaps < 0).sum())} times")
    if (gaps == 0).any() and not stamps.zero:
        camera.notes.append(f"{int((gaps == 0).sum())} header stamps are repeated")
    if not stamps.zero and abs(camera.delay_ms) > 2000:
        camera.notes.append(f"header stamps lie {camera.delay_ms / 1e3:.1f} s before the receive times")
    if camera.rate_hz and len(gaps) and gaps.max() > 2.5e9 / camera.rate_hz:
        camera.notes.append(f"its longest gap is {gaps.max() * 1e-9:.2f} s")
    model = reader.models.get(name)
    if name in reader.calibration_problems:
        camera.problems.append(f"its calibration cannot be used: {reader.calibration_problems[name]}")
    elif model is None:
        camera.problems.append(f"{camera.info_topic} has no message")
    else:
        camera.info_size, camera.lens = (model.width, model.height), model.model
        if camera.size is not None and camera.size != camera.info_size:
            camera.problems.append(
                f"its images are {_by(camera.size)} but CameraInfo is for {_by(camera.info_size)}; "
                "the calibration must be that of the images as they are sent"
            )
    known = model is not None
    for reason, count in reasons.most_common(2):
        if known:  # without a calibration the reason is told already
            camera.problems.append(f"{count} of {camera.images} images have no pose: {reason}")


def _judge(report: CheckReport, base: str, fixed: str, motionless: Counter[str], max_skew_s: float) -> None:
    """Problems of the recording as a whole, and what to do about them."""
    if report.damage:
        report.notes.append(report.damage)
    if not report.cameras:
        report.problems.append("it has no image topic with a CameraInfo beside it")
        if report.unused_images:
            report.advice.append("record the camera_info topics too, next to the image topics that they belong to")
        else:
            report.advice.append("record the image topics (compressed ones are smaller) and their camera_info")
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
            report.advice.append(f"record /tf and /tf_static, with each camera's mounting below {base}")
    elif report.usable_sets == 0:
        report.problems.append("no set of images can be used")
    elif report.usable_sets * 2 < report.sets:
        report.problems.append(f"only {report.usable_sets} of {report.sets} sets of images can be used")
    if motionless:
        report.notes.append(
            f"there is no odometry ({fixed} -> {base}): the vehicle's motion between the stamps of its cameras is "
            "not accounted for, and the recording cannot be trained on"
        )
        report.advice.append(f"record /tf with {fixed} -> {base}, or set fixed_frame to the frame that odometry uses")
    if any("stamps are zero" in problem for camera in report.cameras.values() for problem in camera.problems):
        report.advice.append("the driver must fill in header.stamp: images cannot be matched without it")
    if any("no pose" in problem for camera in report.cameras.values() for problem in camera.problems):
        report.advice.append("record /tf_static from its beginning, and /tf over the whole time of the images")
    if report.usable_sets and report.complete_sets * 2 < report.usable_sets and len(report.cameras) > 1:
        report.advice.append(
            f"fewer than half of the sets have all cameras: if their stamps differ by more than {max_skew_s:g} s "
            "within one round, raise max_skew; if their rates differ, choose cameras of one rate"
        )


def _used(cameras: dict[str, CameraTopics]) -> set[str]:
    return {topics.image for topics in cameras.values()}


def _why_unused(topic: str, cameras: dict[str, CameraTopics]) -> str:
    base = topic.removesuffix("/compressed")
    parent = base.rpartition("/")[0]
    for name, camera in cameras.items():
        if camera.info.rpartition("/")[0] in (parent, base):
            return f"camera {name} is read from {camera.image}"
    if "depth" in topic or "disparity" in topic:
        return "it holds depth, not a picture"
    return f"there is no {parent}/camera_info beside it"


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def render_report(report: CheckReport) -> str:
    """The report in plain words, several lines; the verdict is the last."""
    lines = [f"{report.path}: {report.duration_s:.1f} s, {report.messages} messages, {len(report.cameras)} cameras"]
    for name, camera in report.cameras.items():
        lines += ["", f"camera {name}: {_camera_line(camera)}"]
        lines.append(f"  images on {camera.image_topic}, calibration on {camera.info_topic}")
        if camera.images:
            lines.append(f"  {camera.used} of {camera.images} images become part of a set, with a pose")
        lines += [f"  lacks: {sentence}" for sentence in camera.problems]
        lines += [f"  note: {sentence}" for sentence in camera.notes]
    if report.unused_images:
        lines.append("")
        lines += [f"not used: {topic} ({reason})" for topic, reason in report.unused_images.items()]
    lines.append("")
    counts = ", ".join(f"{topic} {count} messages" for topic, count in report.transforms.items())
    lines.append(f"transforms: {counts or 'none'}; frames: {', '.join(report.frames) or 'none'}")
    lines.append(
        f"sets: {report.sets}, usable {report.usable_sets} ({report.set_rate_hz:.1f} per second), with all cameras "
        f"{report.complete_sets}; {report.spread_ms:.0f} ms between the first and the last image of a set"
    )
    lines += [f"note: {sentence}" for sentence in report.notes]
    lines += [f"to do: {sentence}" for sentence in report.advice]
    return "\n".join([*lines, "", report.verdict])


def _camera_line(camera: CameraReport) -> str:
    parts = ["/".join(camera.encodings) or "no images"]
    if camera.size:
        parts.append(_by(camera.size))
    if camera.images:
        parts.append(f"{camera.rate_hz:.1f} Hz, stamped {camera.delay_ms:.0f} ms before it was received")
        parts.append(f"frame {camera.frame_id or '(empty)'}")
    if camera.lens:
        parts.append(camera.lens)
    return ", ".join(parts)
