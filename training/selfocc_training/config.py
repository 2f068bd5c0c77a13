# SPDX-License-Identifier: Apache-2.0
"""Configuration of a training run on town drives or recordings."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from selfocc_ros.configuration import ConfigError, load_config
from selfocc_training.town_clips import ClipPlan

CHOICES = {
    "reprojection_kind": ("pairs", "combined", "separate"),
    "rgb_behind": ("image", "noise"),
    "eikonal_at": ("cells", "samples"),
    "hessian_stencil": ("diagonal", "wide", "compact"),
    "edge_of": ("inverse_distance", "depth"),
    "sparsity_kind": ("soft", "adaptive", "hard", "streetsurf"),
    "semantic_kind": ("ce", "bce"),
}
"""Words that keys of ``LossConfig`` may hold; the first of each is the default."""


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms, and which form a term takes. A term of weight 0 is not computed."""

    render: bool = True
    """Off: no ray is rendered, and of the terms ``voxels``, ``eikonal`` and ``hessian`` alone are computed."""
    reprojection: float = 1.0
    reprojection_kind: str = "pairs"
    """``pairs``: near and wide pairs of sources, ours. SelfOcc's own: ``combined`` (published for nuScenes) averages
    the sources before they are compared, ``separate`` (for KITTI) takes the better one."""
    auto_mask: bool = True
    """Leave out rays that an unmoved source explains better than a warped one."""
    distances: float = 0.5
    """Reprojection loss on the per-pixel distance distributions of the current frame, of networks that have them."""
    rgb: float = 0.1
    rgb_behind: str = "image"
    """What light that the box lets through shows. ``image``: the pixel itself, so that the colour term does not touch
    opacity. ``noise``: random colours, SelfOcc's way, which asks rays to end inside the box."""
    eikonal: float = 0.1
    eikonal_at: str = "cells"
    """``cells``: forward differences of each cell, ours; ``samples``: those of all rays and all nodes, SelfOcc's."""
    hessian: float = 0.01
    hessian_stencil: str = "diagonal"
    """``diagonal``: along the axes, ours. SelfOcc's: ``wide``, and ``compact`` for SemanticKITTI."""
    edge: float = 0.0
    """Smoothness, where the picture is smooth, of what is rendered and of what single images tell of distance."""
    edge_of: str = "inverse_distance"
    """``inverse_distance`` as in Monodepth2, or ``depth`` as in SelfOcc."""
    sparsity: float = 0.0
    sparsity_kind: str = "soft"
    """Price on occupied space: ``soft`` is the published one; see ``losses.sparsity`` for the others."""
    semantic: float = 0.0
    """Rendered classes against class maps of the images; for networks with classes and data with maps alone. Sky has
    no class. With ``rgb_behind: image`` classes are, like colours, those of what was hit inside the box."""
    semantic_kind: str = "ce"
    """``ce`` cross entropy, ``bce`` binary cross entropy of each class."""
    voxels: float = 0.0
    """Occupancy against labels of voxels, for data with labels alone: binary cross entropy; of networks with classes
    cross entropy and Lovász-softmax over classes and free."""
    opacity: float = 0.01
    """Price on the opacity of each ray: matter has to earn its place."""
    background_from: int | None = 1000
    """First step with proposals beyond the box and the price on opacity; null: never. From random weights both are an
    easy way out: everything stays transparent. Until then rays must end inside the box, as in SelfOcc."""

    @property
    def reads_class_maps(self) -> bool:
        """Whether a term compares with class maps."""
        return self.render and self.semantic != 0

    @property
    def reads_voxels(self) -> bool:
        """Whether a term compares with labels of voxels."""
        return self.voxels != 0

    def __post_init__(self) -> None:
        for key, words in CHOICES.items():
            if (word := getattr(self, key)) not in words:
                raise ConfigError(f"loss.{key} must be {', '.join(words[:-1])} or {words[-1]}, found {word!r}.")
        if not self.render and not self.voxels:
            raise ConfigError("loss.render is off and loss.voxels is 0: nothing is left to learn from.")
        if not self.render and self.eikonal and self.eikonal_at != "cells":
            raise ConfigError(f"loss.eikonal_at must be cells with loss.render off, found {self.eikonal_at!r}.")
        if self.reprojection_kind != "pairs" and self.background_from is not None:
            raise ConfigError(
                f"loss.background_from must be null with reprojection_kind {self.reprojection_kind!r}: SelfOcc's own "
                f"loss knows nothing beyond the box; found {self.background_from}."
            )


@dataclass(frozen=True)
class DataConfig:
    """Drives and how steps are drawn from them."""

    dataset: str = ""
    """Folder that ``selfocc prepare`` made, relative to the working directory; empty: town drives. Of ``clip``, its
    clips follow ``frames``, ``spacing_m``, ``width`` and ``height``."""
    class_maps: bool = False
    """Give clips the class of each pixel, where something has labelled the images; of town drives Occ3D's."""
    class_noise: float = 0.0
    """Of town drives: share of each class map that is wrong, in patches, as a segmentation network's are."""
    voxel_labels: bool = False
    """Give clips the dataset's voxel labels; of town drives the true ones of what the cameras see, of Occ3D."""
    distilled: bool = False
    """Give clips of town drives the voxel labels that ``selfocc distil`` has put beside them; those of a dataset are
    its ``voxel_labels``."""
    first_seed: int = 100
    seeds: int = 100
    clips_per_seed: int = 1
    clip: ClipPlan = dataclasses.field(default_factory=ClipPlan)
    current_views: int = 3
    """Views rendered at the moment that the network sees."""
    anchor_views: int = 2
    """Views rendered from other moments of the clip, in the same volume."""
    anchor_reach: int = 6
    """Frames by which an anchor may be away. Where samples of a recording lie far apart, twice the metres that these
    are at ``clip.spacing_m`` bound it; the next frame is always near enough."""
    widest_gap: int = 5
    """Sources start 1 frame away; the farther one widens to this many over ``widen_steps``, bound in metres as
    ``anchor_reach`` is."""
    widen_steps: int = 1500
    wide_pair: bool = True
    """Compare with the pair of sources that widens too, not with the neighbouring frames alone."""
    grid: tuple[int, int] = (18, 32)
    """Rows and columns of rays per view."""
    drop_cameras: int = 3
    mirror: bool = True
    to_the_ends: bool = False
    """Draw moments from all of a clip, and compare those at its ends with one side: for drives of a few clips, whose
    beginning and end would else never be seen. Otherwise moments keep ``widest_gap`` frames to either end."""
    shuffle_sources: bool = False
    """Take sources from another clip: a control that must not learn."""

    def __post_init__(self) -> None:
        if self.distilled and (self.dataset or self.voxel_labels):
            raise ConfigError(
                "data.distilled is for town drives and takes the place of data.voxel_labels; with a dataset, whose "
                "voxels may be distilled ones, data.voxel_labels alone."
            )

    def town_plan(self) -> ClipPlan:
        """How clips of town drives are cut, with the labels that are asked for."""
        return dataclasses.replace(
            self.clip, class_maps=self.class_maps, class_noise=self.class_noise, voxels=self.voxel_labels
        )


@dataclass(frozen=True)
class TrainConfig:
    """One run: ``selfocc train CONFIG``."""

    model: str = "tiny"
    start: str = ""
    """Checkpoint of the same architecture whose weights and occupancy thresholds training starts from: a path, or
    ``default`` for the shipped one; empty: random weights, or those of ``backbone.weights``."""
    steps: int = 6000
    learning_rate: float = 1.5e-3
    sharpness_rate: float = 0.05
    """Learning rate of the renderer's sharpness, as a share of the others'."""
    warmup: int = 100
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    ema: float = 0.998
    scenes_per_step: int = 1
    """Moments whose gradients are added up in a step, in each process that trains."""
    seed: int = 0
    bfloat16: bool = True
    """Compute features in bfloat16, on GPU and CPU; weights, fields and rendering stay in float32."""
    steps_ahead: int = 2
    """Steps whose images are read and prepared while the network is busy with an earlier one."""
    save_every: int = 100
    """Steps between saved states."""
    log_every: int = 20
    """Steps between rows of the learning curve."""
    picture_every: int = 500
    """Steps between pictures in TensorBoard; 0: none."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        least = {"scenes_per_step": 1, "save_every": 1, "log_every": 1, "picture_every": 0, "steps_ahead": 0}
        for key, low in least.items():
            if (value := getattr(self, key)) < low:
                raise ConfigError(f"{key} must be at least {low}, found {value}.")


def load_train_config(
    name_or_path: str, steps: int | None = None, seed: int | None = None, dataset: str | None = None
) -> TrainConfig:
    """Configuration by name (``tiny_town``: ``config/train/tiny_town.yaml``) or path, with what is given replaced.

    Raises:
        ConfigError: if there is no such configuration, or it has unknown keys or values of the wrong type.
    """
    config = load_config(TrainConfig, "config/train", name_or_path)
    return dataclasses.replace(
        config,
        steps=config.steps if steps is None else steps,
        seed=config.seed if seed is None else seed,
        data=config.data if dataset is None else dataclasses.replace(config.data, dataset=dataset),
    )
