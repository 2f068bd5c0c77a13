# SPDX-License-Identifier: Apache-2.0
"""Recordings into one dataset: folder, layout, drives, splits, index, report.

Everything can be stopped at any time and started again with the same command: finished drives are not read again,
and the index is replaced only by a whole one. More recordings can be added to a dataset later.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from selfocc_ros.logs.records import BagError
from selfocc_ros.logs.whole import PART, write_whole
from selfocc_ros.sensing.layout import Layout, load_layout, read_layout
from selfocc_training.dataset.drive import DriveState, Source, prepare_drive
from selfocc_training.dataset.extras import masked_share, take_labels, take_masks, with_own_masks
from selfocc_training.dataset.parquet import DatasetError, RowWriter, pyarrow, read_rows, read_table
from selfocc_training.dataset.proposal import contradiction, layout_text, propose
from selfocc_training.dataset.report import write_report
from selfocc_training.dataset.splits import GAP, TRAIN, VAL, SplitPlan, split_drive, validation_drives
from selfocc_training.dataset.truth import find_truth

FORMAT, VERSION = "selfocc-dataset", 1

Tell = Callable[[str, int], None]
"""Called with a drive's name and its samples so far."""


def prepare(
    bags: Sequence[Path],
    root: Path,
    layout: str | None = None,
    plan: SplitPlan | None = None,
    tell: Tell | None = None,
    truth: Path | None = None,
    vehicle: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Add recordings to the dataset at `root`, which is made where it is not there yet.

    Args:
        bags: recordings; those that the dataset has already are passed over.
        layout: a preset or a YAML file; None is the dataset's own, or one that is proposed from the first recording.
        plan: how to split; it can differ from one call to the next.
        tell: told of progress.
        truth: folder of labels of the one recording; None is the one that lies beside each, if there is one.
        vehicle: parameters of the node that a proposal is to follow, as `propose` takes them.

    Returns:
        The content of `dataset.json`; its `refused` names the recordings that cannot be used.

    Raises:
        SelfOccError: bad input, no usable recording, a foreign folder, a full disk; in one sentence.
    """
    pyarrow()
    if truth is not None and len(bags) != 1:
        raise DatasetError(f"{truth} is the truth of one recording, but {len(bags)} were given: prepare it by itself")
    if vehicle and layout is not None:
        raise DatasetError("frames and cameras are told by a layout or by the node's parameters, not by both")
    try:
        return _prepare(bags, root, layout, plan or SplitPlan(), tell, truth, vehicle or {})
    except OSError as error:
        full = error.errno == errno.ENOSPC or "No space left" in str(error)
        reason = "the disk is full" if full else (error.strerror or str(error))
        rest = "; what is done is kept: make room and run the same command again" if full else ""
        raise DatasetError(f"{root} cannot be written: {reason}{rest}") from error


def load_description(root: Path) -> dict[str, Any]:
    """`dataset.json` of a dataset.

    Raises:
        DatasetError: there is none, or another program or version wrote it.
    """
    path = root / "dataset.json"
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DatasetError(f"{root} is no dataset: it has no dataset.json") from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read ({error})") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT or values.get("version") != VERSION:
        raise DatasetError(f"{path} does not describe a dataset of version {VERSION} as `selfocc prepare` makes it")
    return dict(values)


def drive_states(root: Path) -> list[DriveState]:
    """What is known of the drives of a dataset, by name."""
    return [DriveState.load(path) for path in sorted((root / "drives").glob("*.json"))]


def _prepare(
    bags: Sequence[Path],
    root: Path,
    layout: str | None,
    plan: SplitPlan,
    tell: Tell | None,
    truth: Path | None,
    vehicle: Mapping[str, Any],
) -> dict[str, Any]:
    refused: dict[Path, str] = {}
    sources: dict[Path, Source] = {}
    for bag in bags:
        with _noted(bag, refused):
            sources[bag] = Source.of(bag)
    _require_some(len(sources), refused)
    _claim(root)
    chosen = _settle_layout(root, list(sources), layout, vehicle)
    states = {state.source.fingerprint: state for state in drive_states(root)}
    usable = 0
    for bag, source in sources.items():
        state = states.get(source.fingerprint) or states.get(Source.former_fingerprint(bag))
        if state is None:
            state = DriveState(_name(bag, {s.name for s in states.values()}), source, chosen.fingerprint())
        key = state.source.fingerprint
        states[key] = state
        with _noted(bag, refused):
            if not state.finished:
                name = state.name
                progress = (lambda count, name=name: tell(name, count)) if tell is not None else None
                states[key] = state = prepare_drive(root, state, bag, chosen, progress)
            take_labels(root, state, bag, chosen, truth or find_truth(bag))
            usable += 1
    _require_some(usable, refused)
    finished = sorted((state for state in states.values() if state.finished), key=lambda state: state.name)
    take_masks(root, finished, chosen)
    splits = _write_index(root, finished, plan)
    description = _description(root, finished, chosen, plan, splits)
    description["refused"] = [{"path": str(bag), "reason": reason} for bag, reason in refused.items()]
    _write_json(root / "dataset.json", description)
    write_report(root, description, finished)
    return description


@contextmanager
def _noted(bag: Path, refused: dict[Path, str]) -> Iterator[None]:
    """Keep what is wrong with one recording for the end: the others are prepared all the same."""
    try:
        yield
    except BagError as error:
        refused[bag] = str(error)


def _require_some(usable: int, refused: Mapping[Path, str]) -> None:
    if not usable and refused:
        none = f"none of {len(refused)} recordings can be used: " if len(refused) > 1 else ""
        raise BagError(none + "; ".join(refused.values()))


def _claim(root: Path) -> None:
    """Make the folder ours, or see that it is."""
    if (root / "dataset.json").exists():
        load_description(root)
        return
    # A full disk at the very first file leaves nothing but that file's part.
    if root.exists() and (not root.is_dir() or {path.name for path in root.iterdir()} - {f"dataset.json{PART}"}):
        raise DatasetError(f"{root} exists and is no dataset: choose another folder for --out, or remove it first")
    root.mkdir(parents=True, exist_ok=True)
    _write_json(root / "dataset.json", {"format": FORMAT, "version": VERSION, "complete": False})


def _settle_layout(root: Path, bags: Sequence[Path], asked: str | None, vehicle: Mapping[str, Any]) -> Layout:
    """The layout asked for, the dataset's own, or a proposal; kept as `layout.yaml`.

    What was begun with another layout, and not finished, is begun again.
    """
    path = root / "layout.yaml"
    origin = None
    if asked is not None:
        layout, origin = load_layout(asked), f"given as {asked}"
    elif path.exists():
        layout = read_layout(path)
        other = contradiction(layout, vehicle) if vehicle else ""
        if other:
            raise DatasetError(f"{path} has {other}: choose another folder")
    else:
        layout, bag = _propose(bags, vehicle)
        origin = f"proposed from the topics of {bag.name}"
    for state in drive_states(root):
        if state.layout == layout.fingerprint():
            continue
        if state.finished:
            raise DatasetError(
                f"{root}: {state.name} was prepared with another layout than this: choose another folder"
            )
        shutil.rmtree(root / "images" / state.name, ignore_errors=True)
        (root / "drives" / f"{state.name}.json").unlink()
    if origin is not None:
        write_whole(path, layout_text(with_own_masks(layout), origin))
    return layout


def _propose(bags: Sequence[Path], vehicle: Mapping[str, Any]) -> tuple[Layout, Path]:
    """A layout, and the first of the recordings that has one."""
    refused: dict[Path, str] = {}
    for bag in bags:
        with _noted(bag, refused):
            return propose(bag, vehicle), bag
    _require_some(0, refused)
    raise BagError("there is no recording to propose a layout from")


def _name(bag: Path, taken: set[str]) -> str:
    """A drive's name from its file's: `selfocc town --out night` calls its recording night/bag."""
    path = bag.resolve()
    stem = path.parent.name if path.name == "bag" else path.stem if path.is_file() else path.name
    name, count = stem, 1
    while name in taken:
        count += 1
        name = f"{stem}-{count}"
    return name


def _write_index(root: Path, states: Sequence[DriveState], plan: SplitPlan) -> dict[str, Counter[str]]:
    """`index.parquet` of all finished drives; returns how many samples each drive has in each split."""
    validation = validation_drives({state.name: state.source.fingerprint for state in states}, plan)
    counts: dict[str, Counter[str]] = {}
    with RowWriter(root / "index.parquet", with_split=True) as index:
        for state in states:
            path = root / "drives" / f"{state.name}.parquet"
            if plan.by == "drives":
                splits = [VAL if state.name in validation else TRAIN] * state.samples
            else:
                distances = read_table(path, ["distance_m"])["distance_m"].to_numpy()
                splits = split_drive(np.asarray(distances, np.float64), plan)
            for row, split in zip(read_rows(path), splits, strict=True):
                index.write({**row, "split": split})
            counts[state.name] = Counter(splits)
    return counts


def _description(
    root: Path, states: Sequence[DriveState], layout: Layout, plan: SplitPlan, splits: dict[str, Counter[str]]
) -> dict[str, Any]:
    """The content of `dataset.json`."""
    cameras: dict[str, dict[str, Any]] = {}
    for state in states:
        for name, found in state.findings["cameras"].items():
            told = {"size": found["size"], "lens": found["lens"], "frame_id": found["frame_id"]}
            cameras.setdefault(name, told | {"masked_share": masked_share(root, name)})
    drives = [
        {
            "name": state.name,
            "source": vars(state.source),
            "samples": state.samples,
            "duration_s": state.findings["duration_s"],
            "distance_m": state.findings["distance_m"],
            "splits": {split: splits[state.name][split] for split in (TRAIN, VAL, GAP)},
        }
        for state in states
    ]
    return {
        "format": FORMAT,
        "version": VERSION,
        "complete": True,
        "base_frame": layout.base_frame,
        "fixed_frame": layout.fixed_frame,
        "ground_z": layout.ground_z,
        "layout": layout.fingerprint(),
        "cameras": cameras,
        "samples": sum(state.samples for state in states),
        "split": {**vars(plan), **{split: sum(c[split] for c in splits.values()) for split in (TRAIN, VAL, GAP)}},
        "drives": drives,
    }


def _write_json(path: Path, values: dict[str, Any]) -> None:
    write_whole(path, json.dumps(values, indent=1) + "\n")
