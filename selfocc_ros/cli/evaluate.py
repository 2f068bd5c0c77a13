# SPDX-License-Identifier: Apache-2.0
"""`selfocc evaluate`: scores of a checkpoint beside flat ground and blindness."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

HELP = """Score a checkpoint. Without a dataset, protocol `town` renders drives through towns whose exact truth is known
and prints IoU and AbsRel, also of what stands above the ground. Seeds below 1000 are for training; scores are taken on
seeds from 9000 on. With a dataset that `selfocc prepare` made: `occ3d`, `rayiou` and `semantickitti` against its voxel
labels, `depth` and `novel_depth` against its depth maps, `lidar` against the point clouds of its recordings. Beside the
network stand flat ground, and the same network blind: fed images of another place. An option that the protocol does not
use is refused. docs/evaluation.md explains all."""

PROTOCOLS = ("town", "occ3d", "rayiou", "semantickitti", "depth", "novel_depth", "lidar")
TOWN, DATASETS, DEPTHS = PROTOCOLS[:1], PROTOCOLS[1:], PROTOCOLS[4:]
USED_BY = {
    **dict.fromkeys(("seeds", "rig", "seconds", "pictures"), TOWN),
    **dict.fromkeys(("split", "report", "ground_z", "min_travel"), DATASETS),
    **dict.fromkeys(("min_depth", "max_depth", "garg_crop", "stride"), DEPTHS),
    "post_process": ("occ3d", "semantickitti"),
    "bag": ("lidar",),
}
"""Protocols of the options that not all of them use; None is an option that was not given."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `selfocc evaluate`."""
    parser.add_argument("checkpoint", nargs="?", default="default", help="a .safetensors file (default: the shipped)")
    parser.add_argument("dataset", nargs="?", type=Path, help="folder of `selfocc prepare`; none for protocol town")
    parser.add_argument("--protocol", choices=PROTOCOLS, help="what to score (default without a dataset: town)")
    parser.add_argument("--samples", type=int, help="samples, evenly chosen (default: 4 per town drive, else all)")
    parser.add_argument("--device", default="auto", help="auto, cuda or cpu")
    parser.add_argument("--json", help="write the figures to this file ('-': standard output, instead of the table)")
    parser.add_argument("--no-blind", action="store_true", help="do not score blindness: twice as fast")
    town = parser.add_argument_group("protocol town alone")
    town.add_argument("--seeds", help="a number, a range, or a list 9000,9003 (default: 9000-9009)")
    town.add_argument("--rig", help="name of a rig in config/rigs, or a YAML file (default: surround6)")
    town.add_argument("--seconds", type=float, help="length of a drive (default: 10)")
    town.add_argument("--pictures", help="write a picture and depths of every sample into this folder")
    data = parser.add_argument_group("datasets alone")
    data.add_argument("--split", help="train, val or gap (default: val, or train where there is no val)")
    data.add_argument("--report", type=Path, metavar="DIR", help="write report.html with pictures into this folder")
    data.add_argument("--ground-z", type=float, help="height of the road in the base frame, metres (the dataset's)")
    data.add_argument("--min-travel", type=float, help="only samples followed by this much travel, metres")
    data.add_argument(
        "--post-process", choices=["none", "selfocc"],
        help="occ3d, semantickitti: read and empty voxels as SelfOcc's own evaluation does",
    )  # fmt: skip
    data.add_argument("--bag", type=Path, nargs="+", help="lidar: recordings, where they are not where they were")
    depth = parser.add_argument_group("protocols depth, novel_depth and lidar alone")
    depth.add_argument("--min-depth", type=float, help="nearest true depth scored, metres (default: SelfOcc's 1)")
    depth.add_argument("--max-depth", type=float, help="farthest true depth scored, metres (default: SelfOcc's 80)")
    depth.add_argument("--garg-crop", action="store_true", default=None, help="score what KITTI does of images")
    depth.add_argument(
        "--stride", type=int, help="render depth, also that of any --report, at every n-th pixel each way (default: 4)"
    )


def run(args: argparse.Namespace) -> int:
    """Print the table; returns 0.

    Raises:
        SelfOccError: bad input, in one sentence.
    """
    from selfocc_ros.errors import SelfOccError

    protocol = args.protocol or ("town" if args.dataset is None else None)
    if protocol is None:
        raise SelfOccError(f"{args.dataset}: name what to score with --protocol: {', '.join(PROTOCOLS[1:])}")
    if (args.dataset is None) != (protocol == "town"):
        wanted = "takes no dataset" if protocol == "town" else "needs a dataset: selfocc evaluate CHECKPOINT DATASET"
        raise SelfOccError(f"protocol {protocol} {wanted}")
    if args.samples is not None and args.samples < 1:
        raise SelfOccError(f"--samples must be above 0, found {args.samples}")
    _check_options(args, protocol)
    return _run_town(args) if protocol == "town" else _run_dataset(args, protocol)


def _check_options(args: argparse.Namespace, protocol: str) -> None:
    """Refuse options that would change nothing, before anything is read."""
    from selfocc_ros.errors import SelfOccError

    for name, protocols in USED_BY.items():
        if getattr(args, name) is None or protocol in protocols:
            continue
        if name == "stride" and args.report is not None:
            continue  # the report renders depth, whatever is scored
        option = f"--{name.replace('_', '-')}"
        *most, last = protocols
        known = f"protocols {', '.join(most)} and {last}" if most else f"protocol {last}"
        instead = "; of towns --pictures writes pictures" if name == "report" else ""
        raise SelfOccError(f"{option} is for {known}, not for {protocol}{instead}")


def _run_town(args: argparse.Namespace) -> int:
    from selfocc_ros.cli.output import write_json
    from selfocc_ros.cli.progress import Progress
    from selfocc_ros.cli.tables import CLASS_FIGURES, FIGURES, finite, score_table
    from selfocc_ros.errors import SelfOccError
    from selfocc_ros.runtime.predictor import Predictor
    from selfocc_training.town_evaluation import evaluate_town

    seeds = parse_seeds("9000-9009" if args.seeds is None else args.seeds)
    rig = "surround6" if args.rig is None else args.rig
    seconds = 10.0 if args.seconds is None else args.seconds
    if not seconds > 0:
        raise SelfOccError(f"--seconds must be above 0, found {seconds}")
    predictor = Predictor.from_checkpoint(args.checkpoint, device=args.device)
    show = _painter(Path(args.pictures)) if args.pictures else None
    result = evaluate_town(
        predictor, seeds, seconds, args.samples or 4, rig, device=str(predictor.device), blind=not args.no_blind,
        progress=Progress("evaluating", "samples"), show=show, grid=predictor.config.grid,
    )  # fmt: skip
    info = predictor.info
    result = {"checkpoint": info.config.name if info else None, **result}
    if args.json != "-":
        print(f"{result['samples']} samples of {len(seeds)} drives, rig {rig}, in {result['took_s']:.0f} s")
        print(score_table(result, [name for name in (*CLASS_FIGURES, *FIGURES) if name in result]))
        details = result["details"]
        names = [name for name in details if not name.endswith(("_flat_ground", "_blind"))]
        print(score_table(details, names))
    if args.json:
        write_json(args.json, finite(result))
    missing = [name for name in FIGURES if result[name] != result[name]]
    if missing:
        raise SelfOccError(f"nothing to score in these drives for {', '.join(missing)}: the cameras see nothing near")
    return 0


def _run_dataset(args: argparse.Namespace, protocol: str) -> int:
    from selfocc_ros.cli.output import write_json
    from selfocc_ros.cli.progress import Progress
    from selfocc_ros.cli.tables import finite, score_table
    from selfocc_ros.errors import SelfOccError
    from selfocc_ros.runtime.predictor import Predictor
    from selfocc_training.dataset.dataset import Dataset
    from selfocc_training.evaluation.report import write_report
    from selfocc_training.evaluation.run import evaluate
    from selfocc_training.evaluation.scorer import Settings

    depths: tuple[float, float] | None = None
    if args.min_depth is not None or args.max_depth is not None:
        depths = 1.0 if args.min_depth is None else args.min_depth, 80.0 if args.max_depth is None else args.max_depth
        if not 0 <= depths[0] < depths[1]:
            raise SelfOccError(f"--min-depth must lie below --max-depth, found {depths[0]:g} and {depths[1]:g}")
    stride = 4 if args.stride is None else args.stride
    if stride < 1:
        raise SelfOccError(f"--stride must be above 0, found {stride}")
    settings = Settings(
        protocol, args.split, args.samples, args.min_travel or 0.0, depths, stride, args.post_process == "selfocc",
        tuple(args.bag or ()), not args.no_blind, bool(args.garg_crop),
    )  # fmt: skip
    dataset = Dataset.open(args.dataset)
    ground_z = dataset.ground_z if args.ground_z is None else args.ground_z
    predictor = Predictor.from_checkpoint(args.checkpoint, device=args.device, ground_z=ground_z)
    evaluation = evaluate(predictor, dataset, settings, Progress("evaluating", "samples"))
    name = predictor.info.config.name if predictor.info else str(args.checkpoint)
    if args.json != "-":
        count = len(evaluation.indices)
        print(f"{evaluation.scorer.title}: {name} on {args.dataset}, {count} sample{'s' if count != 1 else ''}")
        print(score_table(evaluation.figures, evaluation.scorer.rows))
        print("".join(f"- {note}\n" for note in evaluation.scorer.notes), end="")
    if args.json:
        write_json(args.json, finite({"checkpoint": name, **evaluation.result()}))
    if args.report is not None:
        path = write_report(args.report, evaluation, name)
        if args.json != "-":
            print(f"look at {path}")
    return 0


def parse_seeds(text: str) -> list[int]:
    """Seeds of `9000`, `9000-9009` or `9000,9003,9005-9007`, in that order.

    Raises:
        SelfOccError: for anything else, or a seed twice.
    """
    from selfocc_ros.errors import SelfOccError

    seeds: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdigit() or (dash and not high.isdigit()) or (dash and int(high) < int(low)):
            raise SelfOccError(f"--seeds must be numbers like 9000, 9000-9009 or 9000,9003, found {text!r}")
        seeds += range(int(low), (int(high) if dash else int(low)) + 1)
    if len(set(seeds)) != len(seeds):
        raise SelfOccError(f"--seeds names a seed twice: {text!r}")
    return seeds


def _painter(folder: Path) -> Callable[..., None]:
    """Writes a sheet and depth strips of every sample that it is shown."""
    import numpy as np

    from selfocc_ros.cli.output import make_folder
    from selfocc_ros.town.truth import time_of
    from selfocc_ros.viz.depth import depth_strip
    from selfocc_ros.viz.scenes import truth_as_volume
    from selfocc_ros.viz.sheet import save, scene_sheet
    from selfocc_training.town_evaluation import DEPTH_STRIDE

    make_folder(folder, "--pictures")

    def paint(scene: Any, truth: Any, volume: Any, depths: Any) -> None:
        frame = scene.frame
        name = f"{scene.seed}_{round(time_of(frame.stamp_ns) * 1e3):06d}ms"
        true = truth_as_volume(truth, with_classes=volume.classes is not None)
        volumes = {"predicted (pale: not seen)": volume, "true, where cameras see": true}
        unseen = ~truth.camera_mask.any(axis=2)
        images = [view.image for view in frame.views]
        caption = f"town {scene.seed}"
        save(str(folder / f"{name}_sheet.png"), scene_sheet(images, frame.rig, volumes, caption, fade=unseen))
        strips = []
        for view, depth in zip(frame.views, depths, strict=True):
            true = view.depth[::DEPTH_STRIDE, ::DEPTH_STRIDE]
            strips.append(depth_strip(view.image, {"true depth": true, "rendered depth": depth}))
        save(str(folder / f"{name}_depth.jpg"), np.vstack(strips))

    return paint
