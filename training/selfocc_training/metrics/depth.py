# SPDX-License-Identifier: Apache-2.0
"""Errors of depth as they are printed since Eigen et al. (2014), of the views that a network sees and of novel ones.

Errors are averaged over the pixels of an image first, then over images. Both are told: of raw depth, whose scale the
network must know, and of depth scaled to the true median of each image, which forgives it. They must not be mixed up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from selfocc_training.metrics.confusion import ratio
from selfocc_training.metrics.sums import Sums

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

ERRORS = ("abs_rel", "sq_rel", "rmse", "rmse_log", "a1", "a2", "a3")
"""Mean |d - d*| / d*; mean (d - d*)^2 / d* (m); root mean squares of d - d* (m) and of ln d - ln d*; shares of pixels
with max(d / d*, d* / d) below 1.25, 1.25^2 and 1.25^3. d is predicted, d* true."""

PREDICTED_DEPTH_M = (1e-3, 80.0)
"""Predicted depths are clipped to this, after scaling."""

NOVEL_EDGES_M = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0)
"""Distances from the frame that the network saw, between which novel views are told apart. The last is the protocol's
limit (SceneRF, Cao and de Charette 2023)."""


def depth_errors(predicted: Floats, true: Floats, limits: tuple[float, float] = PREDICTED_DEPTH_M) -> Floats:
    """The seven of ``ERRORS`` (7,) over depths of one shape in metres; NaN if there are none."""
    d = np.clip(predicted.astype(np.float64).ravel(), *limits)
    t = true.astype(np.float64).ravel()
    if d.size == 0:
        return np.full(len(ERRORS), np.nan)
    squared = (d - t) ** 2
    log = np.log(d) - np.log(t)
    worse = np.maximum(d / t, t / d)
    shares = [np.mean(worse < 1.25**power) for power in (1, 2, 3)]
    means = [np.mean(np.abs(d - t) / t), np.mean(squared / t), np.sqrt(np.mean(squared)), np.sqrt(np.mean(log**2))]
    return np.array([*means, *shares])


def median_scale(predicted: Floats, true: Floats) -> float:
    """What predicted depths are multiplied by so that their median is the true one; of an even number, the lower."""
    return float(_lower_median(true)) / max(float(_lower_median(predicted)), PREDICTED_DEPTH_M[0])


def sample_depths(depths: Floats, locations: Floats) -> Floats:
    """Read depth maps bilinearly; beyond their borders the border's value holds.

    Args:
        depths: (N,H,W) metres.
        locations: (N,R,2) x to the right and y down, 0..1 from the centres of the first to those of the last pixels.

    Returns:
        (N,R) metres.
    """
    maps = torch.as_tensor(depths)[:, None]
    places = torch.as_tensor(locations).to(maps.dtype)[:, None] * 2.0 - 1.0
    read = F.grid_sample(maps, places, mode="bilinear", padding_mode="border", align_corners=True)
    sampled: Floats = read[:, 0, 0].numpy()
    return sampled


def garg_crop(height: int, width: int) -> Bools:
    """(H,W) pixels of a KITTI image that are scored: where LiDAR reaches (Garg et al. 2016)."""
    crop = np.zeros((height, width), np.bool_)
    top, bottom = int(0.40810811 * height), int(0.99189189 * height)
    left, right = int(0.03594771 * width), int(0.96405229 * width)
    crop[top:bottom, left:right] = True
    return crop


@dataclass(frozen=True, eq=False)
class DepthMeans(Sums):
    """Errors of images, summed by view: by camera, or by how novel a view is.

    Attributes:
        totals: (V,8) sums over images of ``ERRORS`` and of the scale that depths were multiplied by.
        images: (V,) how many.
    """

    totals: NDArray[np.float64]
    images: NDArray[np.int64]

    @classmethod
    def zeros(cls, views: int) -> DepthMeans:
        """Nothing scored yet."""
        return cls(np.zeros((views, len(ERRORS) + 1)), np.zeros(views, np.int64))

    def by_view(self) -> NDArray[np.float64]:
        """(V,8) mean over the images of each view; NaN without any."""
        return ratio(self.totals, np.broadcast_to(self.images[:, None], self.totals.shape))

    def over_views(self) -> dict[str, float]:
        """Errors and ``scale``, the mean over views of their means: every camera counts the same, as in SelfOcc."""
        return _named(self.by_view()[self.images > 0])

    def over_images(self) -> dict[str, float]:
        """Errors and ``scale``, the mean over all images, as of novel views."""
        total, images = self.totals.sum(axis=0), int(self.images.sum())
        return _named(total[None] / images if images else total[None, :0])


@dataclass(frozen=True, eq=False)
class DepthErrors(Sums):
    """Errors of raw depth and of depth scaled to the true median of each image."""

    raw: DepthMeans
    median: DepthMeans

    @classmethod
    def zeros(cls, views: int) -> DepthErrors:
        """Nothing scored yet."""
        return cls(DepthMeans.zeros(views), DepthMeans.zeros(views))


def score_depths(predicted: Floats, true: Floats, mask: Bools) -> DepthErrors:
    """Score one image of each of N cameras.

    Args:
        predicted, true: (N, ...) z-depth in metres.
        mask: bool of the same shape, what is scored: SelfOcc has 1 to 80 m on nuScenes, and on KITTI 0.1 to 80 m
            inside ``garg_crop``. A camera without any is not counted.
    """
    return _score(predicted, true, mask, np.arange(len(true)), len(true))


def score_novel_depths(predicted: Floats, true: Floats, mask: Bools, distances: Floats) -> DepthErrors:
    """Score N views from places where the network did not look from; told apart by ``NOVEL_EDGES_M``.

    Args:
        predicted, true: (N, ...) z-depth in metres, of one camera and frame each.
        mask: bool of the same shape, what is scored. A view without any is not counted.
        distances: (N,) metres from the frame that the network saw. Views further than the last edge are not counted.
    """
    edges = np.array(NOVEL_EDGES_M)
    within = (distances >= edges[0]) & (distances <= edges[-1])
    ring = np.minimum(np.searchsorted(edges, distances, side="right") - 1, len(edges) - 2)
    return _score(predicted[within], true[within], mask[within], ring[within], len(edges) - 1)


def _score(predicted: Floats, true: Floats, mask: Bools, views: NDArray[np.integer], count: int) -> DepthErrors:
    if not predicted.shape == true.shape == mask.shape:
        shapes = predicted.shape, true.shape, mask.shape
        raise ValueError(f"depths predicted, true and their mask must be of one shape, found {shapes}")
    out = DepthErrors.zeros(count)
    for d, t, where, view in zip(predicted, true, mask, views, strict=True):
        if not where.any():
            continue
        guess, truth = d[where], t[where]
        for means, scale in ((out.raw, 1.0), (out.median, median_scale(guess, truth))):
            means.totals[view] += [*depth_errors(guess.astype(np.float64) * scale, truth), scale]
            means.images[view] += 1
    return out


def _named(rows: NDArray[np.float64]) -> dict[str, float]:
    means = rows.mean(axis=0) if rows.size else np.full(len(ERRORS) + 1, np.nan)
    return dict(zip((*ERRORS, "scale"), means.tolist(), strict=True))


def _lower_median(values: Floats) -> np.floating:
    middle = (values.size - 1) // 2
    lowest: np.floating = np.partition(values.ravel(), middle)[middle]
    return lowest
