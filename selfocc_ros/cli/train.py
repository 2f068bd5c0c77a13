# SPDX-License-Identifier: Apache-2.0
"""`selfocc train`: train a network on town drives or recordings, from images and poses alone."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selfocc_training.config import DataConfig
    from selfocc_training.town_clips import Clip

HELP = """Train a network without labels: images and poses of drives are the only supervision. The drives are those of a
dataset that `selfocc prepare` made, or go through synthetic towns. Towns are rendered first (kept under OUT/clips; a
second run reuses them), and training drives choose the occupancy thresholds at the end; with a dataset these stay as
they were. Writes OUT/<model>.safetensors. Interrupted, the same command goes on from the last saved step."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `selfocc train`."""
    parser.add_argument("config", help="name of a file in config/train (tiny_town) or path of a YAML file")
    parser.add_argument(
        "--data", metavar="DATASET", help="train on this prepared dataset instead of the configured data"
    )
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
    from selfocc_training.start import describe_start
    from selfocc_training.trainer import Trainer, check_clip_size

    config = load_train_config(args.config, steps=args.steps, seed=args.seed, dataset=args.data)
    check_clip_size(config)
    began = time.monotonic()
    if config.data.dataset:
        clips, source = _recorded_clips(config.data)
    else:
        clips, source = _town_clips(config.data, args.out / "clips", args.workers)
    trainer = Trainer(config, clips, args.out)

    def progress(step: int, terms: dict[str, float], left_s: float) -> None:
        if step % 10 == 0:
            text = "  ".join(f"{name} {value:.4f}" for name, value in terms.items())
            _status(f"step {step}/{config.steps}  {text}  {left_s / 60:.1f} min left")

    model = trainer.run(config.steps, progress)
    decided, reached = model.config, dict[str, float]()
    if not config.data.dataset:  # recordings hold no truth to choose by
        _status("choosing the occupancy thresholds on training drives")
        decision, reached = decide_on_towns(model, _seeds(config.data))
        decided = dataclasses.replace(decided, decision=decision)
    provenance = {
        "command": f"selfocc train {args.config}" + (f" --data {args.data}" if args.data else ""),
        "version": __version__,
        "data": source,
        **({"start": describe_start(config.start)} if config.start else {}),
        "steps": trainer.step,
        "config": to_mapping(config),
    }
    path = args.out / f"{Path(config.model).stem}.safetensors"
    scores = {f"training_drives_{name}": round(value, 4) for name, value in reached.items()}
    save_checkpoint(path, model, provenance, scores, decided, half=True)
    print(f"\n{path}: {model.parameter_count} parameters, {path.stat().st_size / 1e6:.2f} MB")
    print(json.dumps(scores))
    if args.json:
        record = {"checkpoint": str(path), "steps": trainer.step, "seconds": time.monotonic() - began, **scores}
        write_json(args.json, record)
    return 0


def _recorded_clips(data: DataConfig) -> tuple[Sequence[Clip], str]:
    """Clips of a prepared dataset, and what they are in words."""
    from selfocc_training.dataset.clips import DatasetClips
    from selfocc_training.dataset.dataset import Dataset

    clips = DatasetClips(Dataset.open(data.dataset), data)
    if clips.left_out:
        short = ", ".join(f"{drive} ({metres:.1f} m)" for drive, metres in clips.left_out.items())
        _status(f"too short to train on, left out: {short}")
    return clips, f"dataset {data.dataset}: {len(clips)} clips of {', '.join(clips.drives)}"


def _town_clips(data: DataConfig, folder: Path, workers: int) -> tuple[Sequence[Clip], str]:
    """Clips of town drives, and what they are in words."""
    from selfocc_ros.configuration import ConfigError
    from selfocc_training.town_clips import load_clip, make_clips

    seeds = _seeds(data)
    if not seeds:
        raise ConfigError("there is nothing to train on: data.seeds is 0; name a prepared dataset with --data DATASET.")
    paths = make_clips(
        folder,
        seeds,
        data.clips_per_seed,
        data.clip,
        workers,
        lambda done, total: _status(f"rendering drives {done}/{total}"),
    )
    return [load_clip(path) for path in paths], f"town drives, seeds {seeds.start} to {seeds.stop - 1}"


def _seeds(data: DataConfig) -> range:
    return range(data.first_seed, data.first_seed + data.seeds)


def _status(text: str) -> None:
    """One line that overwrites itself on a terminal."""
    end = "\r" if sys.stderr.isatty() else "\n"
    print(text.ljust(100), end=end, file=sys.stderr, flush=True)
