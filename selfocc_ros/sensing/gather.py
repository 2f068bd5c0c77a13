# SPDX-License-Identifier: Apache-2.0
"""A set of frames, their calibrations and the transforms become one RigSample."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.rig import CameraRig
from selfocc_ros.geometry.transforms import (
    DisconnectedError,
    ExtrapolationError,
    TransformError,
    TransformTree,
    UnknownFrameError,
)
from selfocc_ros.sensing.frames import CameraFrame, RigSample
from selfocc_ros.sensing.sync import FrameSet


def gather_sample(
    frame_set: FrameSet[CameraFrame],
    cameras_by_name: Mapping[str, CameraModel],
    frame_ids: Mapping[str, str],
    tree: TransformTree,
    base_frame: str,
    fixed_frame: str,
    unmoved: str = "",
) -> RigSample:
    """Look up each camera at its own stamp, in the base frame at the reference stamp, through the fixed frame.

    A camera without intrinsics or without a transform is left out; `missing` lists it and `problems` says why.
    Nothing is waited for: whoever can wait for transforms asks again.

    Where the fixed frame is unknown, or not connected to the base (no odometry), cameras are taken as mounted at
    their own stamps, which is right for a vehicle at rest; `problems[fixed_frame]` says so. Odometry that merely has
    not arrived for these stamps yet is no such case: then the cameras are left out, unless the caller knows better.

    Args:
        frame_set: what the synchroniser gave out.
        cameras_by_name: intrinsics by camera.
        frame_ids: optical frame by camera, where it is not to be what the message says.
        tree: the transforms.
        base_frame: frame of the result, usually base_link.
        fixed_frame: a frame that does not move with the vehicle, usually odom.
        unmoved: why odometry for these stamps is not to be expected any more; cameras are then taken as mounted, at
            their own stamps or else where they were last.
    """
    problems: dict[str, str] = {}
    still = unmoved or _fixed_problem(tree, base_frame, fixed_frame, frame_set.stamp_ns)
    if still is not None:
        problems[fixed_frame] = f"{still}; motion between the cameras' stamps is not accounted for"
    wanted: dict[str, tuple[str, int]] = {}
    for name, frame in frame_set.items.items():
        frame_id = frame_ids.get(name) or frame.frame_id
        if name not in cameras_by_name:
            problems[name] = f"camera '{name}': no CameraInfo so far"
        elif not frame_id:
            problems[name] = f"camera '{name}': its messages have no frame_id and none is configured"
        else:
            wanted[name] = frame_id, frame.stamp_ns
    if still is None:
        found = tree.lookup_each(base_frame, frame_set.stamp_ns, wanted.values(), fixed_frame)
    else:
        found = [_mounted(tree, base_frame, *source, last_known=bool(unmoved)) for source in wanted.values()]
    names: list[str] = []
    poses: list[NDArray[np.float64]] = []
    for name, pose in zip(wanted, found, strict=True):
        if isinstance(pose, TransformError):
            problems[name] = f"camera '{name}': {pose}"
        else:
            names.append(name)
            poses.append(pose)
    rig = CameraRig(
        tuple(names),
        tuple(cameras_by_name[name] for name in names),
        np.array(poses, dtype=np.float64).reshape(-1, 4, 4),
    )
    frames = tuple(frame_set.items[name] for name in names)
    left_out = tuple(name for name in frame_set.items if name not in names)
    return RigSample(frame_set.stamp_ns, rig, frames, (*frame_set.missing, *left_out), problems)


def _mounted(
    tree: TransformTree, base_frame: str, frame_id: str, stamp_ns: int, *, last_known: bool
) -> NDArray[np.float64] | TransformError:
    """Where a camera sits on the vehicle, or why that is not known."""
    try:
        return tree.lookup(base_frame, frame_id, stamp_ns)
    except TransformError as error:
        if not last_known or not isinstance(error, ExtrapolationError):
            return error
    try:
        return tree.lookup(base_frame, frame_id)
    except TransformError as error:
        return error


def _fixed_problem(tree: TransformTree, base_frame: str, fixed_frame: str, stamp_ns: int) -> str | None:
    """Why there is no odometry at all, or None if there is (be it for other times)."""
    if base_frame.lstrip("/") not in tree.frames():
        return None  # the cameras will say so
    try:
        tree.lookup(fixed_frame, base_frame, stamp_ns)
    except (UnknownFrameError, DisconnectedError) as error:
        return str(error)
    except ExtrapolationError:
        return None
    return None
