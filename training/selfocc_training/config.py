# SPDX-License-Identifier: Apache-2.0
"""Configuration of a training run on town drives."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from selfocc_ros.configuration import load_config
from selfocc_training.town_clips import ClipPlan


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms; rendering follows SelfOcc, background and opacity price are ours."""

    reprojection: float = 1.0
    distances: float = 0.5
    """Reprojection loss on the per-pixel distance distributions of the current frame."""
    rgb: float = 0.1
    eikonal: float = 0.1
    hessian: float = 0.01
    edge: float = 0.0
    """Smoothness of inverse distance, rendered and per image, where the picture is smooth."""
    opacity: float = 0.01
    """Price on the opacity of each ray: matter has to earn its place."""
    background_from: int = 1000
    """First step with proposals beyond the box and the price on opacity. From random weights both are an easy way
    out: everything stays transparent. Until then rays must end inside the box, as in SelfOcc."""
    auto_mask: bool = True


@dataclass(frozen=True)
class DataConfig:
    """Town drives and how steps are drawn from them."""

    first_seed: int = 100
    seeds: int = 100
    clips_per_seed: int = 1
    clip: ClipPlan = dataclasses.field(default_factory=ClipPlan)
    current_views: int = 3
    """Views rendered at the moment that the network sees."""
    anchor_views: int = 2
    """Views rendered from other moments of the clip, in the same volume."""
    anchor_reach: int = 6
    """Frames by which an anchor may be away."""
    widest_gap: int = 5
    """Sources start 1 frame away; the farther one widens to this many over ``widen_steps``."""
    widen_steps: int = 1500
    grid: tuple[int, int] = (18, 32)
    """Rows and columns of rays per view."""
    drop_cameras: int = 3
    mirror: bool = True
    shuffle_sources: bool = False
    """Take sources from another clip: a control that must not learn."""


@dataclass(frozen=True)
class TrainConfig:
    """One run: ``selfocc train CONFIG``."""

    model: str = "tiny"
    steps: int = 6000
    learning_rate: float = 1.5e-3
    sharpness_rate: float = 0.05
    """Learning rate of the renderer's sharpness, as a share of the others'."""
    warmup: int = 100
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    ema: float = 0.998
    scenes_per_step: int = 1
    """Moments whose gradients are added up in a step."""
    seed: int = 0
    bfloat16: bool = True
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)


def load_train_config(name_or_path: str, steps: int | None = None, seed: int | None = None) -> TrainConfig:
    """Configuration by name (``tiny_town``: ``config/train/tiny_town.yaml``) or path, with steps and seed replaced.

    Raises:
        ConfigError: if there is no such configuration, or it has unknown keys or values of the wrong type.
    """
    config = load_config(TrainConfig, "config/train", name_or_path)
    return dataclasses.replace(
        config, steps=config.steps if steps is None else steps, seed=config.seed if seed is None else seed
    )
