# SPDX-License-Identifier: Apache-2.0
"""What `selfocc check` says of a recording or of a running system: one report for both."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class CameraReport:
    """One camera of the recording or the running system.

    Attributes:
        image_topic, info_topic: where it publishes; no CameraInfo is asked for where the latter is empty.
        images: how many images there are.
        rate_hz: images per second of stamp time, 0 where it cannot be told.
        encodings: what was found.
        size: (width, height) of the first image that could be decoded, or None.
        info_size: (width, height) of the calibration, or None.
        lens: model of the calibration, or None.
        frame_id: optical frame of the images.
        delay_ms: median of receive time less stamp.
        used: images that became part of a sample, with a pose.
        offered: quality of service of its images, where they are heard live.
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
    offered: str = ""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class CheckReport:
    """What was found in a recording (`check_bag`), or by listening to a running system.

    Attributes:
        path: the recording as it was given; of a running system, where it was heard.
        live: whether it is a running system.
        duration_s, messages: how long it is, or was listened to, and how much came of it.
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
        nodes: what each occupancy node that runs says of itself, by name; always empty of a recording.
        problems: sentences about the whole; with any of them the node does not run.
        notes: sentences about the whole; the node copes.
        advice: what to do, one sentence each.
    """

    path: str
    live: bool = False
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
    nodes: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the node can run on it: at least half of its sets can be used."""
        return not self.problems

    @property
    def subject(self) -> str:
        """What was checked, in a word or two."""
        return "running system" if self.live else "recording"

    @property
    def verdict(self) -> str:
        """The last line of the report."""
        if not self.ok:
            return f"The node cannot run on this {self.subject}: " + "; ".join(self.problems) + "."
        left_out = [name for name, camera in self.cameras.items() if camera.images and not camera.used]
        if left_out:
            return f"The node can run on this {self.subject}, without {', '.join(left_out)}."
        return f"The node can run on this {self.subject}."

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"ok": self.ok, "verdict": self.verdict, **asdict(self)}


def by(size: tuple[int, int]) -> str:
    """A size in words: 64x48."""
    return f"{size[0]}x{size[1]}"


def render_report(report: CheckReport) -> str:
    """The report in plain words, several lines; the verdict is the last."""
    lines = [f"{report.path}: {report.duration_s:.1f} s, {report.messages} messages, {len(report.cameras)} cameras"]
    for name, camera in report.cameras.items():
        lines += ["", f"camera {name}: {_camera_line(camera)}"]
        calibration = f"on {camera.info_topic}" if camera.info_topic else "from a file"
        lines.append(f"  images on {camera.image_topic}, calibration {calibration}")
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
    for name, sentences in report.nodes.items():
        lines.append(f"node {name}: {sentences[0]}")
        lines += [f"  {sentence}" for sentence in sentences[1:]]
    lines += [f"note: {sentence}" for sentence in report.notes]
    lines += [f"to do: {sentence}" for sentence in report.advice]
    return "\n".join([*lines, "", report.verdict])


def _camera_line(camera: CameraReport) -> str:
    parts = ["/".join(camera.encodings) or "no images"]
    if camera.size:
        parts.append(by(camera.size))
    if camera.images:
        parts.append(f"{camera.rate_hz:.1f} Hz, stamped {camera.delay_ms:.0f} ms before it was received")
        parts.append(f"frame {camera.frame_id or '(empty)'}")
    if camera.lens:
        parts.append(camera.lens)
    if camera.offered:
        parts.append(camera.offered)
    return ", ".join(parts)
