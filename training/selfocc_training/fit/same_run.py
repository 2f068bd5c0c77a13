# SPDX-License-Identifier: Apache-2.0
"""What makes a run the run that it is, kept in its state, so that no other one goes on from there by mistake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfocc_ros.configuration import to_mapping
from selfocc_ros.model.families import AnyConfig
from selfocc_training.config import TrainConfig
from selfocc_training.dataset.clips import DatasetClips
from selfocc_training.fit.state import StateError
from selfocc_training.town_clips import Clip

FREE = ("model", "scenes_per_step", "steps_ahead", "save_every", "log_every", "picture_every", "data.dataset")
"""Keys of ``TrainConfig`` that may change while a run goes on. What ``model`` and ``data.dataset`` lead to is compared
instead of their paths; ``scenes_per_step`` may make up for another number of processes."""
TOLD = 3
"""Differences that are told with their values; of others there is the number."""


def run_identity(config: TrainConfig, network: AnyConfig, clips: Sequence[Clip], labels_by: str) -> dict[str, Any]:
    """Everything that two stretches of one run have in common, flat: ``data.clip.frames`` and so on.

    Args:
        config: the run; clips of town drives follow from it.
        network: what is trained.
        clips: of a dataset, the drives and the stamps that they cover count too.
        labels_by: whoever labelled the clips' voxels, in words, where it was not truth.
    """
    drives = _drives(clips) if isinstance(clips, DatasetClips) else ()
    told = {**to_mapping(config), "network": to_mapping(network), "drives": drives, "labels_by": labels_by}
    return {key: value for key, value in _flat(told, "") if key not in FREE}


def check_same_run(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse the state ``path`` of the run ``found`` for the run ``wanted``.

    Keys that only one of them has are of another version, and say nothing.

    Raises:
        StateError: they differ; the sentence says in what.
    """
    other = [key for key in wanted if key in found and found[key] != wanted[key]]
    if other:
        words = [f"{key} was {_short(found[key])} and is {_short(wanted[key])}" for key in other[:TOLD]]
        more = f" and {len(other) - TOLD} more differ" if len(other) > TOLD else ""
        raise StateError(
            f"{path} is of another run: {', '.join(words)}{more}; choose another --out, or delete the file to begin "
            "anew."
        )


def _drives(clips: DatasetClips) -> tuple[str, ...]:
    """Each drive with the stamps that its clips cover: names alone are often the same in two datasets."""
    stamps: dict[str, list[int]] = {}
    for cut in clips.indices:
        stamps.setdefault(str(clips.dataset.drives[cut[0]]), []).extend(int(clips.dataset.stamps_ns[i]) for i in cut)
    return tuple(f"{drive} {min(found)} to {max(found)} ns" for drive, found in stamps.items())


def _flat(values: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        found += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return found


def _short(value: Any, most: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."
