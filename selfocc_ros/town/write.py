# SPDX-License-Identifier: Apache-2.0
"""Writes a drive through a town as a recording, with what is needed to make its truth again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from selfocc_ros.errors import SelfOccError
from selfocc_ros.logs import messages
from selfocc_ros.logs.writer import BagWriter
from selfocc_ros.town.rigs import RigSpec
from selfocc_ros.town.town import Town
from selfocc_ros.town.truth import TownFrame, render_frame, stamp_of, time_of
from selfocc_ros.town.truth_folder import TruthFolder

BASE, ODOM = "base_link", "odom"
TF_RATE_HZ = 100.0
MARGIN_S = 0.2
JPEG_QUALITY = 90
IMAGE_DELAY_NS = 15_000_000
TF_DELAY_NS = 2_000_000
WORKERS = 2

Event = tuple[int, str, Any]


def optical_frame(camera: str) -> str:
    """Frame of a camera's images."""
    return f"camera_{camera}_optical"


def write_drive(
    seed: int,
    seconds: float,
    rig_spec: RigSpec,
    out_dir: str | Path,
    rate_hz: float = 10.0,
    progress: Callable[[int, int], None] | None = None,
    jitter: bool = True,
    supersample: int = 1,
    save_truth: bool = False,
    class_noise: float = 0.0,
    device: str = "cpu",
) -> Path:
    """Render a drive and write ``out_dir/bag`` (MCAP) and ``out_dir/town.json``.

    Args:
        seed: which town.
        seconds: how long to drive.
        rig_spec: the cameras; with ``jitter`` mounted a little differently for every seed.
        out_dir: folder to make; it must not hold a bag yet.
        rate_hz: reference stamps per second.
        progress: called with (frames done, frames in all).
        supersample: rays per pixel along each axis.
        save_truth: also write ``out_dir/truth``: voxels of Occ3D's grid with the camera mask and what is above ground,
            class maps and depth maps (half a second and 0.4 MB a frame).
        class_noise: share of the saved class maps that is wrong, in patches, as a segmentation network's are.

    Returns:
        The path of the bag.

    Raises:
        SelfOccError: if the folder already holds a drive or cannot be written.
    """
    out = Path(out_dir)
    bag_path = out / "bag"
    if bag_path.exists():
        raise SelfOccError(f"{bag_path} exists already: choose another folder, or remove it first.")
    count = int(round(seconds * rate_hz))
    if count < 1:
        raise SelfOccError(f"a drive needs at least one frame, found {seconds} s at {rate_hz} Hz.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SelfOccError(f"{out}: cannot be made ({error.strerror}).") from error
    spec = rig_spec.jittered(seed) if jitter else rig_spec
    town = Town(seed, device, seconds)
    stamps = [stamp_of(k / rate_hz) for k in range(count)]
    camera_stamps = {name: [stamp + round(camera.offset * 1e9) for stamp in stamps] for name, camera in spec.cameras}
    description = {
        "seed": int(seed),
        "seconds": float(seconds),
        "rate_hz": float(rate_hz),
        "rig": spec.to_dict(),
        "jittered": jitter,
        "supersample": supersample,
        "mood": town.mood.name,
        "base_frame": BASE,
        "fixed_frame": ODOM,
        "stamps_ns": stamps,
        "camera_stamps_ns": camera_stamps,
    }
    truth = TruthFolder(out / "truth", town, class_noise) if save_truth else None
    with BagWriter(bag_path) as bag:
        _declare(bag, spec)
        pending = _motion(town, stamps[0], stamps[-1])
        waiting: list[Event] = [(stamps[0] - round(MARGIN_S * 1e9), "/tf_static", _static(spec, stamps[0]))]
        for done, (frame, encoded) in enumerate(_frames(town, spec, stamps, supersample), start=1):
            waiting += _images(spec, frame, encoded)
            # Everything earlier than the next frame's first image can go out in order.
            horizon = frame.stamp_ns + round(0.5e9 / rate_hz)
            waiting += _take_until(pending, horizon)
            waiting.sort(key=lambda event: event[0])
            while waiting and waiting[0][0] <= horizon - 60_000_000:
                receive_ns, topic, message = waiting.pop(0)
                bag.write(topic, receive_ns, message)
            if truth is not None:
                truth.write(frame)
            if progress is not None:
                progress(done, count)
        waiting += _take_until(pending, stamps[-1] + 10**12)
        for receive_ns, topic, message in sorted(waiting, key=lambda event: event[0]):
            bag.write(topic, receive_ns, message)
    # Written last: a folder with this file holds a whole drive.
    (out / "town.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    return bag_path


def _declare(bag: BagWriter, spec: RigSpec) -> None:
    bag.add_topic("/tf_static", messages.TF, latched=True)
    bag.add_topic("/tf", messages.TF)
    bag.add_topic("/odom", messages.ODOMETRY)
    for name in spec.names:
        bag.add_topic(f"/camera/{name}/image/compressed", messages.COMPRESSED_IMAGE)
        bag.add_topic(f"/camera/{name}/camera_info", messages.CAMERA_INFO)


def _static(spec: RigSpec, stamp_ns: int) -> Any:
    return messages.tf_message(
        [(BASE, optical_frame(name), stamp_ns, camera.base_from_camera()) for name, camera in spec.cameras]
    )


class _Stream:
    """An iterator that can be read up to a time."""

    def __init__(self, events: Iterator[Event]) -> None:
        self._events = events
        self._next = next(events, None)

    def until(self, time_ns: int) -> list[Event]:
        taken = []
        while self._next is not None and self._next[0] <= time_ns:
            taken.append(self._next)
            self._next = next(self._events, None)
        return taken


def _take_until(stream: _Stream, time_ns: int) -> list[Event]:
    return stream.until(time_ns)


def _motion(town: Town, first_ns: int, last_ns: int) -> _Stream:
    """/tf and /odom at TF_RATE_HZ, covering all image stamps with a margin."""
    period, margin = round(1e9 / TF_RATE_HZ), round(MARGIN_S * 1e9)

    def events() -> Iterator[Event]:
        for stamp in range(first_ns - margin, last_ns + margin + 1, period):
            t, step = time_of(stamp), 0.01
            pose = town.drive.odom_from_base(t)
            before, after = town.drive.odom_from_base(t - step), town.drive.odom_from_base(t + step)
            velocity = (after[:3, 3] - before[:3, 3]) / (2.0 * step)
            spin = (after[:3, :3] - before[:3, :3]) / (2.0 * step) @ pose[:3, :3].T  # [omega]x in odom
            omega = np.array([spin[2, 1] - spin[1, 2], spin[0, 2] - spin[2, 0], spin[1, 0] - spin[0, 1]]) * 0.5
            yield stamp + TF_DELAY_NS, "/tf", messages.tf_message([(ODOM, BASE, stamp, pose)])
            yield (
                stamp + TF_DELAY_NS,
                "/odom",
                messages.odometry(stamp, ODOM, BASE, pose, pose[:3, :3].T @ velocity, pose[:3, :3].T @ omega),
            )

    return _Stream(events())


def _frames(town: Town, spec: RigSpec, stamps: list[int], supersample: int) -> Iterator[tuple[TownFrame, list[bytes]]]:
    """Rendered and encoded frames in order, made by a few threads at once."""

    def make(stamp_ns: int) -> tuple[TownFrame, list[bytes]]:
        frame = render_frame(town, spec, stamp_ns, supersample=supersample)
        return frame, [_jpeg(view.image) for view in frame.views]

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the frames run side by side; threads inside one tensor operation gain less
    try:
        with ThreadPoolExecutor(max_workers=WORKERS) as pool:
            queue: list[Future[tuple[TownFrame, list[bytes]]]] = []
            for stamp in stamps:
                queue.append(pool.submit(make, stamp))
                if len(queue) > 2 * WORKERS:
                    yield queue.pop(0).result()
            for future in queue:
                yield future.result()
    finally:
        torch.set_num_threads(threads)


def _jpeg(image: np.ndarray) -> bytes:
    ok, data = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not ok:
        raise SelfOccError(f"an image of {image.shape[1]}x{image.shape[0]} pixels could not be encoded as JPEG.")
    return bytes(data)


def _images(spec: RigSpec, frame: TownFrame, encoded: list[bytes]) -> list[Event]:
    events: list[Event] = []
    for (name, camera), stamp, data in zip(spec.cameras, frame.stamps_ns, encoded, strict=True):
        receive = stamp + IMAGE_DELAY_NS
        image = messages.compressed_image(stamp, optical_frame(name), data)
        info = messages.camera_info(stamp, optical_frame(name), camera.camera())
        events.append((receive, f"/camera/{name}/image/compressed", image))
        events.append((receive, f"/camera/{name}/camera_info", info))
    return events
