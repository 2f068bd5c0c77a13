# SPDX-License-Identifier: Apache-2.0
"""Every score against recordings of the official implementations (../shared/golden, section 5)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selfocc_ros.geometry.voxels import OCC3D as GRID
from selfocc_ros.model.scene import trilinear
from selfocc_training.losses.lovasz import lovasz_softmax
from selfocc_training.metrics.depth import ERRORS, DepthErrors, depth_errors, sample_depths, score_depths
from selfocc_training.metrics.occ3d import (
    FREE_CLASS,
    OCC3D,
    PROTOCOLS,
    SELFOCC_SCRIPT,
    SPARSEOCC,
    Occ3dProtocol,
    Occ3dScore,
    score_occ3d,
)
from selfocc_training.metrics.published_classes import OCC3D_OF_OPENSEED, SEMANTICKITTI_OF_CITYSCAPES
from selfocc_training.metrics.rayiou import (
    THRESHOLDS_M,
    RayCaster,
    RayScore,
    count_rays,
    ray_directions,
    score_rays,
)
from selfocc_training.metrics.semantickitti import SemanticKittiScore, score_semantickitti
from selfocc_training.metrics.town import Counts, count, score_depth
from selfocc_training.metrics.trim import SELFOCC_SEMANTICKITTI_TRIM

Arrays = Mapping[str, np.ndarray]
SCENES = "01"
MASKED = pytest.mark.parametrize(("name", "masked"), [("camera_mask", True), ("no_mask", False)])
EXACT = 1e-12  # quotients of the same counts, in double precision
SINGLE = 1e-6  # figures recorded in single precision, relative


@pytest.fixture(scope="module")
def arrays(golden_folder: Path) -> Callable[[str], Arrays]:
    return lambda name: dict(np.load(golden_folder / f"{name}.npz"))


@pytest.fixture(scope="module")
def expected(golden_folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((golden_folder / "metrics_expected.json").read_text())
    return read


@pytest.fixture(scope="module")
def scenes(arrays: Callable[[str], Arrays]) -> Arrays:
    return arrays("metrics_occ3d")


def scored(scenes: Arrays, protocol: Occ3dProtocol) -> Occ3dScore:
    total = Occ3dScore.zeros(protocol)
    for s in SCENES:
        total += score_occ3d(scenes[f"pred{s}"], scenes[f"gt{s}"], scenes[f"mask_camera{s}"], protocol)
    return total


def or_nan(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values])


# --- Occ3D-nuScenes ---------------------------------------------------------------------------------------------------


def test_golden_occ3d_confusion(scenes: Arrays) -> None:
    score = scored(scenes, OCC3D)
    np.testing.assert_array_equal(score.seen.classes.counts, scenes["hist_mask"])
    np.testing.assert_array_equal(score.everywhere.classes.counts, scenes["hist_nomask"])


@MASKED
@pytest.mark.parametrize(
    ("protocol", "key"), [(OCC3D, "occ3d_devkit_copy_in_FlashOCC"), (SPARSEOCC, "sparseocc_old_metrics")]
)
def test_golden_occ3d_miou(
    scenes: Arrays, expected: dict[str, Any], protocol: Occ3dProtocol, key: str, name: str, masked: bool
) -> None:
    score = scored(scenes, protocol)
    recorded = expected[f"miou.{key}.{name}"]
    per_class = or_nan(recorded["per_class_0to17"])
    np.testing.assert_allclose(score.class_iou(masked), per_class, rtol=0, atol=EXACT)
    assert score.miou(masked) * 100 == pytest.approx(recorded["nanmean_percent_17c"], abs=100 * EXACT)


@MASKED
def test_golden_occ3d_iou(scenes: Arrays, expected: dict[str, Any], name: str, masked: bool) -> None:
    recorded = expected[f"geometric_iou.{name}.occupied_is_lt17"]
    assert scored(scenes, OCC3D).iou(masked) == pytest.approx(recorded, abs=EXACT)
    town = Counts()
    for s in SCENES:
        mask = scenes[f"mask_camera{s}"]
        where = mask if masked else np.ones_like(mask)
        town += count(scenes[f"pred{s}"] < FREE_CLASS, scenes[f"gt{s}"] < FREE_CLASS, where)
    assert town.iou == pytest.approx(recorded, abs=EXACT)


# --- SelfOcc's own way on Occ3D ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def selfocc(arrays: Callable[[str], Arrays]) -> Arrays:
    return arrays("metrics_selfocc_occ3d")


def test_golden_selfocc_field_to_voxels(selfocc: Arrays) -> None:
    """End-point sampling, threshold, upper layers and rim, and classes of a recorded field."""
    lower, upper = torch.tensor(GRID.lower), torch.tensor(GRID.upper)
    points = torch.from_numpy(SELFOCC_SCRIPT.query_points(GRID))
    sdf = torch.from_numpy(selfocc["sdf_yxz"]).permute(1, 0, 2)
    sampled = (trilinear(sdf[None], points, lower, upper)[..., 0] <= 0).numpy()
    assert np.count_nonzero(sampled != selfocc["sampled_occ_before_postproc_xyz"]) <= 1
    kept = SELFOCC_SCRIPT.trim.kept(GRID.shape)
    np.testing.assert_array_equal(selfocc["sampled_occ_before_postproc_xyz"] & kept, selfocc["pred_occ_xyz"])
    logits = torch.from_numpy(selfocc["logits_yxzc"]).permute(3, 1, 0, 2)
    classes = OCC3D_OF_OPENSEED[trilinear(logits, points, lower, upper).argmax(dim=-1).numpy()]
    occupied = selfocc["pred_occ_xyz"]
    np.testing.assert_array_equal(classes, selfocc["pred_sem_before_mask_xyz"])
    np.testing.assert_array_equal(classes * occupied, selfocc["pred_sem_xyz"])


@MASKED
def test_golden_selfocc_scores(
    selfocc: Arrays, scenes: Arrays, expected: dict[str, Any], name: str, masked: bool
) -> None:
    """The recorded prediction, as the network gives it, against both scenes."""
    occupied = selfocc["sampled_occ_before_postproc_xyz"]
    classes = selfocc["pred_sem_before_mask_xyz"]
    score = alone = Occ3dScore.zeros(SELFOCC_SCRIPT)
    for s in SCENES:
        truth = scenes[f"gt{s}"], scenes[f"mask_camera{s}"], SELFOCC_SCRIPT
        score += score_occ3d(classes, *truth, occupied)
        alone += score_occ3d(np.where(occupied, classes, FREE_CLASS), *truth)
    counts = score.seen if masked else score.everywhere

    recorded = expected["selfocc.occ3d"][f"iou_{name}"]
    binary = counts.occupied
    assert [binary.true[1]] * 2 == recorded["seen"]
    assert [binary.hits[1]] * 2 == recorded["correct"]
    assert [binary.predicted[1]] * 2 == recorded["positive"]
    assert score.iou(masked) * 100 == pytest.approx(recorded["returned_mean_iou_percent"], rel=SINGLE)
    assert score.iou(masked) * 100 == pytest.approx(recorded["returned_binary_iou_percent"], rel=SINGLE)

    recorded = expected["selfocc.occ3d"][f"miou_{name}"]
    confused = counts.classes.counts
    named = confused[1:FREE_CLASS, 1:FREE_CLASS]
    assert [*counts.classes.true[1:FREE_CLASS], confused[1:FREE_CLASS].sum()] == recorded["seen"]
    assert [*counts.classes.hits[1:FREE_CLASS], named.sum()] == recorded["correct"]
    assert [*counts.classes.predicted[1:FREE_CLASS], confused[:, 1:FREE_CLASS].sum()] == recorded["positive"]
    assert score.miou(masked) * 100 == pytest.approx(recorded["returned_mean_iou_percent"], rel=SINGLE)
    # The binary IoU beside mIoU knows of classes alone: where they say sky, nothing is occupied.
    assert alone.iou(masked) * 100 == pytest.approx(recorded["returned_binary_iou_percent"], rel=SINGLE)


def test_golden_class_tables(expected: dict[str, Any]) -> None:
    assert OCC3D_OF_OPENSEED.tolist() == expected["selfocc.openseed_index_to_occ3d_class"]
    assert SEMANTICKITTI_OF_CITYSCAPES.tolist() == expected["selfocc.cityscapes19_to_semantickitti_class"]


# --- RayIoU -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rays(arrays: Callable[[str], Arrays]) -> Arrays:
    return arrays("metrics_rayiou")


def test_golden_ray_directions(rays: Arrays) -> None:
    np.testing.assert_allclose(ray_directions(), rays["rays_dir"], rtol=0, atol=2e-7)


@pytest.mark.parametrize("scene", SCENES)
def test_golden_rays_hit(rays: Arrays, scenes: Arrays, scene: str) -> None:
    caster = RayCaster(rays[f"origins{scene}"], rays["rays_dir"])
    for kind in ("pred", "gt"):
        labels, depths = caster.cast(scenes[f"{kind}{scene}"])
        np.testing.assert_array_equal(labels.numpy(), rays[f"{kind}{scene}_label"])
        np.testing.assert_allclose(depths.numpy(), rays[f"{kind}{scene}_dist_m"], rtol=0, atol=1e-3)


def test_golden_rayiou(rays: Arrays, scenes: Arrays, expected: dict[str, Any]) -> None:
    """With our own directions and rays, and of the recorded hits."""
    cast, recorded = RayScore(), RayScore()
    for s in SCENES:
        cast += score_rays(scenes[f"pred{s}"], scenes[f"gt{s}"], RayCaster(rays[f"origins{s}"]))
        names = (f"pred{s}_label", f"pred{s}_dist_m", f"gt{s}_label", f"gt{s}_dist_m")
        recorded += count_rays(*(torch.from_numpy(rays[name]) for name in names))
    figures = expected["rayiou.sparseocc"]
    for score in (cast, recorded):
        np.testing.assert_allclose(score.class_iou(), rays["iou_per_threshold_1_2_4_class0to16"], rtol=0, atol=1e-6)
        assert score.mean() == pytest.approx(figures["RayIoU"], abs=1e-6)
        for threshold in THRESHOLDS_M:
            assert score.at(threshold) == pytest.approx(figures[f"RayIoU@{threshold:g}"], abs=1e-6)


# --- SemanticKITTI ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kitti(arrays: Callable[[str], Arrays]) -> Arrays:
    return arrays("metrics_semantickitti")


def test_golden_semantickitti_trim(kitti: Arrays) -> None:
    for s in SCENES:
        occupied = kitti[f"sdf{s}"] <= 0
        kept = SELFOCC_SEMANTICKITTI_TRIM.kept(occupied.shape)
        np.testing.assert_array_equal(occupied & kept, kitti[f"pred_occ{s}"])


def test_golden_semantickitti(kitti: Arrays, expected: dict[str, Any]) -> None:
    recorded = expected["selfocc.semantickitti"]
    plain, semantic = SemanticKittiScore(), SemanticKittiScore()
    for s in SCENES:
        occupied, true = kitti[f"sdf{s}"] <= 0, np.flip(kitti[f"gt_as_stored{s}"], axis=1)
        classes = SEMANTICKITTI_OF_CITYSCAPES[kitti[f"sem19_{s}"]]
        plain += score_semantickitti(occupied, true, trim=SELFOCC_SEMANTICKITTI_TRIM)
        semantic += score_semantickitti(occupied, true, classes, SELFOCC_SEMANTICKITTI_TRIM)

    figures = plain.figures()
    for name in ("iou", "precision", "recall"):
        assert figures[name] == pytest.approx(recorded["scenerf"][name][0], rel=SINGLE)
    # Of two classes SceneRF compares the second, occupied, with the true class 1 alone.
    ssc = plain.classes.iou()[:2]
    np.testing.assert_allclose(ssc, recorded["scenerf"]["iou_ssc"], rtol=SINGLE)
    assert ssc[1] == pytest.approx(recorded["scenerf"]["iou_ssc_mean"], rel=SINGLE)
    own = recorded["own_IoU_percent_255_not_ignored_in_prediction"]
    assert plain.strict.iou()[1] * 100 == pytest.approx(own, rel=SINGLE)

    assert semantic.miou(absent="one") * 100 == pytest.approx(recorded["sem_mean_iou_percent"], rel=SINGLE)
    confused = semantic.classes.counts
    assert [*semantic.classes.true[1:], confused[1:].sum()] == recorded["seen"]
    assert [*semantic.classes.hits[1:], confused[1:, 1:].sum()] == recorded["correct"]
    assert [*semantic.classes.predicted[1:], confused[:, 1:].sum()] == recorded["positive"]
    seen, correct, positive = (recorded[name][-1] for name in ("seen", "correct", "positive"))
    assert correct / (seen + positive - correct) * 100 == pytest.approx(recorded["sem_binary_iou_percent"], rel=SINGLE)


# --- depth ------------------------------------------------------------------------------------------------------------


def test_golden_depth_by_camera(arrays: Callable[[str], Arrays]) -> None:
    recorded = arrays("metrics_depth")
    total = DepthErrors.zeros(2)
    for s in SCENES:
        sampled = sample_depths(recorded[f"depth_pred{s}"], recorded[f"loc01_{s}"])
        total += score_depths(sampled, recorded[f"gt{s}"], recorded[f"mask{s}"])
    for row, means in enumerate((total.raw, total.median)):
        assert (means.images == recorded["count"]).all()
        for column, name in enumerate((*ERRORS, "scaling")):
            np.testing.assert_allclose(means.totals[:, column], recorded[f"sum_{name}"][row], rtol=SINGLE, err_msg=name)
        printed = means.over_views()
        for name in ERRORS:
            assert printed[name] == pytest.approx((recorded[f"sum_{name}"][row] / recorded["count"]).mean(), rel=SINGLE)


def test_golden_depth_errors(arrays: Callable[[str], Arrays]) -> None:
    recorded = arrays("metrics_depth")
    true, predicted = recorded["vec_gt"], recorded["vec_pred"]
    errors = recorded["vec_errors_absrel_sqrel_rmse_rmselog_a1_a2_a3"]
    np.testing.assert_allclose(depth_errors(predicted, true), errors, rtol=SINGLE)
    town = score_depth(predicted[None], true[None], np.full((1, len(true)), 15, np.uint8), max_depth=80.0)
    assert town.all.mean == pytest.approx(errors[0], rel=SINGLE)
    assert town.above == town.all


# --- Lovász-softmax ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["a_present_noignore", "b_present_ignore0", "c_all_ignore255", "d_2d_present_ignore255"]
)
def test_golden_lovasz(arrays: Callable[[str], Arrays], close: Callable[..., None], name: str) -> None:
    recorded = {key.rpartition(".")[2]: v for key, v in arrays("lovasz").items() if key.startswith(f"{name}.")}
    ignore = name.rpartition("ignore")[2]
    logits = torch.from_numpy(recorded["logits"]).requires_grad_()
    loss = lovasz_softmax(
        logits.softmax(dim=1),
        torch.from_numpy(recorded["labels"]),
        classes="all" if "_all_" in name else "present",
        ignore=int(ignore) if ignore else None,
    )
    close(loss.detach(), torch.tensor(recorded["loss"]), atol=1e-6, rtol=0.0, what=f"{name}.loss")
    (gradient,) = torch.autograd.grad(loss, logits)
    close(gradient, torch.from_numpy(recorded["dlogits"]), atol=1e-6, rtol=0.0, what=f"{name}.dlogits")


def test_golden_every_protocol_scores(scenes: Arrays) -> None:
    """On one and the same prediction they differ, which is why each has a name."""
    assert len({round(scored(scenes, protocol).miou(), 6) for protocol in PROTOCOLS.values()}) == len(PROTOCOLS)
