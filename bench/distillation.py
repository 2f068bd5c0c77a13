# SPDX-License-Identifier: Apache-2.0
"""How good distilled labels are: against the truth of town drives, beside what the network says of single frames.

    python bench/distillation.py --seeds 9000-9003 --json out/distillation.json
    python bench/distillation.py --seeds 100-103 --vary decay_m clamp_m    # one parameter at a time
    python bench/distillation.py --seeds 9000,9001 --moving                # traffic that moves, and what becomes of it

Clips are as long as those of `tiny_town_distil`, every second frame of them, with true voxels that no label is made of.
Five frames of each are scored: `single` is the network on one frame, `fused` the fused field with every voxel decided,
`labels` what is known of it; IoU over what the cameras see, and above ground. `--moving` tells of voxels that something
moving occupies, and that the network sees on its own frame, how many would be taught as free.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from selfocc_ros.cli.output import write_json
from selfocc_ros.cli.progress import Progress
from selfocc_ros.geometry.voxels import OCC3D
from selfocc_ros.model.checkpoint import load_checkpoint
from selfocc_ros.model.selfocc import decide
from selfocc_ros.town.objects import Label
from selfocc_ros.town.town import Town
from selfocc_training.config import load_train_config
from selfocc_training.distil.clip_files import clip_moments
from selfocc_training.distil.config import FusionConfig
from selfocc_training.distil.drive import spaced
from selfocc_training.distil.fusion import Viewpoint, fuse
from selfocc_training.distil.labels import FREE, UNKNOWN
from selfocc_training.distil.teacher import Teacher
from selfocc_training.metrics.town import Counts, count
from selfocc_training.start import start_path
from selfocc_training.town_clips import DRIVE_S, Clip, load_clip, make_clips

FRAMES, SPACING_M = 40, 1.2
SCORED = (6, 13, 20, 26, 33)
"""Frames of a clip that are scored."""
VARIATIONS: dict[str, tuple[float, ...]] = {
    "reach_m": (6.0, 12.0, 20.0),
    "spacing_m": (1.2, 2.4, 4.8),
    "decay_m": (2.0, 2.8, 8.0),
    "clamp_m": (1.05, 2.0),
    "disagreement_m": (0.2, 0.3, 0.5, 9.0),
    "trust_m": (0.0, 10.0, 20.0),
}
WIDEST_CLAMP_M = 2.0


def variants(names: Sequence[str]) -> dict[str, FusionConfig]:
    """The defaults, and beside them the variations of each of the named parameters alone."""
    found = {"default": FusionConfig()}
    for name in names:
        changed = {value: dataclasses.replace(FusionConfig(), **{name: value}) for value in VARIATIONS[name]}
        found |= {f"{name} {value:g}": config for value, config in changed.items()}
    return found


def reclamped(viewpoint: Viewpoint, clamp_m: float) -> Viewpoint:
    """The viewpoint as it would be with a narrower clamp."""
    share = viewpoint.field[1].float()
    clamped = viewpoint.distances.clamp(-clamp_m, clamp_m)
    return dataclasses.replace(viewpoint, field=torch.stack([clamped * share, share]).half())


def standing(seed: int, clip: Clip, frame: int) -> NDArray[np.bool_]:
    """(X, Y, Z) voxels that something still occupies."""
    town = Town(seed, seconds=DRIVE_S)
    everything = town.solids(0.0)
    still = everything.take(~everything.moving)
    with mock.patch.object(town, "solids", return_value=still):
        return np.asarray(town.occupancy(OCC3D, clip.odom_from_base[frame], 0.0) != Label.FREE)


class Scores:
    """Counts of one variant, summed over frames."""

    def __init__(self) -> None:
        self.counts: dict[str, Counts] = {}
        self.known = np.zeros(2, np.int64)
        self.solid = np.zeros(2, np.int64)
        self.movers = np.zeros(2, np.int64)

    def add(self, name: str, occupied: NDArray[np.bool_], true: NDArray[np.bool_], where: NDArray[np.bool_]) -> None:
        """Count the voxels ``where``."""
        self.counts[name] = self.counts.get(name, Counts()) + count(occupied, true, where)

    def figures(self) -> dict[str, float]:
        """The figures by name."""
        found = {name: counts.iou for name, counts in self.counts.items()}
        found["known"] = self.known[0] / self.known[1]
        found["known_of_true_above"] = self.solid[0] / max(1, self.solid[1])
        if self.movers[1]:
            found["seen_movers_taught_free"] = self.movers[0] / self.movers[1]
        return {name: round(float(value), 4) for name, value in found.items()}


def score_clip(
    teacher: Teacher, seed: int, clip: Clip, configs: dict[str, FusionConfig], scores: dict[str, Scores], moving: bool
) -> None:
    """Add the scored frames of a clip, which has its true voxels."""
    if clip.voxels is None:
        raise ValueError("the clip has no truth")
    decision, grid, town = teacher.config.decision, teacher.config.grid, Town(seed, seconds=DRIVE_S)
    moments = clip_moments(clip)
    wide = [teacher.look(m.see(), m.odom_from_base, m.travelled_m, WIDEST_CLAMP_M) for m in moments]
    travelled = [moment.travelled_m for moment in moments]
    for frame in SCORED:
        true, seen = clip.voxels[frame] != Label.FREE, clip.voxels[frame] != UNKNOWN
        above = town.above_ground(grid, clip.odom_from_base[frame])
        single = (decide(wide[frame].distances, decision) < 0).numpy()
        movers = true & seen & single & ~standing(seed, clip, frame) if moving else np.zeros_like(seen)
        for name, config in configs.items():
            chosen = {*spaced(travelled, config.spacing_m), frame}
            within = [i for i in sorted(chosen) if abs(travelled[i] - travelled[frame]) <= config.reach_m]
            viewpoints = {i: reclamped(wide[i], config.clamp_m) for i in within}
            fused = fuse(clip.odom_from_base[frame], list(viewpoints.values()), grid, config)
            labels = teacher.labels(viewpoints[frame], fused, config)
            occupied, known = (decide(fused.distances, decision) < 0).numpy(), labels != UNKNOWN
            into = scores[name]
            for scope, where in (("", seen), ("_above_ground", seen & above)):
                into.add(f"single{scope}", single, true, where)
                into.add(f"fused{scope}", occupied, true, where)
                into.add(f"labels{scope}", occupied, true, where & known)
            into.known += (np.count_nonzero(seen & known), np.count_nonzero(seen))
            solid = seen & above & true
            into.solid += (np.count_nonzero(solid & known), np.count_nonzero(solid))
            into.movers += (np.count_nonzero(movers & (labels == FREE)), np.count_nonzero(movers))


def seed_list(text: str) -> list[int]:
    """Seeds of `9000-9003` or `9000,9001`."""
    parts = [part.partition("-") for part in text.split(",")]
    return [seed for low, _, high in parts for seed in range(int(low), int(high or low) + 1)]


def main(argv: list[str] | None = None) -> int:
    """Score and print; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="default", help="the teacher (default: the shipped one)")
    parser.add_argument("--seeds", type=seed_list, default=[9000, 9001, 9002, 9003], help="towns (default: 9000-9003)")
    parser.add_argument("--vary", nargs="+", default=[], choices=VARIATIONS, help="parameters to vary, one at a time")
    parser.add_argument("--moving", action="store_true", help="let the oncoming traffic move in every town")
    parser.add_argument("--out", type=Path, default=Path("out/distillation"), help="folder of clips")
    parser.add_argument("--workers", type=int, default=1, help="processes that render clips")
    parser.add_argument("--json", help="write the figures to this file ('-': standard output)")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    plan = load_train_config("tiny_town_distil").data.clip
    plan = dataclasses.replace(plan, frames=FRAMES, spacing_m=SPACING_M, voxels=True)
    if args.moving:
        plan = dataclasses.replace(plan, jam_share=0.0)
    teacher = Teacher(load_checkpoint(start_path(args.checkpoint))[0], "cpu")
    configs = variants(args.vary)
    scores, progress = {name: Scores() for name in configs}, Progress("scoring", "clips")
    for done, seed in enumerate(args.seeds, 1):
        (path,) = make_clips(args.out, range(seed, seed + 1), 1, plan, args.workers)
        score_clip(teacher, seed, load_clip(path), configs, scores, args.moving)
        progress(done, len(args.seeds))
    found = {name: one.figures() for name, one in scores.items()}
    for name, figures in found.items():
        print(f"{name:20s} " + "  ".join(f"{key} {value:.3f}" for key, value in figures.items()))
    if args.json:
        record: dict[str, Any] = {"seeds": args.seeds, "moving": args.moving, "figures": found}
        write_json(args.json, record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
