# SPDX-License-Identifier: Apache-2.0
"""`selfocc train`: train a network on town drives, from images and poses alone."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

HELP = """Train a network without labels: images and poses of drives through synthetic towns are the only supervision.
Renders the drives (kept under OUT/clips; a second run reuses them), trains, chooses the occupancy thresholds on
training drives, and writes OUT/<model>.safetensors. Interrupted, the same command goes on from the last saved step."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `selfocc train`."""
    parser.add_argument("config", help="name of a file in config/train (tiny_town) or path of a YAML file")
    parser.add_argument("--out", type=Path, default=Path("out/train"), help="folder of the run (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="train for this many steps instead of the configured number")
    parser.add_argument("--workers", type=int, default=2, help="processes that render drives (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="seed of weights and steps instead of the configured one")
    parser.add_argument("--json", help="write what was done and reached to this file ('-': standard output)")


def run(args: argparse.Namespace) -> int:
    """Train; returns 0."""
    from selfocc_ros import __version__
    from selfocc_ros.cli.output import write_json
    from selfocc_ros.configuration import to_mapping
    from selfocc_ros.model.checkpoint import save_checkpoint
    from selfocc_training.config import load_train_config
    from selfocc_training.decision import decide_on_towns
    from selfocc_training.town_clips import load_clip, make_clips
    from selfocc_training.trainer import Trainer, check_clip_size

    config = load_train_config(args.config, steps=args.steps, seed=args.seed)
    check_clip_size(config)
    data = config.data
    seeds = range(data.first_seed, data.first_seed + data.seeds)
    began = time.monotonic()
    paths = make_clips(
        args.out / "clips",
        seeds,
        data.clips_per_seed,
        data.clip,
        args.workers,
        lambda done, total: _status(f"rendering drives {done}/{total}"),
    )
    trainer = Trainer(config, [load_clip(path) for path in paths], args.out)

    def progress(step: int, terms: dict[str, float], left_s: float) -> None:
        if step % 10 == 0:
            text = "  ".join(f"{name} {value:.4f}" for name, value in terms.items())
            _status(f"step {step}/{config.steps}  {text}  {left_s / 60:.1f} min left")

    model = trainer.run(config.steps, progress)
    _status("choosing the occupancy thresholds on training drives")
    decision, reached = decide_on_towns(model, seeds)
    decided = dataclasses.replace(model.config, decision=decision)
    provenance = {
        "command": f"selfocc train {args.config}",
        "version": __version__,
        "data": f"town drives, seeds {seeds.start} to {seeds.stop - 1}",
        "steps": trainer.step,
        "config": to_mapping(config),
    }
    path = args.out / f"{config.model}.safetensors"
    scores = {f"training_drives_{name}": round(value, 4) for name, value in reached.items()}
    save_checkpoint(path, model, provenance, scores, decided, half=True)
    print(f"\n{path}: {model.parameter_count} parameters, {path.stat().st_size / 1e6:.2f} MB")
    print(json.dumps(scores))
    if args.json:
        record = {"checkpoint": str(path), "steps": trainer.step, "seconds": time.monotonic() - began, **scores}
        write_json(args.json, record)
    return 0


def _status(text: str) -> None:
    """One line that overwrites itself on a terminal."""
    end = "\r" if sys.stderr.isatty() else "\n"
    print(text.ljust(100), end=end, file=sys.stderr, flush=True)
