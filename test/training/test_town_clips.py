# SPDX-License-Identifier: Apache-2.0
"""Clips of town drives: what moves is masked exactly, where that is asked for, and files keep what clips hold."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.town.objects import Label
from selfocc_ros.town.rigs import load_rig
from selfocc_ros.town.town import Town
from selfocc_training import town_clips
from selfocc_training.distil.clip_files import clip_files
from selfocc_training.distil.provenance import DistilError
from selfocc_training.town_clips import Clip, ClipPlan, _make, clip_path, load_clip, make_clips, render_clip, save_clip
from selfocc_training.town_masks import moving_mask

SMALL = ClipPlan(frames=2, width=64, height=48, render_width=96, surround_share=1.0, moving_masks=True)


def front_camera(town: Town, t_s: float) -> tuple[CameraModel, np.ndarray]:
    rig = load_rig("front1").rig(192)
    camera = rig.cameras[0].undistorted()
    return camera, town.drive.odom_from_base(t_s) @ rig.base_from_camera[0]


@pytest.mark.parametrize("t_s", [1.0, 6.0])
def test_what_is_masked_is_what_is_not_there_without_traffic(t_s: float) -> None:
    town = Town(3, seconds=8.0)
    camera, pose = front_camera(town, t_s)
    depth = town.render(camera, pose, t_s, colours=False).depth
    use = moving_mask(town.solids(t_s), depth, camera, pose)
    all_solids = town.solids
    town.solids = lambda t: all_solids(t).take(~all_solids(t).moving)  # type: ignore[method-assign]
    empty = town.render(camera, pose, t_s, colours=False).depth
    with np.errstate(invalid="ignore"):
        hidden = (np.abs(empty - depth) > 0.005) | (np.isinf(empty) != np.isinf(depth))
    assert 50 < hidden.sum() < hidden.size / 2
    assert not (use & hidden).any()
    # Wheels touch the ground, so that a few pixels of it pass for the wheel.
    assert (~use & ~hidden).sum() < 0.02 * hidden.sum() + 5


def test_cars_that_stand_in_a_jam_are_not_masked() -> None:
    masked = []
    for jam in (False, True):
        town = Town(3, seconds=8.0, jam=jam)
        camera, pose = front_camera(town, 6.0)
        view = town.render(camera, pose, 6.0, colours=False)
        cars = view.classes == Label.CAR
        assert cars.sum() > 50
        masked.append((cars & ~moving_mask(town.solids(6.0), view.depth, camera, pose)).sum())
    assert masked[0] > 50
    assert masked[1] == 0


def test_masks_are_kept_where_they_are_asked_for(tmp_path: Path) -> None:
    (path,) = make_clips(tmp_path, range(3, 4), 1, SMALL, 1)
    clip = load_clip(path)
    assert clip.moving_mask is not None
    assert clip.moving_mask.shape == clip.images[:, :, 0].shape
    assert 0 < (~clip.moving_mask).mean() < 0.5
    assert clip.ego_mask is None
    assert clip.labels is None
    plan = ClipPlan(**{**vars(SMALL), "moving_masks": False})
    assert clip_path(tmp_path, 3, 0, plan) != path
    plain = render_clip(3, 0, plan)
    assert plain.moving_mask is None
    assert np.array_equal(plain.images, clip.images)
    assert not plain.masked


def test_use_is_what_all_masks_allow() -> None:
    pictures = np.zeros((2, 1, 3, 4, 5), np.uint8)
    poses = np.tile(np.eye(4), (2, 1, 1))
    sizes = np.array([[5, 4]], np.float32)
    ego, moving = np.ones((1, 4, 5), np.bool_), np.ones((2, 1, 4, 5), np.bool_)
    ego[:, 3], moving[1, :, :, 0] = False, False
    clip = Clip(pictures, np.ones((1, 4), np.float32), sizes, poses, poses[:, None], ego, moving)
    assert clip.masked
    assert clip.use(0, 0).tolist() == ego[0].tolist()
    assert torch.tensor(clip.use(1, 0)).sum() == 12


def make_in_step(folder: Path, meet: Any, quick: bool) -> None:
    """Make a clip beside another process that writes the same one in the same moment."""
    pictures, poses = np.full((2, 1, 3, 48, 64), 7, np.uint8), np.tile(np.eye(4), (2, 1, 1))
    clip = Clip(pictures, np.ones((1, 4), np.float32), np.ones((1, 2), np.float32), poses, poses[:, None])
    savez = np.savez

    def save(*args: Any, **values: Any) -> None:
        savez(*args, **values)
        meet.wait(60)  # both have written, neither has renamed
        if not quick:
            meet.wait(60)  # the other one's file is there

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(town_clips, "render_clip", lambda *_: clip)
        patch.setattr(np, "savez", save)
        try:
            _make(folder, 3, 0, SMALL)
            if quick:
                meet.wait(60)
        except BaseException:
            meet.abort()
            raise


def test_two_processes_that_make_the_same_clip_both_end_well(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    meet = context.Barrier(2)
    both = [context.Process(target=make_in_step, args=(tmp_path, meet, quick)) for quick in (True, False)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    assert list(tmp_path.iterdir()) == [clip_path(tmp_path, 3, 0, SMALL)]
    assert (load_clip(clip_path(tmp_path, 3, 0, SMALL)).images == 7).all()


def test_who_finds_the_clip_there_after_rendering_leaves_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = clip_path(tmp_path, 3, 0, SMALL)

    def rendered_meanwhile(*_: Any) -> None:
        path.write_bytes(b"another machine's")

    monkeypatch.setattr(town_clips, "render_clip", rendered_meanwhile)
    assert _make(tmp_path, 3, 0, SMALL) == path
    assert path.read_bytes() == b"another machine's"


def test_what_a_crash_leaves_is_no_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clip_path(tmp_path, 3, 0, SMALL)

    def killed(part: Path, **_: Any) -> None:
        part.write_bytes(b"half")
        monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", killed)
    with pytest.raises(KeyboardInterrupt):
        save_clip(path, render_clip(3, 0, SMALL))
    (left,) = tmp_path.iterdir()
    assert left.read_bytes() == b"half"
    assert not path.exists()
    with pytest.raises(DistilError, match="no clips"):
        clip_files(tmp_path)
