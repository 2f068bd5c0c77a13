# SPDX-License-Identifier: Apache-2.0
"""What was found in the recordings of a dataset: `report.txt` and `report.html`."""

from __future__ import annotations

import base64
import html
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from selfocc_ros.logs.whole import write_whole
from selfocc_training.dataset.drive import DriveState
from selfocc_training.dataset.parquet import read_table

_THUMBNAIL_WIDTH = 200
_MOMENTS = (0.05, 0.35, 0.65, 0.95)
_MANY_DRIVES = 10
_MOVED_M = 1.0
_DARK, _BRIGHT, _SATURATED = 0.12, 0.85, 0.15
_COLOURS = {"train": "#2b6cb0", "val": "#c05621", "gap": "#a0aec0"}
_STYLE = (
    "body{font:14px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#1a202c}"
    "table{border-collapse:collapse;margin:.6em 0}td,th{padding:.25em .8em;text-align:right;"
    "border-bottom:1px solid #e2e8f0}td:first-child,th:first-child{text-align:left}img{display:block}"
    ".thumbs td{padding:2px;border:0}svg{background:#f7fafc;border:1px solid #e2e8f0}li{margin:.15em 0}"
)


def write_report(root: Path, description: Mapping[str, Any], states: Sequence[DriveState]) -> None:
    """Write both reports into the dataset's folder; pictures are taken from its image files."""
    for name, text in (
        ("report.txt", report_text(description, states)),
        ("report.html", _report_html(root, description, states)),
    ):
        write_whole(root / name, text)


def report_text(description: Mapping[str, Any], states: Sequence[DriveState]) -> str:
    """The report in plain words."""
    lines = [_headline(description), *(f"refused: {entry['reason']}" for entry in description["refused"])]
    for state, drive in zip(states, description["drives"], strict=True):
        lines += ["", f"drive {state.name}: {_drive_line(state, drive)}", f"  from {state.source.path}"]
        for name, camera in state.findings["cameras"].items():
            cells = dict(zip(_COLUMNS, _camera_cells(camera), strict=True))
            lines.append(f"  camera {name}: {camera['topic']}")
            lines.append("    " + ", ".join(f"{title} {value}" for title, value in cells.items()))
        lines += [f"  {sentence}" for sentence in remarks(state, drive, description)]
    return "\n".join(lines) + "\n"


def remarks(state: DriveState, drive: Mapping[str, Any], description: Mapping[str, Any]) -> list[str]:
    """Sentences about what a drive offers and lacks, the worst first within each topic."""
    found, split = state.findings, description["split"]
    said = []
    if found["damage"]:
        said.append(str(found["damage"]))
    for name, transform in found["transforms"].items():
        said.append(f"transform {name}: {transform['messages']} messages, {transform['rate_hz']:.1f} Hz")
        if transform["gap_count"]:
            places = [
                f"{gap['seconds']:.2f} s from {(gap['after_ns'] - found['begins_ns']) * 1e-9:.2f} s on"
                for gap in sorted(transform["gaps"], key=lambda gap: -float(gap["seconds"]))[:5]
            ]
            said.append(
                f"gaps in transform {name}: {transform['gap_count']} ({', '.join(places)}); poses are interpolated "
                "over up to 1 s, images in longer gaps are left out"
            )
    if found["jump_count"]:
        places = [f"{jump['metres']:.1f} m at {jump['at_s']:.2f} s" for jump in found["jumps"][:5]]
        said.append(
            f"odometry has {_count(found['jump_count'], 'jump')} ({', '.join(places)}): nothing is compared across"
        )
    if found["pause_count"]:
        places = [f"{pause['seconds']:.1f} s from {pause['at_s']:.2f} s on" for pause in found["pauses"][:5]]
        said.append(f"{_count(found['pause_count'], 'stretch', 'es')} without a sample ({', '.join(places)})")
    if found.get("jump_back_count"):
        places = [f"by {jump['seconds']:.1f} s at {jump['at_s']:.2f} s" for jump in found["jumps_back"][:5]]
        said.append(
            f"time jumps back {_count(found['jump_back_count'], 'time')} ({', '.join(places)}): nothing is compared "
            "across"
        )
    if found.get("repeated_sets"):
        said.append(
            f"{_count(found['repeated_sets'], 'set')} of images with stamps that were there before (time jumps back): "
            "left out"
        )
    if found["distance_m"] < _MOVED_M:
        said.append(f"the vehicle does not move ({found['distance_m']:.1f} m): nothing can be learnt from this drive")
    said += [str(note) for note in found["notes"]]
    for name, camera in found["cameras"].items():
        said += [f"camera {name}: {text}" for text in (*camera["problems"], *camera["notes"], *_light(camera))]
        masked = description["cameras"][name]["masked_share"]
        if masked is not None:
            said.append(f"camera {name}: its mask takes {masked:.1%} of the image for its own vehicle")
    said += [f"not used: {topic} ({why})" for topic, why in found["unused_images"].items()]
    if split["by"] == "segments" and split["val_share"] and not drive["splits"]["val"]:
        said.append(f"too short to be split with a gap of {split['gap_m']:g} m: all of it trains")
    return said + _labels(state)


def _labels(state: DriveState) -> list[str]:
    """What was taken of the labels beside a recording."""
    taken = state.labels
    if not taken:
        return []
    unused = f"; {taken['unused']} belong to no sample or image" if taken["unused"] else ""
    sentence = (
        f"labels of {taken['folder']}: voxels for {taken['voxels']} of {state.samples} samples (at most "
        f"{taken['worst_ms']:.0f} ms away), {_count(taken['class_maps'], 'class map')}, "
        f"{_count(taken['depth_maps'], 'depth map')}{unused}"
    )
    return [sentence]


_COLUMNS = (
    "images", "used", "Hz", "dropped", "longest gap", "offset to reference (5/50/95 %)", "size", "lens",
    "brightness", "saturated",
)  # fmt: skip


def _headline(description: Mapping[str, Any]) -> str:
    split = description["split"]
    return (
        f"{_count(description['samples'], 'sample')} of {_count(len(description['drives']), 'drive')}, "
        f"{_count(len(description['cameras']), 'camera')}: {split['train']} for training, {split['val']} for "
        f"validation, {split['gap']} between the two (by {split['by']}, share {split['val_share']:g}, gap "
        f"{split['gap_m']:g} m)"
    )


def _count(number: int, what: str, plural: str = "s") -> str:
    return f"{number} {what}{'' if number == 1 else plural}"


def _drive_line(state: DriveState, drive: Mapping[str, Any]) -> str:
    found, splits = state.findings, drive["splits"]
    return (
        f"{state.samples} samples of {found['sets']} sets in {found['duration_s']:.1f} s ({found['complete_sets']} "
        f"with all cameras, {found['spread_ms']:.0f} ms from first to last), {found['distance_m']:.1f} m, "
        f"at a standstill {found['standstill_share']:.0%} of the time; {splits['train']} train, {splits['val']} val"
    )


def _camera_cells(camera: Mapping[str, Any]) -> list[str]:
    offset = camera["offset_ms"]
    size = camera["size"]
    return [
        str(camera["images"]),
        str(camera["used"]),
        f"{camera['rate_hz']:.1f}",
        str(camera["dropped"]),
        f"{camera['longest_gap_s']:.2f} s",
        "-" if offset is None else "/".join(f"{value:+.1f}" for value in offset) + " ms",
        "-" if size is None else f"{size[0]}x{size[1]}",
        camera["lens"] or "-",
        "-" if camera["brightness"] is None else f"{camera['brightness']:.2f}",
        "-" if camera["saturated_share"] is None else f"{camera['saturated_share']:.1%}",
    ]


def _light(camera: Mapping[str, Any]) -> list[str]:
    """Remarks on the exposure."""
    brightness = camera["brightness"]
    if brightness is None:
        return []
    said = []
    if brightness < _DARK:
        said.append(f"its images are dark (mean brightness {brightness:.2f} of 1)")
    if brightness > _BRIGHT:
        said.append(f"its images are bright (mean brightness {brightness:.2f} of 1)")
    if camera["saturated_share"] > _SATURATED:
        said.append(f"{camera['saturated_share']:.0%} of its pixels are saturated")
    return said


def _report_html(root: Path, description: Mapping[str, Any], states: Sequence[DriveState]) -> str:
    """The report as one page without outside files."""
    text = html.escape
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Dataset report</title>",
        f"<style>{_STYLE}</style></head><body><h1>{text(root.resolve().name)}</h1><p>{text(_headline(description))}</p>",
    ]
    if description["refused"]:
        said = "".join(f"<li>{text(entry['reason'])}</li>" for entry in description["refused"])
        parts.append(f"<p>Refused:</p><ul>{said}</ul>")
    moments = _MOMENTS if len(states) <= _MANY_DRIVES else _MOMENTS[1:2]
    index = read_table(root / "index.parquet", ["drive", "split", "odom_from_base"])
    drives, splits = np.array(index["drive"].to_pylist()), np.array(index["split"].to_pylist())
    places = np.array(index["odom_from_base"].combine_chunks().flatten()).reshape(-1, 4, 4)[:, :2, 3]
    for state, drive in zip(states, description["drives"], strict=True):
        parts.append(
            f"<h2>{text(state.name)}</h2><p>{text(_drive_line(state, drive))}<br>{text(state.source.path)}</p>"
        )
        chosen = drives == state.name
        parts.append(_path_svg(places[chosen], splits[chosen]))
        cameras = state.findings["cameras"]
        head = "".join(f"<th>{text(title)}</th>" for title in ("camera", *_COLUMNS))
        body = "".join(
            "<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in (name, *_camera_cells(camera))) + "</tr>"
            for name, camera in cameras.items()
        )
        parts.append(f"<table><tr>{head}</tr>{body}</table>")
        said = "".join(f"<li>{text(sentence)}</li>" for sentence in remarks(state, drive, description))
        parts.append(f"<ul>{said}</ul>")
        parts.append(_thumbnails(root, state.name, list(cameras), moments))
    return "\n".join([*parts, "</body></html>"]) + "\n"


def _path_svg(places: NDArray[np.float64], splits: NDArray[np.str_]) -> str:
    """The way of a drive from above, x of the fixed frame to the right and y up, coloured by split."""
    if len(places) < 2:
        return ""
    step = max(1, len(places) // 1000)
    places, splits = places[::step], splits[::step]
    low, span = places.min(axis=0), max(float(np.ptp(places, axis=0).max()), 1.0)
    height = 60.0 + 300.0 * float(np.ptp(places[:, 1])) / span
    points = (places - low) / span * 300.0 + 15.0
    parts = [f"<svg width='330' height='{height:.0f}' role='img' aria-label='way of the drive'>"]
    for begin, end in _runs(splits):
        line = " ".join(f"{x:.1f},{height - y:.1f}" for x, y in points[begin : min(end + 1, len(points))])
        colour = _COLOURS[str(splits[begin])]
        parts.append(f"<polyline points='{line}' fill='none' stroke='{colour}' stroke-width='3'/>")
    keys = "".join(
        f"<tspan fill='{colour}'>{name} </tspan>" for name, colour in _COLOURS.items() if name in splits.tolist()
    )
    parts.append(f"<text x='10' y='16' font-size='12'>{keys}({span:.0f} m)</text></svg>")
    return "".join(parts)


def _runs(splits: NDArray[np.str_]) -> list[tuple[int, int]]:
    """(begin, end) of stretches of equal values."""
    edges = [0, *(np.flatnonzero(splits[1:] != splits[:-1]) + 1).tolist(), len(splits)]
    return list(itertools.pairwise(edges))


def _thumbnails(root: Path, drive: str, cameras: list[str], moments: Sequence[float]) -> str:
    rows = []
    for camera in cameras:
        files = sorted((root / "images" / drive / camera).glob("*.jpg"), key=lambda path: (len(path.name), path.name))
        cells = [_thumbnail(files[int(moment * len(files))]) for moment in moments] if files else []
        rows.append(f"<tr><td>{html.escape(camera)}</td>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f"<table class='thumbs'>{''.join(rows)}</table>"


def _thumbnail(path: Path) -> str:
    """An image as a small data URI, or nothing where it cannot be decoded."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        return ""
    size = _THUMBNAIL_WIDTH, max(1, round(image.shape[0] * _THUMBNAIL_WIDTH / image.shape[1]))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 75])[1].tobytes()
    source = base64.b64encode(data).decode()
    return f"<img width='{size[0]}' height='{size[1]}' alt='{path.stem}' src='data:image/jpeg;base64,{source}'>"
