# SPDX-License-Identifier: Apache-2.0
"""Our recipe against SelfOcc's published losses: the same network, drives and steps, changed one thing at a time.

    python tools/ablation.py --steps 1500 --seeds 0 1 --out out/ablation
    python tools/ablation.py --variants selfocc ours --table          # what is there already, without training

Each variant adds one change to the one before it, from `selfocc_town` to `tiny_town`. Schedules of both (when
baselines have widened, when the background comes in) are shortened to `--steps`. Every run trains from random weights,
chooses its thresholds on training drives and is scored on unseen towns. All of it goes on where it was when it is
started again, so that several of these may run side by side with different `--variants` or `--seeds`.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from selfocc_ros.configuration import to_mapping
from selfocc_training.config import load_train_config

SCORES = ("iou", "iou_above_ground", "abs_rel", "abs_rel_above_ground")
BASE, GOAL = "selfocc_town", "tiny_town"
CHANGES: dict[str, tuple[str, ...]] = {
    "selfocc": (),
    "baselines": ("loss.reprojection_kind", "data.wide_pair", "data.widest_gap", "data.widen_steps"),
    "background": ("loss.background_from", "loss.opacity", "loss.rgb_behind"),
    "distances": ("loss.distances",),
    "ours": ("loss.rgb", "loss.eikonal_at", "loss.hessian", "loss.hessian_stencil"),
}
"""Keys that each variant takes over from `tiny_town`, beside those of the variants before it."""


def variant(name: str, steps: int) -> dict[str, Any]:
    """The training configuration of a variant as a mapping, schedules shortened to ``steps``."""
    goal = load_train_config(GOAL)
    to = to_mapping(goal)
    config = copy.deepcopy(to_mapping(load_train_config(BASE)))
    for done, keys in CHANGES.items():
        for key in keys:
            section, word = key.split(".")
            config[section][word] = to[section][word]
        if done == name:
            break
    config["steps"] = steps
    share = steps / goal.steps
    config["data"]["widen_steps"] = round(config["data"]["widen_steps"] * share)
    if config["loss"]["background_from"] is not None:
        config["loss"]["background_from"] = steps // 3  # before there is matter, transparency is an easy way out
    return config


def run_one(name: str, seed: int, args: argparse.Namespace) -> None:
    """Train and score one variant with one seed; what is there already is kept."""
    folder: Path = args.out / f"{name}_{args.steps}_{seed}"
    scores = folder / "town.json"
    if scores.is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    clips = args.out / "clips"
    clips.mkdir(exist_ok=True)
    if not (folder / "clips").exists():
        (folder / "clips").symlink_to(clips.resolve())
    config = folder / f"{name}.yaml"
    config.write_text(yaml.safe_dump(variant(name, args.steps), sort_keys=False))
    selfocc = [sys.executable, "-m", "selfocc_ros.cli"]
    subprocess.run([*selfocc, "train", str(config), "--seed", str(seed), "--out", str(folder)], check=True)
    checkpoint = str(folder / "tiny.safetensors")
    subprocess.run([*selfocc, "evaluate", checkpoint, "--seeds", args.towns, "--json", str(scores)], check=True)


def table(args: argparse.Namespace) -> str:
    """Means over seeds of what has been scored, and each seed's."""
    lines = [
        "| variant | seeds | " + " | ".join(SCORES) + " |",
        "| --- | --- |" + " --- |" * len(SCORES),
    ]
    for name in args.variants:
        files = [args.out / f"{name}_{args.steps}_{seed}" / "town.json" for seed in args.seeds]
        runs = [json.loads(file.read_text()) for file in files if file.is_file()]
        if runs:
            cells = []
            for score in SCORES:
                values = [run[score] for run in runs]
                cells.append(f"{statistics.fmean(values):.3f} ({', '.join(f'{value:.3f}' for value in values)})")
            lines.append(f"| {name} | {len(runs)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", choices=list(CHANGES), default=list(CHANGES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1], help="of weights and steps")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--towns", default="9000-9009", help="seeds of the towns that are scored")
    parser.add_argument("--out", type=Path, default=Path("out/ablation"))
    parser.add_argument("--table", action="store_true", help="train nothing, print what is there")
    args = parser.parse_args()
    if not args.table:
        for seed in args.seeds:
            for name in args.variants:
                run_one(name, seed, args)
    print(table(args))


if __name__ == "__main__":
    main()
