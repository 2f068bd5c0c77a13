# SPDX-License-Identifier: Apache-2.0
"""Writes a drive of KITTI as a recording, with SemanticKITTI's voxels beside it."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from selfocc_ros.logs import messages
from selfocc_ros.logs.kitti.clouds import cloud_message
from selfocc_ros.logs.kitti.drive import VELODYNE_HEIGHT_M, KittiCamera, KittiDrive, base_from_velodyne
from selfocc_ros.logs.kitti.files import KittiError
from selfocc_ros.logs.kitti.semantic import write_truth
from selfocc_ros.logs.whole import write_whole
from selfocc_ros.logs.writer import BagWriter
from selfocc_ros.sensing.decode import image_size
from selfocc_ros.sensing.frames import CameraFrame, DecodeError

BASE, ODOM, VELODYNE = "base_link", "odom", "velodyne"
SCANS = "/velodyne_points"
DESCRIPTION = "kitti.json"

Progress = Callable[[str, int, int], None]
"""Called with what is counted, how many are done, and in all."""

_PNG_END = b"IEND\xaeB`\x82"

Event = tuple[int, str, Any]


def optical_frame(camera: str) -> str:
    """Frame of a camera's images."""
    return f"camera_{camera}_optical"


def write_drive(drive: KittiDrive, out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Write ``out/truth`` where there are voxels, ``out/bag`` (MCAP), and at last ``out/kitti.json``.

    The recording and kitti.json appear whole or not at all. What a stopped call has left without its kitti.json is
    written anew.

    Returns:
        The content of kitti.json: what was converted, and how much of it.

    Raises:
        KittiError: `out` holds a drive already, or a file of the drive is damaged.
        BagError: the recording cannot be written.
    """
    if (out / DESCRIPTION).exists():
        raise KittiError(f"{out} holds a converted drive already: choose another folder with --out, or remove it")
    grids = 0
    try:
        if drive.voxels is not None:
            count = (lambda done, total: progress("voxel grids", done, total)) if progress is not None else None
            grids = write_truth(*drive.voxels, out / "truth", count)
        _write_bag(drive, out / "bag", progress)
        description = _description(drive, grids)
        write_whole(out / DESCRIPTION, json.dumps(description, indent=1) + "\n")
    except OSError as error:
        raise KittiError(f"{out} cannot be written ({error.strerror})") from error
    return description


def _write_bag(drive: KittiDrive, path: Path, progress: Progress | None) -> None:
    total = sum(len(camera.images) for camera in drive.cameras) + len(drive.scans)
    counted = {SCANS, *(_image_topic(camera) for camera in drive.cameras)}
    with BagWriter(path, replace=True, whole=True) as bag:
        bag.add_topic("/tf_static", messages.TF, latched=True)
        bag.add_topic("/tf", messages.TF)
        streams = [_static(drive), _motion(drive)]
        for camera in drive.cameras:
            bag.add_topic(_image_topic(camera), messages.COMPRESSED_IMAGE)
            bag.add_topic(_info_topic(camera), messages.CAMERA_INFO)
            streams.append(_images(camera))
        if drive.scans:
            bag.add_topic(SCANS, messages.POINT_CLOUD)
            streams.append((stamp, SCANS, cloud_message(stamp, VELODYNE, file)) for stamp, file in drive.scans)
        done = 0
        # Each stream is in order and holds one message at a time, so memory does not grow with the drive.
        for stamp_ns, topic, message in heapq.merge(*streams, key=lambda event: event[0]):
            bag.write(topic, stamp_ns, message)
            if progress is not None and topic in counted:
                done += 1
                progress("images and scans", done, total)


def _image_topic(camera: KittiCamera) -> str:
    return f"/camera/{camera.name}/image_rect_color/compressed"


def _info_topic(camera: KittiCamera) -> str:
    return f"/camera/{camera.name}/camera_info"


def _static(drive: KittiDrive) -> Iterator[Event]:
    first = min(drive.pose_stamps_ns[0], *(camera.stamps_ns[0] for camera in drive.cameras))
    mounts = [(BASE, optical_frame(camera.name), first, camera.base_from_camera) for camera in drive.cameras]
    yield first, "/tf_static", messages.tf_message([(BASE, VELODYNE, first, base_from_velodyne()), *mounts])


def _motion(drive: KittiDrive) -> Iterator[Event]:
    for stamp, pose in zip(drive.pose_stamps_ns, drive.odom_from_base, strict=True):
        yield stamp, "/tf", messages.tf_message([(ODOM, BASE, stamp, pose)])


def _images(camera: KittiCamera) -> Iterator[Event]:
    frame_id = optical_frame(camera.name)
    for stamp, file in zip(camera.stamps_ns, camera.images, strict=True):
        data, (width, height) = _png(camera, file)
        info = messages.camera_info(stamp, frame_id, camera.model(width, height))
        info.p = np.hstack([camera.matrix, [[camera.stereo_tx], [0.0], [0.0]]]).reshape(-1)
        yield stamp, _info_topic(camera), info
        yield stamp, _image_topic(camera), messages.compressed_image(stamp, frame_id, data, "png")


def _png(camera: KittiCamera, file: Path) -> tuple[bytes, tuple[int, int]]:
    """The bytes of an image, and its (width, height)."""
    try:
        data = file.read_bytes()
        size = image_size(CameraFrame(camera.name, 0, "", "png", data))
    except OSError as error:
        raise KittiError(f"{file} cannot be read ({error.strerror})") from error
    except DecodeError as error:
        raise KittiError(f"{file} is damaged: {len(data)} bytes that are no PNG image") from error
    if not data.endswith(_PNG_END):
        raise KittiError(f"{file} is damaged: a PNG image of {len(data)} bytes without its end")
    if camera.size is not None and size != camera.size:
        expected = f"{camera.size[0]}x{camera.size[1]}"
        raise KittiError(f"{file} is {size[0]}x{size[1]}, but the day's calibration is for {expected}")
    return data, size


def _description(drive: KittiDrive, grids: int) -> dict[str, Any]:
    return {
        "source": drive.source,
        "name": drive.name,
        "images": {camera.name: len(camera.images) for camera in drive.cameras},
        "scans": len(drive.scans),
        "missing_scans": list(drive.missing_scans),
        "poses": len(drive.pose_stamps_ns),
        "poses_from": str(drive.poses_from),
        "voxel_grids": grids,
        "seconds": (drive.cameras[0].stamps_ns[-1] - drive.cameras[0].stamps_ns[0]) * 1e-9,
        "base_frame": BASE,
        "fixed_frame": ODOM,
        "ground_z": 0.0,
        "velodyne_height_m": VELODYNE_HEIGHT_M,
    }
