# SPDX-License-Identifier: Apache-2.0
"""One recording into a dataset: image files, rows of the index, findings; in constant memory, and resumable.

Images are written one by one and appear under their names only when they are whole. The rows and the findings of a
drive appear when it has been read to its end. An interrupted drive is read from its beginning again, since what
belongs together depends on all that came before, but images that are there are neither encoded nor written again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from selfocc_ros.logs.records import BagError
from selfocc_ros.logs.samples import SampleReader
from selfocc_ros.logs.whole import write_whole
from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.sensing.decode import decode, whole_image_size
from selfocc_ros.sensing.frames import CameraFrame, DecodeError, RigSample
from selfocc_ros.sensing.layout import Layout
from selfocc_ros.sensing.rig_source import RigSource
from selfocc_training.dataset.findings import Findings
from selfocc_training.dataset.odometer import Odometer
from selfocc_training.dataset.parquet import DatasetError, RowWriter
from selfocc_training.dataset.sample import CameraImage, Sample
from selfocc_training.dataset.taken import TakenTimes

JPEG_QUALITY = 95
TF_GAP_NS = 1_000_000_000
"""Over longer gaps in the odometry poses are not interpolated. With an acceleration of 2 m/s^2 a straight line between
poses T apart is off by up to a T^2 / 8, a quarter of a metre."""

_HASHED_BYTES = 1 << 20
_STORAGE = (".mcap", ".db3", ".bag", ".zstd")


@dataclass(frozen=True)
class Source:
    """A recording.

    Attributes:
        path: where it lay when it was prepared.
        size_bytes: of the files that hold its messages.
        fingerprint: hash of their order, sizes, first and last MiB: a recording of 20 GB is told apart from others
            without being read, and a rosbag2 folder is the same as the one file in it.
    """

    path: str
    size_bytes: int
    fingerprint: str

    @staticmethod
    def of(path: Path) -> Source:
        """The source at a path.

        Raises:
            BagError: there is nothing.
        """
        files = _files(path)
        if not files:
            raise BagError(f"{path} does not exist: expected a rosbag2 directory, .mcap, .db3, or .bag of ROS 1")
        storage = [file for file in files if file.parent == path and file.suffix in _STORAGE] or files
        return Source(str(path), sum(file.stat().st_size for file in storage), _fingerprint(storage))

    @staticmethod
    def former_fingerprint(path: Path) -> str:
        """What `fingerprint` was at first: that of all files of a folder, metadata.yaml and notes too."""
        return _fingerprint(_files(path))


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    return [path] if path.exists() else []


def _fingerprint(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{size}\0".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_HASHED_BYTES))
            stream.seek(max(0, size - _HASHED_BYTES))
            digest.update(stream.read(_HASHED_BYTES))
    return digest.hexdigest()[:16]


@dataclass
class DriveState:
    """What a dataset knows of one drive; the content of `drives/<name>.json`.

    Attributes:
        name: of the drive.
        source: the recording that it comes from.
        layout: fingerprint of the layout that it was read with.
        finished: whether its rows are there.
        samples: rows.
        findings: see `Findings.finish`.
        labels: what was taken of the labels beside the recording, see `import_truth`; empty where there were none.
    """

    name: str
    source: Source
    layout: str
    finished: bool = False
    samples: int = 0
    findings: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def load(path: Path) -> DriveState:
        """Read a state back.

        Raises:
            DatasetError: the file is no state.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return DriveState(**{**values, "source": Source(**values["source"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{path} cannot be read ({error}): delete it to prepare this drive again") from error

    def save(self, folder: Path) -> None:
        """Write the state; it appears whole or not at all."""
        values = {**vars(self), "source": vars(self.source)}
        write_whole(folder / f"{self.name}.json", json.dumps(values, indent=1) + "\n")


def open_recording(bag: Path, layout: Layout) -> tuple[SampleReader, dict[str, str]]:
    """A reader of the recording's samples, and why image topics of the layout are left out.

    Raises:
        BagError: it cannot be read, has no camera of this layout, or no calibration of any.
    """
    source = RigSource.of_layout(layout)
    reader = SampleReader(bag, source)
    blind = {
        name: topics
        for name, topics in reader.cameras.items()
        if name not in reader.models and not (topics.info in reader.topics and reader.topics[topics.info].count)
    }
    if not blind:
        return reader, {}
    rest = tuple(name for name in reader.cameras if name not in blind)
    if not rest:
        name, topics = next(iter(blind.items()))
        raise BagError(
            f"{bag} has no calibration of camera '{name}', nor of another: expected CameraInfo on "
            f"{topics.info or 'a topic that the layout names'}, or 'intrinsics' of it in the layout"
        )
    why = {
        topics.image: f"there is no {topics.info or 'CameraInfo'} for camera '{name}', nor 'intrinsics' in the layout"
        for name, topics in blind.items()
    }
    return SampleReader(bag, source.refilled(NodeParameters(cameras=rest))), why


def prepare_drive(
    root: Path, state: DriveState, bag: Path, layout: Layout, progress: Callable[[int], None] | None = None
) -> DriveState:
    """Read a recording into the dataset at `root`; returns the finished state.

    Args:
        progress: called with the number of samples so far.

    Raises:
        BagError: not one sample can be used for training; says why.
    """
    folder = root / "drives"
    folder.mkdir(parents=True, exist_ok=True)
    reader, unused = open_recording(bag, layout)
    state.save(folder)
    findings, odometer = Findings(reader, unused), Odometer()
    count = 0
    with RowWriter(folder / f"{state.name}.parquet", with_split=False) as rows:
        for sample in _samples(root, state.name, reader, findings, odometer):
            rows.write(sample.to_row())
            count += 1
            if progress is not None:
                progress(count)
        found = findings.finish(odometer)
        if not count:
            raise BagError(_nothing(bag, reader, found, findings))
    # From here on nobody looks at the images again: a power cut must not take what the state says is there.
    os.sync()
    done = DriveState(state.name, state.source, state.layout, True, count, found)
    done.save(folder)
    return done


def _samples(root: Path, drive: str, reader: SampleReader, findings: Findings, odometer: Odometer) -> Iterator[Sample]:
    taken, before_ns = TakenTimes(), -1
    sets = reader.samples(on_frame=findings.add_frame, keep_empty=True, on_transform=findings.add_transform)
    for rig_sample in sets:
        findings.add_set(rig_sample)
        stamp_ns = rig_sample.stamp_ns
        if stamp_ns <= before_ns:
            findings.add_jump_back(before_ns, stamp_ns)
            odometer.restart()
            taken.close()
        before_ns = stamp_ns
        stamps = (stamp_ns, *(frame.stamp_ns for frame in rig_sample.frames))
        # A recording of a recording that was played in a loop says everything twice.
        if taken.has(min(stamps), max(stamps)):
            findings.add_repeated()
            continue
        if not rig_sample.frames or reader.fixed_frame in rig_sample.problems:
            continue
        if max(reader.tree.gap_ns(reader.fixed_frame, reader.base_frame, at) for at in stamps) > TF_GAP_NS:
            continue
        odom_from_base = reader.tree.lookup(reader.fixed_frame, reader.base_frame, stamp_ns)
        images = tuple(_images(root, drive, rig_sample, odom_from_base, findings))
        if not images:
            continue
        taken.add(min(stamps), max(stamps))
        odometer.add(stamp_ns, odom_from_base)
        present = {image.name for image in images}
        missing = tuple(name for name in reader.cameras if name not in present)
        sample = Sample(drive, stamp_ns, odometer.segment, odometer.distance_m, odom_from_base, images, missing)
        findings.add_kept(sample)
        yield sample


def _images(
    root: Path, drive: str, sample: RigSample, odom_from_base: NDArray[np.float64], findings: Findings
) -> Iterator[CameraImage]:
    """The images of a sample that can be used, written where they are not there yet."""
    rig = sample.rig
    for frame, camera, base_from_camera in zip(sample.frames, rig.cameras, rig.base_from_camera, strict=True):
        name = f"images/{drive}/{frame.camera}/{frame.stamp_ns}.jpg"
        try:
            size = whole_image_size(frame)
            if size != (camera.width, camera.height):
                raise DecodeError(f"it is {size[0]}x{size[1]}, but calibrated for {camera.width}x{camera.height}")
            _write_image(root / name, frame)
        except DecodeError as error:
            findings.left_out[frame.camera][str(error)] += 1
            continue
        odom_from_camera = odom_from_base @ base_from_camera
        yield CameraImage(frame.camera, name, frame.stamp_ns, camera, base_from_camera, odom_from_camera)


def _write_image(path: Path, frame: CameraFrame) -> None:
    recorded = memoryview(frame.data).cast("B") if frame.encoding == "jpeg" else None
    # A power cut may leave the name of an image without its content.
    there = path.stat().st_size if path.exists() else 0
    if there and (recorded is None or there == recorded.nbytes):
        return
    data = _encoded(frame) if recorded is None else recorded
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name("unfinished.part")
    part.write_bytes(data)
    part.replace(path)


def _encoded(frame: CameraFrame) -> bytes:
    pixels = np.ascontiguousarray(decode(frame)[..., ::-1])
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise DecodeError(f"camera '{frame.camera}': an image of {frame.width}x{frame.height} cannot be made a JPEG")
    return bytes(data)


def _nothing(bag: Path, reader: SampleReader, found: dict[str, Any], findings: Findings) -> str:
    """Why a recording has no sample."""
    base, fixed = reader.base_frame, reader.fixed_frame
    frames = ", ".join(found["frames"]) or "none"
    if not any(camera["images"] for camera in found["cameras"].values()):
        return f"{bag} has no images on {', '.join(camera['topic'] for camera in found['cameras'].values())}"
    if not reader.models:
        reasons = [*reader.calibration_problems.values()]
        topics = ", ".join(topics.info for topics in reader.cameras.values())
        return f"{bag} has no usable CameraInfo: {reasons[0] if reasons else f'nothing on {topics}'}"
    left_out = [reason for reasons in findings.left_out.values() for reason in reasons]
    if left_out:
        return f"{bag} has no usable image: {left_out[0]}"
    problems = [problem for camera in found["cameras"].values() for problem in camera["problems"]]
    why = f" ({problems[0]})" if problems else ""
    return (
        f"{bag} cannot be trained on without odometry: no image has a pose through {fixed} -> {base}{why}; record /tf "
        f"and /tf_static, or set base_frame and fixed_frame in the layout (frames found: {frames})"
    )
