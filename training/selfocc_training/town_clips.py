# SPDX-License-Identifier: Apache-2.0
"""Training clips: short stretches of town drives, seen by random rigs, kept as files so that a stop loses nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import invert
from selfocc_ros.geometry.rig import CameraRig
from selfocc_ros.geometry.voxels import OCC3D, VoxelGrid
from selfocc_ros.sensing.preprocess import used_size
from selfocc_ros.town.class_noise import noisy_classes
from selfocc_ros.town.objects import Label
from selfocc_ros.town.rigs import load_rig, random_rig
from selfocc_ros.town.town import Town
from selfocc_ros.town.visibility import camera_mask
from selfocc_training.town_masks import moving_mask
from selfocc_training.views import UNLABELLED

DRIVE_S = 40.0
"""Length of the drives that clips are cut from, seconds."""


@dataclass(frozen=True)
class ClipPlan:
    """How clips are cut from drives; a clip's file name depends on it, so that another plan makes other files."""

    frames: int = 15
    spacing_m: float = 0.6
    width: int = 256
    height: int = 144
    render_width: int = 384
    """Columns that images are rendered with before they are scaled, as a camera's are."""
    surround_share: float = 0.35
    """Share of clips with the default six-camera rig (jittered); the others get random rigs."""
    jam_share: float = 0.0
    """Share of clips whose oncoming cars stand in a queue. A car that drives looks nearer or farther than it is to
    whoever takes the world for still; one that stands teaches where cars of its looks are."""
    moving_masks: bool = field(default=False, repr=False)
    """Keep the town's own masks of what moves, which no recording has: training is not label-free with them."""
    class_maps: bool = field(default=False, repr=False)
    """Keep the class of each pixel, of Occ3D; sky has none."""
    class_noise: float = field(default=0.0, repr=False)
    """Share of each class map that is wrong, in patches, as a segmentation network's are."""
    voxels: bool = field(default=False, repr=False)
    """Keep the true class of the voxels that the cameras see, of Occ3D and on its grid."""


@dataclass(frozen=True)
class Clip:
    """T frames of N cameras.

    Attributes:
        images: (T, N, 3, H, W) uint8 RGB at the network's input size.
        intrinsics: (N, 4) fx, fy, cx, cy; sizes: (N, 2) used width, height.
        odom_from_base: (T, 4, 4) at the frames' reference times.
        odom_from_camera: (T, N, 4, 4) at each camera's own time.
        ego_mask: (N, H, W) bool, False where a camera sees its own vehicle; or None.
        moving_mask: (T, N, H, W) bool, False where an image shows something that moves; or None.
        labels: (T, N, H, W) uint8, class channel of the network that each pixel belongs to, 255 where that is not
            known; or None.
        voxels: (T, X, Y, Z) uint8 labels of a grid in each frame's base frame, 255 where that is not known; or None.
        voxel_grid: where the voxels are.
        voxel_free: label of free space; all others are classes.
    """

    images: NDArray[np.uint8]
    intrinsics: NDArray[np.float32]
    sizes: NDArray[np.float32]
    odom_from_base: NDArray[np.float64]
    odom_from_camera: NDArray[np.float64]
    ego_mask: NDArray[np.bool_] | None = None
    moving_mask: NDArray[np.bool_] | None = None
    labels: NDArray[np.uint8] | None = None
    voxels: NDArray[np.uint8] | None = None
    voxel_grid: VoxelGrid | None = None
    voxel_free: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray))

    @property
    def masked(self) -> bool:
        """Whether there are masks."""
        return self.ego_mask is not None or self.moving_mask is not None

    @property
    def travelled_m(self) -> NDArray[np.float64]:
        """(T,) metres driven from the first frame to each."""
        metres = np.linalg.norm(np.diff(self.odom_from_base[:, :3, 3], axis=0), axis=1)
        return np.concatenate([[0.0], np.cumsum(metres)])

    def use(self, frame: int, camera: int) -> NDArray[np.bool_]:
        """(H, W), the pixels of an image that no mask takes."""
        use = np.ones(self.images.shape[-2:], np.bool_)
        if self.ego_mask is not None:
            use &= self.ego_mask[camera]
        if self.moving_mask is not None:
            use &= self.moving_mask[frame, camera]
        return use


def clip_times(town: Town, start_s: float, plan: ClipPlan) -> list[float]:
    """Times at which the vehicle has moved on by ``spacing_m`` each, from ``start_s`` on."""
    times = [start_s]
    step = 0.01
    while len(times) < plan.frames:
        t, goal = times[-1], town.drive.distance(times[-1]) + plan.spacing_m
        while town.drive.distance(t) < goal and t < times[-1] + 5.0:
            t += step
        times.append(t)
    return times


def render_clip(seed: int, index: int, plan: ClipPlan) -> Clip:
    """Render clip ``index`` of town ``seed``: rig, start and content follow from the two numbers alone."""
    rng = np.random.default_rng((seed, index, 20))
    town = Town(seed, seconds=DRIVE_S, jam=np.random.default_rng((seed, index, 24)).random() < plan.jam_share)
    spec = load_rig("surround6").jittered(seed) if rng.random() < plan.surround_share else random_rig(rng)
    rig = spec.rig(plan.render_width)
    latest = float(town.drive.time_at(town.drive.distance(DRIVE_S) - plan.frames * plan.spacing_m))
    times = clip_times(town, float(rng.uniform(0.5, latest)), plan)
    images = np.zeros((plan.frames, len(rig), 3, plan.height, plan.width), np.uint8)
    masks = np.ones((plan.frames, len(rig), plan.height, plan.width), np.bool_) if plan.moving_masks else None
    labels = np.full((plan.frames, len(rig), plan.height, plan.width), UNLABELLED, np.uint8)
    depths: list[list[NDArray[np.float32]]] = [[] for _ in times]
    odom_from_camera = np.zeros((plan.frames, len(rig), 4, 4))
    odom_from_base = np.stack([town.drive.odom_from_base(t) for t in times])
    scaled: list[CameraModel] = []
    for n, (name, camera) in enumerate(zip(rig.names, rig.cameras, strict=True)):
        pinhole = camera.undistorted() if camera.is_distorted else camera
        width, height = used_size((camera.width, camera.height), (plan.width, plan.height))
        scaled.append(pinhole.resized(width, height))
        for k, t in enumerate(times):
            at = t + spec.offsets_s[name]
            odom_from_camera[k, n] = town.drive.odom_from_base(at) @ rig.base_from_camera[n]
            view = town.render(pinhole, odom_from_camera[k, n], at)
            shrunk = cv2.resize(view.image, (width, height), interpolation=cv2.INTER_AREA)
            images[k, n, :, :height, :width] = shrunk.transpose(2, 0, 1)
            depths[k].append(view.depth)
            if plan.class_maps:
                noise = np.random.default_rng((seed, index, k, n, 26))
                classes = noisy_classes(view.classes, plan.class_noise, noise)
                shrunk_classes = cv2.resize(classes, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
                labels[k, n, :height, :width] = np.where(shrunk_classes == Label.FREE, UNLABELLED, shrunk_classes)
            if masks is not None:
                use = moving_mask(town.solids(at), view.depth, pinhole, odom_from_camera[k, n]).astype(np.float32)
                # A pixel counts if nothing that went into it moves.
                whole = cv2.resize(use, (width, height), interpolation=cv2.INTER_AREA) > 0.999
                masks[k, n, :height, :width] = whole
    matrices = np.stack([camera.matrix for camera in scaled])
    intrinsics = np.stack([matrices[:, 0, 0], matrices[:, 1, 1], matrices[:, 0, 2], matrices[:, 1, 2]], axis=1)
    sizes = np.array([(camera.width, camera.height) for camera in scaled], np.float32)
    clip = Clip(images, intrinsics.astype(np.float32), sizes, odom_from_base, odom_from_camera, moving_mask=masks)
    if plan.class_maps:
        clip = replace(clip, labels=labels)
    if plan.voxels:
        cameras = tuple(camera.undistorted() if camera.is_distorted else camera for camera in rig.cameras)
        rigs = [CameraRig(rig.names, cameras, base_rig(clip, k, k)) for k in range(plan.frames)]
        seen = [seen_voxels(town, *moment) for moment in zip(times, odom_from_base, rigs, depths, strict=True)]
        clip = replace(clip, voxels=np.stack(seen), voxel_grid=OCC3D, voxel_free=int(Label.FREE))
    return clip


def seen_voxels(
    town: Town,
    t_s: float,
    odom_from_base: NDArray[np.float64],
    rig: CameraRig,
    depths: Sequence[NDArray[np.float32]],
) -> NDArray[np.uint8]:
    """(X, Y, Z) true labels of Occ3D's grid around the vehicle, of the voxels that its cameras see; 255 elsewhere.

    Args:
        rig: undistorted cameras in base_link.
        depths: true depth (H, W) of each camera.
    """
    labels = town.occupancy(OCC3D, odom_from_base, t_s)
    return np.where(camera_mask(OCC3D, labels, rig, depths), labels, np.uint8(UNLABELLED))


def clip_path(folder: Path, seed: int, index: int, plan: ClipPlan) -> Path:
    """File of a clip."""
    # Files that were rendered before there were masks keep their names.
    told = f"{plan!r}{' with masks' if plan.moving_masks else ''}"
    if plan.class_maps:
        told += f" with classes, noise {plan.class_noise}"
    told += " with voxels" if plan.voxels else ""
    digest = hashlib.sha256(told.encode()).hexdigest()[:8]
    return folder / f"clip_{digest}_{seed:05d}_{index}.npz"


def load_clip(path: Path) -> Clip:
    """Read a clip back."""
    with np.load(path) as stored:
        values: dict[str, Any] = {name: stored[name] for name in stored.files}
    if "voxel_grid" in values:
        values["voxel_grid"] = VoxelGrid(*values["voxel_grid"].tolist())
    if "voxel_free" in values:
        values["voxel_free"] = int(values["voxel_free"])
    return Clip(**values)


def save_clip(path: Path, clip: Clip) -> None:
    """Write a clip; the file appears whole or not at all, whoever else writes the same one into a shared folder."""
    values = {name: value for name, value in vars(clip).items() if value is not None}
    if clip.voxel_grid is not None:
        grid = clip.voxel_grid
        values["voxel_grid"] = np.array([grid.lower, grid.upper, grid.shape], np.float64)
    # A name that nobody else has: host and process number would not tell containers of one machine apart.
    part = path.with_name(f"{path.stem}.{uuid4().hex}.part.npz")
    try:
        np.savez(part, **values)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _make(folder: Path, seed: int, index: int, plan: ClipPlan) -> Path:
    torch.set_num_threads(1)
    path = clip_path(folder, seed, index, plan)
    if not path.is_file():
        clip = render_clip(seed, index, plan)
        if not path.is_file():  # another machine may have been quicker: what lies there is the same
            save_clip(path, clip)
    return path


def make_clips(
    folder: Path,
    seeds: range,
    per_seed: int,
    plan: ClipPlan,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Render all clips that are not there yet, in ``workers`` processes; returns their files in order."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(seed, index) for index in range(per_seed) for seed in seeds]
    with ProcessPoolExecutor(max_workers=workers) as pool:
        futures = [pool.submit(_make, folder, seed, index, plan) for seed, index in jobs]
        for done, future in enumerate(as_completed(futures), 1):
            future.result()
            if progress is not None:
                progress(done, len(futures))
    return [clip_path(folder, seed, index, plan) for seed, index in jobs]


def base_rig(clip: Clip, frame: int, scene_frame: int) -> NDArray[np.float64]:
    """(N, 4, 4) poses of the cameras at ``frame`` in base_link at ``scene_frame``."""
    return np.asarray(invert(clip.odom_from_base[scene_frame]) @ clip.odom_from_camera[frame])


def camera_rig(clip: Clip, frame: int) -> CameraRig:
    """The rig of ``frame`` as the network sees it."""
    cameras = tuple(
        CameraModel(int(w), int(h), np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], float))
        for (fx, fy, cx, cy), (w, h) in zip(clip.intrinsics, clip.sizes, strict=True)
    )
    names = tuple(f"camera{n}" for n in range(len(cameras)))
    return CameraRig(names, cameras, base_rig(clip, frame, frame))
