# SPDX-License-Identifier: Apache-2.0
"""What one training step sees: drawn from (seed, step) alone, so that a resume is just a step number."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_ros.model.rig_tensors import RigTensors
from selfocc_training.config import DataConfig
from selfocc_training.losses.masks import combine_masks
from selfocc_training.losses.ray_grid import RayGrid, ray_grid
from selfocc_training.town_clips import Clip, base_rig
from selfocc_training.views import Views, picture_area

# Reflection of the ground frame across the vehicle's long axis, and of an optical frame across its vertical plane.
MIRROR_BASE = np.diag([1.0, -1.0, 1.0, 1.0])
MIRROR_OPTICAL = np.diag([-1.0, 1.0, 1.0, 1.0])

LOOSE = 2.0
"""Times ``spacing_m`` that frames may lie apart and still count as even: where samples lie closer than ``spacing_m``,
the first one that is as far as that is never farther."""

Pictures = TypeVar("Pictures", bound=NDArray[Any])


@dataclass(frozen=True)
class Sample:
    """Where a step comes from.

    Attributes:
        clip: number of the clip.
        frame: the moment in it that the network sees.
        cameras: the cameras that it sees it with.
    """

    clip: int
    frame: int
    cameras: tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """Everything that one step needs.

    Attributes:
        images: (N, 3, H, W) 0..255, network input, photometrically augmented.
        rig: the N cameras of the network input.
        views: views to render; the first ``current`` of them are cameras ``current_cameras`` of the input.
        grid: rays of every view; those in the padding of smaller views are none that ``views.use`` lets count.
        jitter: (V * R, 1) shift of each ray's sections.
        number: which step this is.
        seed: for what else a term draws.
        sample: what was drawn, to name it where something is wrong with it.
        voxels: (X, Y, Z) uint8 class channels of ``voxel_grid``, in the frame of the scene, ``UNLABELLED`` where they
            are not known; or None.
        voxel_free: what free voxels hold.
    """

    images: Tensor
    rig: RigTensors
    views: Views
    grid: RayGrid
    current_cameras: Tensor
    jitter: Tensor
    number: int
    seed: int
    sample: Sample
    voxels: Tensor | None = None
    voxel_grid: VoxelGrid | None = None
    voxel_free: int = 0


def mirror_clip(clip: Clip) -> Clip:
    """The clip seen in a mirror: left and right change places in pictures, labels, intrinsics and poses."""
    intrinsics = clip.intrinsics.copy()
    intrinsics[:, 2] = clip.sizes[:, 0] - 1 - intrinsics[:, 2]
    return dataclasses.replace(
        clip,
        images=_mirrored(clip.images, clip, 1),
        intrinsics=intrinsics,
        odom_from_base=MIRROR_BASE @ clip.odom_from_base @ MIRROR_BASE,
        odom_from_camera=MIRROR_BASE @ clip.odom_from_camera @ MIRROR_OPTICAL,
        ego_mask=None if clip.ego_mask is None else _mirrored(clip.ego_mask, clip, 0),
        moving_mask=None if clip.moving_mask is None else _mirrored(clip.moving_mask, clip, 1),
        labels=None if clip.labels is None else _mirrored(clip.labels, clip, 1),
        voxels=None if clip.voxels is None else clip.voxels[:, :, ::-1],
        voxel_grid=None if clip.voxel_grid is None else _mirrored_grid(clip.voxel_grid),
    )


def _mirrored_grid(grid: VoxelGrid) -> VoxelGrid:
    """Where the cells of a grid lie whose order along y is reversed with it."""
    lower, upper = grid.lower, grid.upper
    return VoxelGrid((lower[0], -upper[1], lower[2]), (upper[0], -lower[1], upper[2]), grid.shape)


def _mirrored(pictures: Pictures, clip: Clip, cameras: int) -> Pictures:
    """Pictures (..., H, W) of the clip's cameras along axis ``cameras``, mirrored; the padding stays what it is."""
    mirrored = pictures.copy()
    for n, width in enumerate(clip.sizes[:, 0].astype(int)):
        picture = np.moveaxis(pictures, cameras, 0)[n, ..., :width]
        np.moveaxis(mirrored, cameras, 0)[n, ..., :width] = picture[..., ::-1]
    return mirrored


def photometric_augmentation(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Brightness, contrast, saturation and tint, drawn per camera; images (N, 3, H, W) 0..255."""
    count = images.shape[0]

    def draw(low: float, high: float, channels: int = 1) -> Tensor:
        return torch.as_tensor(rng.uniform(low, high, (count, channels, 1, 1)), dtype=torch.float32)

    grey = images.mean(dim=1, keepdim=True)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = grey + (images - grey) * draw(0.7, 1.3)
    images = mean + (images - mean) * draw(0.75, 1.25)
    return (images * draw(0.93, 1.07, 3) + draw(-20, 20)).clamp(0, 255)


def frames_within(travelled_m: NDArray[np.float64], frame: int, frames: int, spacing_m: float) -> int:
    """Frames by which one may go from ``frame`` to either side.

    ``frames`` where they lie ``spacing_m`` apart. Where they lie farther apart, as many as are within the same metres,
    ``LOOSE`` times over, and at least one.

    Args:
        travelled_m: (T,) metres driven up to each frame.
    """
    too_far = np.flatnonzero(np.abs(travelled_m - travelled_m[frame]) > LOOSE * frames * spacing_m)
    return min(frames, max(1, int(np.abs(too_far - frame).min()) - 1)) if len(too_far) else frames


def source_gaps(step: int, config: DataConfig, rng: np.random.Generator, most: int) -> int:
    """Frames between anchor and source of the wide pair: up to a width that grows over the first steps, to ``most``."""
    share = min(1.0, step / max(1, config.widen_steps))
    widest = 1 + share * (config.widest_gap - 1)
    return int(rng.integers(1, min(int(round(widest)), most) + 1))


def _source(frame: int, gap: int, frames: int, reflect: bool) -> int:
    """The frame that is ``gap`` away; where the clip ends before, its last one, or the one on the other side."""
    if reflect and not 0 <= frame + gap < frames:
        gap = -gap
    return int(np.clip(frame + gap, 0, frames - 1))


def draw_step(clips: Sequence[Clip], step: int, seed: int, config: DataConfig, scene: int = 0) -> Step:
    """Draw scene ``scene`` of step ``step``: clip, moment, cameras, views, sources, rays."""
    rng = np.random.default_rng((seed, step, scene) if scene else (seed, step))
    index = int(rng.integers(len(clips)))
    clip = clips[index]
    other = clips[int(rng.integers(len(clips)))] if config.shuffle_sources else clip
    if config.mirror and rng.random() < 0.5:
        clip = mirror_clip(clip)
        other = clip if not config.shuffle_sources else mirror_clip(other)
    frames, cameras = clip.images.shape[:2]
    margin = 0 if config.to_the_ends else min(config.widest_gap, (frames - 1) // 2)
    current = int(rng.integers(margin, frames - margin))
    dropped = int(rng.integers(0, min(config.drop_cameras, cameras - 1) + 1)) if rng.random() < 0.5 else 0
    kept = np.sort(rng.permutation(cameras)[: cameras - dropped])
    intrinsics, sizes = torch.as_tensor(clip.intrinsics), torch.as_tensor(clip.sizes)

    def posed(frame: int) -> Tensor:
        return torch.as_tensor(base_rig(clip, frame, current), dtype=torch.float32)

    rig = RigTensors(intrinsics, sizes, posed(current)).select(torch.as_tensor(kept))
    images = torch.as_tensor(clip.images[current][kept], dtype=torch.float32)
    pairs: list[tuple[int, int, int]] = []  # camera, frame, position among the kept cameras
    shown = rng.permutation(len(kept))[: config.current_views]
    pairs += [(int(kept[position]), current, int(position)) for position in shown]
    travelled, spacing = clip.travelled_m, config.clip.spacing_m
    reach = frames_within(travelled, current, config.anchor_reach, spacing)
    for _ in range(config.anchor_views):
        ends = 0 if config.to_the_ends else 1
        low, high = max(ends, current - reach), min(frames - 1 - ends, current + reach)
        pairs.append((int(rng.choice(kept)), int(rng.integers(low, high + 1)), -1))
    anchors, sources, poses, use, source_use = [], [], [], [], []
    slots = 4 if config.wide_pair else 2
    source_poses: tuple[list[Tensor], ...] = tuple([] for _ in range(slots))
    for camera, frame, _ in pairs:
        # One pair stays near, whatever the width: near things leave the picture of a far one.
        gaps = [-1, 1]
        if config.wide_pair:
            most = frames_within(travelled, frame, config.widest_gap, spacing)
            gaps += [-source_gaps(step, config, rng, most), source_gaps(step, config, rng, most)]
        neighbours = [_source(frame, gap, frames, config.to_the_ends) for gap in gaps]
        anchors.append(clip.images[frame, camera])
        donor = camera % other.images.shape[1]
        moments = [neighbour % len(other.images) for neighbour in neighbours]
        sources.append(np.stack([other.images[moment, donor] for moment in moments]))
        if clip.masked or other.masked:
            use.append(clip.use(frame, camera))
            source_use.append(np.stack([other.use(moment, donor) for moment in moments]))
        poses.append(posed(frame)[camera])
        for slot, neighbour in enumerate(neighbours):
            source_poses[slot].append(posed(neighbour)[camera])
    shown_by = torch.as_tensor([camera for camera, _, _ in pairs])
    labels = None if clip.labels is None else [clip.labels[frame, camera] for camera, frame, _ in pairs]
    counts = torch.as_tensor(np.stack(use)) if use else None
    # One grid serves all views: it spans the largest, and the padding of smaller ones does not count.
    largest = sizes[shown_by].amax(dim=0)
    if bool((sizes[shown_by] != largest).any()):
        counts = combine_masks(counts, picture_area(sizes[shown_by], clip.images.shape[-2:]))
    views = Views(
        torch.as_tensor(np.stack(anchors), dtype=torch.float32) / 255.0,
        torch.as_tensor(np.stack(sources), dtype=torch.float32) / 255.0,
        RigTensors(intrinsics[shown_by], sizes[shown_by], torch.stack(poses)),
        tuple(RigTensors(intrinsics[shown_by], sizes[shown_by], torch.stack(slot)) for slot in source_poses),
        ((0, 1), (2, 3))[: slots // 2],
        counts,
        torch.as_tensor(np.stack(source_use)) if source_use else None,
        torch.as_tensor(np.stack(labels)) if labels else None,
    )
    width, height = largest.int().tolist()
    grid = ray_grid((height, width), *config.grid, torch.as_tensor(rng.uniform(size=4), dtype=torch.float32))
    jitter = torch.as_tensor(rng.uniform(size=(len(pairs) * grid.pixels.shape[0], 1)), dtype=torch.float32)
    augmented = photometric_augmentation(images, rng)
    # The padding of narrower images stays black, as preprocessing leaves it.
    augmented = augmented * (images.sum(dim=1, keepdim=True) > 0)
    shown_cameras = torch.as_tensor([position for _, _, position in pairs if position >= 0])
    sample = Sample(index, current, tuple(kept.tolist()))
    seed_of_terms = int(rng.integers(2**62))
    voxels = None if clip.voxels is None else torch.as_tensor(np.ascontiguousarray(clip.voxels[current]))
    told = voxels, clip.voxel_grid, clip.voxel_free
    return Step(augmented, rig, views, grid, shown_cameras, jitter, step, seed_of_terms, sample, *told)
