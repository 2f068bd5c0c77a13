# SPDX-License-Identifier: Apache-2.0
"""`report.html` of an evaluation: one file with its table, its samples from best to worst, and pictures of three."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.voxels import OccupancyVolume
from selfocc_ros.logs.whole import write_whole
from selfocc_ros.viz.depth import depth_strip
from selfocc_ros.viz.scenes import camera_images
from selfocc_ros.viz.sheet import scene_sheet
from selfocc_ros.viz.text import PAPER, write
from selfocc_training.dataset.parquet import DatasetError
from selfocc_training.distil.provenance import teacher_of
from selfocc_training.evaluation.grids import VoxelTruth
from selfocc_training.evaluation.run import Evaluation
from selfocc_training.evaluation.scorer import Scorer
from selfocc_training.town_evaluation import KINDS

_COLUMNS = ("network", "flat ground", "blind")
_STRIP_WIDTH = 480
"""Pixels of each picture in the strips of depth."""
_BINS = 20
_STYLE = (
    "body{font:14px/1.5 system-ui,sans-serif;max-width:1500px;margin:2em auto;padding:0 1em;color:#1a202c}"
    "table{border-collapse:collapse;margin:.6em 0}td,th{padding:.25em .8em;text-align:right;"
    "border-bottom:1px solid #e2e8f0}td:first-child,th:first-child{text-align:left}img{display:block;max-width:100%}"
    "svg{background:#f7fafc;border:1px solid #e2e8f0}li{margin:.15em 0}"
)

Image = NDArray[np.uint8]


def write_report(folder: Path, evaluation: Evaluation, checkpoint: str) -> Path:
    """Write `report.html`, with the samples that score best, in the middle and worst predicted once more.

    Returns:
        The file.

    Raises:
        DatasetError: it cannot be written.
    """
    path = folder / "report.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with closing(evaluation.scorer):
            write_whole(path, _page(evaluation, checkpoint))
    except OSError as error:
        raise DatasetError(f"{path} cannot be written ({error.strerror})") from error
    return path


def ranked(evaluation: Evaluation) -> list[int]:
    """Places of the samples that have the first figure, the best first."""
    row, sign = evaluation.scorer.rows[0], 1.0 if evaluation.scorer.errors else -1.0
    told = [place for place, figures in enumerate(evaluation.by_sample) if math.isfinite(figures[row])]
    return sorted(told, key=lambda place: sign * evaluation.by_sample[place][row])


def _page(evaluation: Evaluation, checkpoint: str) -> str:
    scorer, text = evaluation.scorer, html.escape
    count = len(evaluation.indices)
    samples = f"{count} sample{'s' if count != 1 else ''} of split '{evaluation.split}'"
    where = f"{checkpoint} on {scorer.dataset.root}: {samples}, {evaluation.took_s:.0f} s"
    order = ranked(evaluation)
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Evaluation</title>",
        f"<style>{_STYLE}</style></head><body><h1>{text(scorer.title)}</h1>",
        f"<p>{text(where)}</p>",
        _table(evaluation.figures, scorer.rows),
        "<ul>" + "".join(f"<li>{text(note)}</li>" for note in scorer.notes) + "</ul>",
        "<details><summary>More figures</summary>" + _table(evaluation.figures, _others(evaluation)) + "</details>",
        f"<h2>{text(scorer.rows[0])} of single samples</h2>",
        _histogram([evaluation.by_sample[place][scorer.rows[0]] for place in order]),
    ]
    chosen = {"best": order[:1], "median": order[len(order) // 2 :][:1], "worst": order[-1:]}
    parts += [_sample(evaluation, word, place) for word, places in chosen.items() for place in places]
    parts.append("<details><summary>All samples</summary>" + _samples(evaluation, order) + "</details>")
    return "\n".join([*parts, "</body></html>"]) + "\n"


def _others(evaluation: Evaluation) -> list[str]:
    names = [name for name in evaluation.figures if not name.endswith(KINDS[1:])]
    return [name for name in names if name not in evaluation.scorer.rows]


def _table(figures: Mapping[str, float], rows: Sequence[str]) -> str:
    head = "".join(f"<th>{title}</th>" for title in ("", *_COLUMNS))
    lines = []
    for row in rows:
        cells = "".join(f"<td>{_told(figures.get(row + kind))}</td>" for kind in KINDS)
        lines.append(f"<tr><td>{html.escape(row)}</td>{cells}</tr>")
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _told(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.3f}"


def _samples(evaluation: Evaluation, order: Sequence[int]) -> str:
    """A row for each sample, the best first."""
    scorer = evaluation.scorer
    head = "".join(f"<th>{html.escape(title)}</th>" for title in ("drive", "stamp", *scorer.rows))
    lines = []
    for place in order:
        cells = "".join(f"<td>{_told(evaluation.by_sample[place][row])}</td>" for row in scorer.rows)
        lines.append(f"<tr>{_where(scorer, evaluation.indices[place])}{cells}</tr>")
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _where(scorer: Scorer[Any], index: int) -> str:
    drive, stamp = str(scorer.dataset.drives[index]), int(scorer.dataset.stamps_ns[index])
    return f"<td>{html.escape(drive)}</td><td>{stamp}</td>"


def _histogram(values: Sequence[float]) -> str:
    """How often which value occurs, with a line at the median."""
    if not values:
        return "<p>No sample has a figure.</p>"
    low, high = min(values), max(values)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    counts, _ = np.histogram(values, bins=_BINS, range=(low, high))
    bars = "".join(
        f"<rect x='{10 + i * 20}' y='{110 - 100 * n / counts.max():.0f}' width='18' "
        f"height='{100 * n / counts.max():.0f}' fill='#2b6cb0'><title>{n}</title></rect>"
        for i, n in enumerate(counts.tolist())
    )
    middle = 10 + 20 * _BINS * (float(np.median(values)) - low) / (high - low)
    line = f"<line x1='{middle:.0f}' y1='5' x2='{middle:.0f}' y2='112' stroke='#c05621' stroke-width='2'/>"
    ends = f"<text x='10' y='128' font-size='12'>{low:.3f}</text>"
    ends += f"<text x='{10 + 20 * _BINS}' y='128' font-size='12' text-anchor='end'>{high:.3f}</text>"
    ends += f"<text x='{middle + 4:.0f}' y='16' font-size='12' fill='#c05621'>median {np.median(values):.3f}</text>"
    return f"<svg width='{20 + 20 * _BINS}' height='136' role='img' aria-label='distribution'>{bars}{line}{ends}</svg>"


def _sample(evaluation: Evaluation, word: str, place: int) -> str:
    """One sample with its figures and pictures."""
    scorer, index = evaluation.scorer, evaluation.indices[place]
    row = scorer.rows[0]
    title = f"{word}: {row} {_told(evaluation.by_sample[place][row])}"
    sheet, strips = draw_sample(scorer, index)
    where = f"{scorer.dataset.drives[index]} at {int(scorer.dataset.stamps_ns[index]) * 1e-9:.3f} s"
    return f"<h2>{html.escape(title)}</h2><p>{html.escape(where)}</p>{_embedded(sheet)}{_embedded(strips)}"


def draw_sample(scorer: Scorer[Any], index: int) -> tuple[Image, Image]:
    """Cameras with bird's eyes, predicted and true; and for each camera its picture, true and rendered depth."""
    dataset, predictor = scorer.dataset, scorer.predictor
    sample = dataset.rig_sample(index)
    prediction, drawable = predictor.predict(sample), scorer.pictures(scorer.truth(index))
    volumes: dict[str, OccupancyVolume] = {"predicted": prediction.volume}
    true_volume = drawable.volume or _labelled_volume(scorer, index)
    if true_volume is not None:
        if prediction.volume.classes is None:
            # Heights beside heights: colours of classes could not be compared with them.
            true_volume = replace(true_volume, classes=None, class_names=())
        volumes[f"{'distilled' if teacher_of(dataset.root) else 'true'}, where cameras see"] = true_volume
    images = camera_images(sample)
    sheet = scene_sheet(images, sample.rig, volumes, pixels_per_voxel=2, ground_z=predictor.ground_z)
    rig, strips = sample.rig, []
    for name, image, camera, pose in zip(rig.names, images, rig.cameras, rig.base_from_camera, strict=True):
        rendered = predictor.render_depth(prediction, camera, pose, scorer.settings.stride)
        true = drawable.depths.get(name, dataset.depth_map(index, name))
        known = {} if true is None else {"true depth": thickened(true, rendered.shape)}
        height = round(_STRIP_WIDTH * camera.height / camera.width)
        small = np.zeros((height, _STRIP_WIDTH, 3), np.uint8)
        if image is not None:
            small = np.asarray(cv2.resize(image, (_STRIP_WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)
        write(small, name, (8, 20), 0.5, PAPER, halo=(0, 0, 0))
        strips.append(depth_strip(small, {**known, "rendered depth": rendered}))
    width = max(strip.shape[1] for strip in strips)
    padded = [np.pad(strip, ((0, 6), (0, width - strip.shape[1]), (0, 0)), constant_values=255) for strip in strips]
    return sheet, np.vstack(padded)


def _labelled_volume(scorer: Scorer[Any], index: int) -> OccupancyVolume | None:
    """The dataset's own voxels of a sample, if it has any."""
    labels = scorer.dataset.voxels(index)
    return None if labels is None else VoxelTruth.of(labels, scorer.predictor.ground_z).volume


def thickened(depth: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """A sparse depth map (H, W) in fewer pixels (h, w) so that points remain: the nearest of each."""
    known = np.where(depth > 0, depth, np.float32(np.inf))
    rows = (np.arange(depth.shape[0]) * size[0]) // depth.shape[0]
    columns = (np.arange(depth.shape[1]) * size[1]) // depth.shape[1]
    small = np.full(size, np.inf, np.float32)
    np.minimum.at(small, (rows[:, None].repeat(depth.shape[1], 1), columns[None].repeat(depth.shape[0], 0)), known)
    return np.where(np.isfinite(small), small, 0.0).astype(np.float32)


def _embedded(image: Image) -> str:
    """A picture as a data URI."""
    bgr = np.ascontiguousarray(image[..., ::-1])
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
    source = base64.b64encode(data).decode()
    return f"<img width='{image.shape[1]}' height='{image.shape[0]}' alt='' src='data:image/jpeg;base64,{source}'>"
