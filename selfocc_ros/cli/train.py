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
    from selfocc_ros.model.families import Network
    from selfocc_training.config import DataConfig, TrainConfig
    from selfocc_training.fit.processes import Processes
    from selfocc_training.town_clips import Clip

HELP = """Train a network without labels: images and poses of drives are the only supervision. The drives are those of a
dataset that `selfocc prepare` made, or go through synthetic towns. Towns are rendered first (kept under OUT/clips; a
second run reuses them), and training drives choose the occupancy thresholds at the end; with a dataset these stay as
they were. Writes OUT/<model>.safetensors, and while it runs OUT/curve.jsonl and OUT/tensorboard. Ctrl-C saves and
stops; after any interruption the same command goes on from the last saved step. Another configuration, dataset, seed or
number of steps is another run, and needs another --out. Trains on a GPU where there is one; `--devices 8` on eight, and
under `torchrun` on as many machines as there are."""


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
    parser.add_argument("--device", default="auto", help="auto, cuda or cpu")
    parser.add_argument(
        "--devices", type=int, default=1, help="GPUs (or CPU processes) of this machine to train on (default: 1)"
    )
    parser.add_argument(
        "--nodes", type=int, default=1, help="machines to train on (default: 1); torchrun tells its own"
    )
    parser.add_argument("--json", help="write what was done and reached to this file ('-': standard output)")


def run(args: argparse.Namespace) -> int:
    """Train; returns 0, or 128 and the signal's number where one stopped it.

    Of several processes the first tells how it ended; the others return 0, since Lightning kills the first when one of
    them does not.
    """
    from selfocc_training.config import load_train_config
    from selfocc_training.fit.interruption import TrainingStopped
    from selfocc_training.fit.processes import end_processes, start_processes
    from selfocc_training.trainer import TrainingError, check_clip_size

    config = load_train_config(args.config, steps=args.steps, seed=args.seed, dataset=args.data)
    check_clip_size(config)
    processes = start_processes(args.device, args.devices, args.nodes)
    first = processes.global_rank == 0
    try:
        _train(args, config, processes)
    except TrainingStopped as stopped:
        if not first:
            return 0
        print(
            f"\nselfocc: stopped after step {stopped.step} of {config.steps}, saved in {stopped.path}; "
            "the same command goes on from there.",
            file=sys.stderr,
        )
        return 128 + stopped.signum
    except TrainingError:
        if first:
            raise
        return 0  # all have found it
    finally:
        end_processes(processes)
    return 0


def _train(args: argparse.Namespace, config: TrainConfig, processes: Processes) -> None:
    from selfocc_ros.cli.step_progress import StepProgress
    from selfocc_training.trainer import Trainer, refuse_other_run

    began = time.monotonic()
    if config.data.dataset:
        clips, source = _recorded_clips(config)
    else:
        refuse_other_run(config, args.out)
        clips, source = _town_clips(config, args.out / "clips", args.workers, processes.local_rank == 0)
    labels_by = _labels_by(config, args.out / "clips")
    source += f", voxels distilled by {labels_by}" if labels_by else ""
    trainer = Trainer(config, clips, args.out, processes, labels_by)
    if processes.global_rank != 0:
        trainer.run(config.steps)
        return
    progress = StepProgress(trainer.step, config.steps)
    try:
        model = trainer.run(config.steps, progress)
    finally:
        progress.close()
    record = {"steps": trainer.step, "seconds": time.monotonic() - began}
    _finish(args, config, model, source, record)


def _finish(
    args: argparse.Namespace, config: TrainConfig, model: Network, source: str, record: dict[str, float]
) -> None:
    """Choose thresholds where there is truth to choose by, write the checkpoint, and ``record`` with its scores."""
    from selfocc_ros import __version__
    from selfocc_ros.cli.output import write_json
    from selfocc_ros.configuration import to_mapping
    from selfocc_ros.model.checkpoint import save_checkpoint
    from selfocc_training.decision import decide_on_towns
    from selfocc_training.start import describe_start

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
        "steps": record["steps"],
        "config": to_mapping(config),
    }
    path = args.out / f"{Path(config.model).stem}.safetensors"
    scores = {f"training_drives_{name}": round(value, 4) for name, value in reached.items()}
    save_checkpoint(path, model, provenance, scores, decided, half=True)
    print(f"\n{path}: {model.parameter_count} parameters, {path.stat().st_size / 1e6:.2f} MB")
    print(json.dumps(scores))
    if args.json:
        write_json(args.json, {"checkpoint": str(path), **record, **scores})


def _recorded_clips(config: TrainConfig) -> tuple[Sequence[Clip], str]:
    """Clips of a prepared dataset, and what they are in words."""
    from selfocc_ros.model.families import class_names
    from selfocc_training.dataset.clips import DatasetClips
    from selfocc_training.dataset.dataset import Dataset
    from selfocc_training.steps import LOOSE
    from selfocc_training.trainer import trained_config

    data = config.data
    clips = DatasetClips(Dataset.open(data.dataset), data, classes=class_names(trained_config(config)))
    if clips.left_out:
        short = ", ".join(f"{drive} ({metres:.1f} m)" for drive, metres in clips.left_out.items())
        _status(f"too short to train on, left out: {short}")
    if clips.spacing_m > LOOSE * data.clip.spacing_m:
        apart = f"{clips.spacing_m:.1f} m apart, data.clip.spacing_m is {data.clip.spacing_m:g}"
        _status(f"samples lie {apart}: anchors and sources are fewer frames away, to be as near in metres")
    _status(
        f"images at the network's size are kept in {clips.cache.folder}: {clips.cache_bytes / 1e6:.0f} MB in the end"
    )
    # Nothing but time is lost, so training goes on.
    clips.cache.warn = lambda trouble: print(f"\nselfocc: {trouble}: they are decoded each time", file=sys.stderr)
    return clips, f"dataset {data.dataset}: {len(clips)} clips of {', '.join(clips.drives)}"


def _town_clips(config: TrainConfig, folder: Path, workers: int, renders: bool) -> tuple[Sequence[Clip], str]:
    """Clips of town drives, and what they are in words; one process of each machine ``renders``, the others wait."""
    from selfocc_ros.configuration import ConfigError
    from selfocc_ros.model.families import class_names
    from selfocc_training.distil.clip_files import load_labelled_clip
    from selfocc_training.town_clips import clip_path, load_clip, make_clips
    from selfocc_training.town_labels import with_channels
    from selfocc_training.trainer import trained_config

    data = config.data
    seeds = _seeds(data)
    if not seeds:
        raise ConfigError("there is nothing to train on: data.seeds is 0; name a prepared dataset with --data DATASET.")
    plan = data.town_plan()
    paths = [clip_path(folder, seed, index, plan) for index in range(data.clips_per_seed) for seed in seeds]
    if renders and not all(path.is_file() for path in paths):
        make_clips(
            folder,
            seeds,
            data.clips_per_seed,
            plan,
            workers,
            lambda done, total: _status(f"rendering drives {done}/{total}"),
        )
    # Not a barrier, whose patience ends long before so many drives are rendered.
    while not all(path.is_file() for path in paths):
        time.sleep(1.0)
    source = f"town drives, seeds {seeds.start} to {seeds.stop - 1}"
    # Files of clips may hold more than the losses read, where several runs share them.
    maps, voxels = config.loss.reads_class_maps, config.loss.reads_voxels
    source += f", class maps ({data.class_noise:.0%} wrong)" if data.class_maps and maps else ""
    source += ", true voxels that the cameras see" if data.voxel_labels and voxels else ""
    classes, clips = class_names(trained_config(config)), []
    for path in paths:
        clip = load_labelled_clip(path) if data.distilled and voxels else load_clip(path)
        clip = dataclasses.replace(clip, labels=clip.labels if maps else None, voxels=clip.voxels if voxels else None)
        clips.append(with_channels(clip, classes, folder, voxels=not data.distilled))
    return clips, source


def _labels_by(config: TrainConfig, clips: Path) -> str:
    """The teacher of the voxel labels that a run learns from, in words; empty where they are truth, or there are none.

    Args:
        config: the run.
        clips: folder of town clips.
    """
    from selfocc_training.distil.provenance import teacher_of, told_by

    data = config.data
    if not config.loss.reads_voxels:
        return ""
    if data.distilled:
        return told_by(clips)
    return (teacher_of(Path(data.dataset)) or "") if data.dataset and data.voxel_labels else ""


def _seeds(data: DataConfig) -> range:
    return range(data.first_seed, data.first_seed + data.seeds)


def _status(text: str) -> None:
    """One line that overwrites itself on a terminal."""
    end = "\r" if sys.stderr.isatty() else "\n"
    print(text.ljust(100), end=end, file=sys.stderr, flush=True)
