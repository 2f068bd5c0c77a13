# SPDX-License-Identifier: Apache-2.0
"""Steps: poses, mirroring and sources agree with the pictures; draws follow from (seed, step) alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from selfocc_training.config import DataConfig
from selfocc_training.losses.pairs import pairs_loss
from selfocc_training.steps import Step, draw_step, frames_within, mirror_clip, source_gaps
from selfocc_training.town_clips import Clip, base_rig, camera_rig
from selfocc_training.views import picture_area

DATA = DataConfig(current_views=2, anchor_views=2, anchor_reach=2, widest_gap=2, widen_steps=10, grid=(8, 10))


def ground_loss(step: Step, height: float) -> float:
    """Reprojection loss if every ray ended on the plane z = ``height``."""
    pixels = step.grid.pixels.expand(len(step.views.rigs), -1, -1)
    origins, directions, _ = step.views.rigs.rays(pixels)
    down = directions[..., 2:].clamp(max=-1e-2)
    points = origins + directions * (height - origins[..., 2:]) / down
    weights = torch.ones(*points.shape[:2], 1)
    return pairs_loss(step.views, step.grid, weights, points.unsqueeze(2), None, False).item()


@pytest.mark.parametrize("mirror", [False, True])
def test_true_geometry_explains_the_pictures_mirrored_or_not(ground_clip: Clip, mirror: bool) -> None:
    clip = mirror_clip(ground_clip) if mirror else ground_clip
    data = dataclasses.replace(DATA, mirror=False, drop_cameras=0)
    right = wrong = 0.0
    for number in range(6):
        step = draw_step([clip], number, 0, data)
        right += ground_loss(step, 0.0)
        wrong += ground_loss(step, -0.5)
    assert right < 0.5 * wrong


def test_mirroring_twice_gives_the_clip_back(ground_clip: Clip) -> None:
    twice = mirror_clip(mirror_clip(ground_clip))
    assert np.array_equal(twice.images, ground_clip.images)
    assert np.allclose(twice.odom_from_camera, ground_clip.odom_from_camera)
    assert np.allclose(np.linalg.det(mirror_clip(ground_clip).odom_from_camera[..., :3, :3]), 1.0)


def masked(clip: Clip) -> Clip:
    """Masks that tell which picture they belong to, and labels that do; the right of camera 1 is padding."""
    rng = np.random.default_rng(0)
    sizes = clip.sizes.copy()
    sizes[1, 0] = 50
    picture = clip.images[:, :, 0].shape
    ego, moving = rng.random(picture[1:]) < 0.7, rng.random(picture) < 0.7
    labels = rng.integers(0, 5, picture, np.uint8)
    return dataclasses.replace(clip, sizes=sizes, ego_mask=ego, moving_mask=moving, labels=labels)


def test_masks_are_mirrored_with_their_pictures(ground_clip: Clip) -> None:
    clip = masked(ground_clip)
    mirrored, twice = mirror_clip(clip), mirror_clip(mirror_clip(clip))
    assert clip.ego_mask is not None
    assert mirrored.ego_mask is not None
    assert np.array_equal(mirrored.ego_mask[0], clip.ego_mask[0, :, ::-1])
    assert np.array_equal(mirrored.ego_mask[1, :, :50], clip.ego_mask[1, :, 49::-1])
    for name in ("ego_mask", "moving_mask", "labels"):
        assert np.array_equal(getattr(twice, name), getattr(clip, name)), name
    # Written into the pictures, masks and labels go where the pictures go.
    assert clip.moving_mask is not None
    assert clip.labels is not None
    painted = np.repeat((clip.moving_mask * clip.labels)[:, :, None], 3, axis=2)
    turned = mirror_clip(dataclasses.replace(clip, images=painted))
    assert turned.moving_mask is not None
    assert turned.labels is not None
    assert np.array_equal(turned.images[:, :, 1], turned.moving_mask * turned.labels)


@pytest.mark.parametrize("mirror", [False, True])
def test_views_carry_the_masks_of_their_pictures(ground_clip: Clip, mirror: bool) -> None:
    clip = masked(ground_clip)
    use = np.stack([[clip.use(k, n) for n in range(clip.images.shape[1])] for k in range(len(clip.images))])
    # Pictures that are their own masks: wherever a step puts a picture, its mask must be found beside it.
    use[:, 1, :, 50:] = False  # padding
    clip = dataclasses.replace(clip, images=np.repeat(use[:, :, None], 3, axis=2).astype(np.uint8) * 255)
    for number in range(8):
        views = draw_step([clip], number, 0, dataclasses.replace(DATA, mirror=mirror)).views
        assert views.use is not None
        assert views.source_use is not None
        area = picture_area(views.rigs.sizes, views.use.shape[-2:])
        assert torch.equal(views.use & area, views.images[:, 0] == 1)
        assert torch.equal(views.source_use & area[:, None], views.sources[:, :, 0] == 1)
        assert views.labels is not None
        assert views.labels.shape == views.use.shape
    plain = draw_step([ground_clip], 0, 0, DATA).views
    assert plain.use is plain.source_use is plain.labels is None


def test_all_of_every_picture_is_looked_at_in_a_rig_of_unlike_pictures(ground_clip: Clip) -> None:
    height, width = ground_clip.images.shape[-2:]
    sizes = np.array([[width, height], [width, 32], [40, height]], np.float32)
    clip = dataclasses.replace(ground_clip, sizes=sizes)
    reached = torch.zeros(3, 2)
    for number in range(60):
        step = draw_step([clip], number, 0, dataclasses.replace(DATA, mirror=False))
        for view, size in enumerate(step.views.rigs.sizes):
            camera = int((torch.as_tensor(sizes) == size).all(dim=1).nonzero()[0])
            pixels = step.grid.pixels
            if step.views.use is not None:
                at = pixels.round().long()
                pixels = pixels[step.views.use[view, at[:, 1], at[:, 0]]]
            reached[camera] = torch.cat([reached[camera, None], pixels]).amax(dim=0)
    assert (reached <= torch.as_tensor(sizes) - 0.5).all()
    assert (reached > torch.as_tensor(sizes) - 8).all()


def test_the_neighbouring_frames_alone_where_that_is_configured(ground_clip: Clip) -> None:
    views = draw_step([ground_clip], 20, 0, dataclasses.replace(DATA, wide_pair=False)).views
    assert views.sources.shape[1] == len(views.source_rigs) == 2
    assert views.pairs == ((0, 1),)


def test_a_short_drive_is_seen_to_its_ends_without_comparing_a_picture_with_itself(ground_clip: Clip) -> None:
    frames = ground_clip.images.shape[0]
    for reflects in (False, True):
        data = dataclasses.replace(DATA, to_the_ends=reflects, widen_steps=0)
        steps = [draw_step([ground_clip], number, 0, data) for number in range(60)]
        seen = {step.sample.frame for step in steps}
        assert seen == (set(range(frames)) if reflects else set(range(2, frames - 2)))
        for step in steps:
            for sources in step.views.source_rigs:
                moved = (sources.base_from_camera - step.views.rigs.base_from_camera)[:, :3, 3].norm(dim=-1)
                assert (moved > 0.01).all()


def test_a_step_follows_from_seed_and_number(ground_clip: Clip) -> None:
    a, b = draw_step([ground_clip], 7, 3, DATA), draw_step([ground_clip], 7, 3, DATA)
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.grid.pixels, b.grid.pixels)
    assert torch.equal(a.jitter, b.jitter)
    other = draw_step([ground_clip], 8, 3, DATA)
    assert not torch.equal(a.grid.pixels, other.grid.pixels)


def test_cameras_are_dropped_but_never_all(ground_clip: Clip) -> None:
    counts = {len(draw_step([ground_clip], number, 0, DATA).rig) for number in range(60)}
    assert counts == {1, 2, 3}


def test_current_views_are_what_the_network_sees(ground_clip: Clip) -> None:
    for number in range(20):
        step = draw_step([ground_clip], number, 1, dataclasses.replace(DATA, mirror=False))
        shown = step.rig.select(step.current_cameras)
        assert torch.allclose(shown.base_from_camera, step.views.rigs.base_from_camera[: len(step.current_cameras)])


def test_sources_start_near_and_widen() -> None:
    rng = np.random.default_rng(0)
    assert {source_gaps(0, DATA, rng, 2) for _ in range(50)} == {1}
    assert {source_gaps(10, DATA, rng, 2) for _ in range(50)} == {1, 2}
    assert {source_gaps(10, DATA, rng, 1) for _ in range(50)} == {1}


FAR = dataclasses.replace(DATA, anchor_reach=6, widest_gap=4, widen_steps=0, mirror=False)


def spread(clip: Clip, spacing_m: float, frames: int = 21) -> Clip:
    """The clip's first frame again and again, each ``spacing_m`` further on."""
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, 0, 3] = spacing_m * np.arange(frames)
    cameras = poses[:, None] @ clip.odom_from_camera[:1]
    images = np.repeat(clip.images[:1], frames, axis=0)
    return dataclasses.replace(clip, images=images, odom_from_base=poses, odom_from_camera=cameras)


def reached(clip: Clip, data: DataConfig) -> tuple[float, float]:
    """Metres to the farthest anchor, and from a view to its farthest source."""
    anchor = source = 0.0
    for number in range(60):
        views = draw_step([clip], number, 0, data).views
        at = views.rigs.base_from_camera[:, 0, 3]
        own = torch.stack([camera[0, 3] for camera in torch.as_tensor(clip.odom_from_camera[0])]).float()
        anchor = max(anchor, float((at[:, None] - own).abs().amin(dim=1).max()))
        moved = [(rig.base_from_camera[:, 0, 3] - at).abs().max() for rig in views.source_rigs]
        source = max(source, float(torch.stack(moved).max()))
    return anchor, source


@pytest.mark.parametrize(("spacing_m", "anchor", "source"), [(0.6, 3.6, 2.4), (2.0, 6.0, 4.0), (9.0, 9.0, 9.0)])
@pytest.mark.parametrize("to_the_ends", [False, True])
def test_views_of_a_sparse_recording_are_as_near_in_metres(
    ground_clip: Clip, spacing_m: float, anchor: float, source: float, to_the_ends: bool
) -> None:
    data = dataclasses.replace(FAR, to_the_ends=to_the_ends)
    found = reached(spread(ground_clip, spacing_m), data)
    assert found == pytest.approx((anchor, source), abs=1e-3)


@pytest.mark.parametrize("clip", [0.6, 0.65, "uneven"])
def test_steps_of_an_even_clip_do_not_depend_on_its_metres(ground_clip: Clip, clip: float | str) -> None:
    even = spread(ground_clip, clip if isinstance(clip, float) else 0.6)
    if clip == "uneven":  # what a walk over samples 0.5 m apart may find
        late = 0.5 * (np.arange(21) % 2)
        even.odom_from_base[:, 0, 3] += late
        even.odom_from_camera[:, :, 0, 3] += late[:, None]
    unbound = dataclasses.replace(FAR, clip=dataclasses.replace(FAR.clip, spacing_m=1e9))
    for number in range(40):
        a, b = (draw_step([even], number, 0, data) for data in (FAR, unbound))
        assert torch.equal(a.jitter, b.jitter)
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.views.rigs.base_from_camera, b.views.rigs.base_from_camera)
        for left, right in zip(a.views.source_rigs, b.views.source_rigs, strict=True):
            assert torch.equal(left.base_from_camera, right.base_from_camera)


def test_the_side_that_stretches_bounds_both() -> None:
    metres = np.array([0.0, 0.6, 1.2, 1.8, 2.4, 9.0, 15.0])
    assert [frames_within(metres, frame, 3, 0.6) for frame in range(7)] == [3, 3, 2, 1, 1, 1, 1]
    assert frames_within(metres, 0, 0, 0.6) == 0


def test_rig_of_a_clip_is_posed_at_its_own_frame(ground_clip: Clip) -> None:
    rig = camera_rig(ground_clip, 3)
    assert np.allclose(rig.base_from_camera, base_rig(ground_clip, 3, 3))
    assert np.allclose(rig.base_from_camera[:, 2, 3], 1.5)
