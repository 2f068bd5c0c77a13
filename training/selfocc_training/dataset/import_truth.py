# SPDX-License-Identifier: Apache-2.0
"""Labels that lie beside a recording into the dataset, each to the sample or image that it belongs to.

Labels come after everything else: images, poses and splits of a dataset are the same with and without them.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.poses import invert
from selfocc_ros.geometry.transforms import TransformError, TransformTree
from selfocc_ros.logs.convert import feed, stamp_ns
from selfocc_ros.logs.reader import Bag
from selfocc_training.dataset.labels import (
    LABELS_FILE,
    depth_pixels,
    load_label_names,
    picture_path,
    read_voxels,
    save_label_names,
    voxels_path,
    write_picture,
    write_voxels,
)
from selfocc_training.dataset.parquet import DatasetError, read_rows
from selfocc_training.dataset.truth import Read, Truth, read_frame_voxels

SAME_IMAGE_NS = 1_000_000
"""Stamps of labels that differ by less from an image's are that image's."""

_AHEAD_NS = 2_000_000_000
_TF = "tf2_msgs/msg/TFMessage"


class _Drive:
    """Stamps of a drive's samples and images."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        stamps, poses = [], []
        self.images: dict[str, dict[int, tuple[int, int]]] = {}
        for row in read_rows(root / "drives" / f"{name}.parquet"):
            stamps.append(row["stamp_ns"])
            poses.append(row["odom_from_base"])
            for image in row["cameras"]:
                self.images.setdefault(image["name"], {})[image["stamp_ns"]] = image["width"], image["height"]
        self.stamps_ns = np.array(stamps, np.int64)
        self.odom_from_base = np.array(poses, np.float64).reshape(-1, 4, 4)
        self.half_period_ns = float(np.median(np.diff(self.stamps_ns))) / 2.0 if len(stamps) > 1 else 0.0


def import_truth(root: Path, name: str, truth: Truth, bag: Path, base_frame: str, fixed_frame: str) -> dict[str, Any]:
    """Copy the labels of one drive into the dataset at `root`.

    Args:
        name: of the drive, whose rows are there.
        bag: its recording, which tells where the vehicle was when a grid was made between two samples.

    Returns:
        What was taken: `folder`, `fingerprint`, `voxels`, `class_maps`, `depth_maps`, `unused` (labels without a
        sample or image), `worst_ms` (how far a grid's stamp is from its sample's).

    Raises:
        DatasetError: labels are damaged, or mean something else than those that the dataset has.
    """
    drive = _Drive(root, name)
    if truth.names is not None:
        _settle_names(root, truth)
    voxels, worst_ns = _voxels(root, drive, truth, bag, base_frame, fixed_frame)
    found: dict[str, Any] = {"folder": str(truth.folder), "fingerprint": truth.fingerprint, "voxels": voxels}
    for key, kind, cameras in (
        ("class_maps", "classes", truth.class_maps),
        ("depth_maps", "depth", truth.depth_maps),
    ):
        found[key] = sum(_pictures(root, drive, truth, kind, camera, reads) for camera, reads in cameras.items())
    offered = len(truth.voxels) + sum(
        len(reads) for cameras in (truth.class_maps, truth.depth_maps) for reads in cameras.values()
    )
    unused = offered - voxels - found["class_maps"] - found["depth_maps"]
    return {**found, "unused": unused, "worst_ms": worst_ns * 1e-6}


def _settle_names(root: Path, truth: Truth) -> None:
    old = load_label_names(root)
    if old is not None and old != truth.names:
        raise DatasetError(
            f"{truth.folder} has other classes or another grid than {root / LABELS_FILE}: "
            "prepare it into another folder"
        )
    if old is None and truth.names is not None:
        save_label_names(root, truth.names)


def _voxels(root: Path, drive: _Drive, truth: Truth, bag: Path, base_frame: str, fixed_frame: str) -> tuple[int, int]:
    """Number of grids taken, and the longest time in ns between a grid and its sample."""
    if truth.names is None or not truth.voxels:
        return 0, 0
    chosen: dict[int, int] = {}  # sample -> stamp of the nearest grid
    for stamp in truth.voxels:
        nearest = int(np.abs(drive.stamps_ns - stamp).argmin())
        off = abs(int(drive.stamps_ns[nearest]) - stamp)
        other = chosen.get(nearest)
        if off <= drive.half_period_ns and (other is None or off < abs(int(drive.stamps_ns[nearest]) - other)):
            chosen[nearest] = stamp
    between = [stamp for sample, stamp in chosen.items() if stamp != drive.stamps_ns[sample]]
    poses = poses_at(bag, base_frame, fixed_frame, between) if between else {}
    taken, worst = 0, 0
    for sample, stamp in chosen.items():
        at = int(drive.stamps_ns[sample])
        if stamp != at and stamp not in poses:
            continue
        label, masks = read_frame_voxels(truth.voxels[stamp])
        moved = None if stamp == at else invert(drive.odom_from_base[sample]) @ poses[stamp]
        path = voxels_path(root, drive.name, at)
        write_voxels(path, label, masks, moved)
        try:
            read_voxels(path, truth.names)
        except DatasetError as error:
            path.unlink()
            raise DatasetError(f"{truth.voxels[stamp]} cannot be taken: {error}") from error
        taken, worst = taken + 1, max(worst, abs(stamp - at))
    return taken, worst


def _pictures(root: Path, drive: _Drive, truth: Truth, kind: str, camera: str, reads: dict[int, Read]) -> int:
    """Number of a camera's class maps or depth maps that were taken."""
    images = drive.images.get(camera, {})
    if not images:
        return 0
    stamps = np.array(sorted(images), np.int64)
    allowed = SAME_IMAGE_NS if truth.image_stamps else drive.half_period_ns
    taken = 0
    for stamp, read in reads.items():
        image = int(stamps[np.abs(stamps - stamp).argmin()])
        if abs(image - stamp) > allowed:
            continue
        pixels = read(images[image])
        write_picture(
            picture_path(root, kind, drive.name, camera, image), depth_pixels(pixels) if kind == "depth" else pixels
        )
        taken += 1
    return taken


def poses_at(
    bag: Path, base_frame: str, fixed_frame: str, stamps_ns: Collection[int]
) -> dict[int, NDArray[np.float64]]:
    """Where the vehicle was (`odom_from_base`, 4x4) at stamps of a recording; those without a pose are left out."""
    found: dict[int, NDArray[np.float64]] = {}
    pending = sorted(stamps_ns, reverse=True)
    tree = TransformTree(history_s=15.0)

    def settle(until_ns: int | None) -> None:
        while pending and (until_ns is None or pending[-1] < until_ns):
            stamp = pending.pop()
            try:
                found[stamp] = tree.lookup(fixed_frame, base_frame, stamp)
            except TransformError:
                continue

    with Bag(bag) as opened:
        topics = [name for name, info in opened.topics().items() if info.type == _TF]
        static = [name for name in topics if name.rpartition("/")[2] == "tf_static"]
        for chosen, fixed in ((static, True), ([name for name in topics if name not in static], False)):
            for _, _, msg in opened.messages(chosen) if chosen else ():
                feed(tree, msg, fixed)
                if not fixed:
                    newest = max((stamp_ns(item.header.stamp) for item in msg.transforms), default=0)
                    settle(newest - _AHEAD_NS)
    settle(None)
    return found
