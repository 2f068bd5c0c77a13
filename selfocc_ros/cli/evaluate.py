# SPDX-License-Identifier: Apache-2.0
"""`selfocc evaluate`: scores of a checkpoint beside flat ground and blindness."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

HELP = """Score a checkpoint. Protocol `town` renders drives through towns whose exact truth is known and prints IoU and
AbsRel, also of what stands above the ground, beside what flat ground scores and what the same network scores blind
(fed another drive's images). Seeds below 1000 are for training; scores are taken on seeds from 9000 on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `selfocc evaluate`."""
    parser.add_argument("checkpoint", nargs="?", default="default", help="a .safetensors file (default: the shipped)")
    parser.add_argument("--protocol", choices=["town"], default="town", help="what to evaluate on")
    parser.add_argument("--seeds", default="9000-9009", help="towns: a number, a range 9000-9009, or a list 9000,9003")
    parser.add_argument("--rig", default="surround6", help="name of a rig in config/rigs, or a YAML file")
    parser.add_argument("--samples", type=int, default=4, help="samples per drive")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a drive")
    parser.add_argument("--device", default="auto", help="auto, cuda or cpu")
    parser.add_argument("--json", help="write the figures to this file ('-': standard output, instead of the table)")
    parser.add_argument("--pictures", help="write a picture and depths of every sample into this folder")


def run(args: argparse.Namespace) -> int:
    """Print the table; returns 0."""
    from selfocc_ros.cli.output import write_json
    from selfocc_ros.cli.progress import Progress
    from selfocc_ros.cli.tables import FIGURES, finite, score_table
    from selfocc_ros.errors import SelfOccError
    from selfocc_ros.runtime.predictor import Predictor
    from selfocc_training.town_evaluation import evaluate_town

    seeds = parse_seeds(args.seeds)
    if args.samples < 1 or not args.seconds > 0:
        raise SelfOccError(f"--samples and --seconds must be above 0, found {args.samples} and {args.seconds}")
    predictor = Predictor.from_checkpoint(args.checkpoint, device=args.device)
    show = _painter(Path(args.pictures)) if args.pictures else None
    result = evaluate_town(
        predictor, seeds, args.seconds, args.samples, args.rig, device=str(predictor.device),
        progress=Progress("evaluating", "samples"), show=show, grid=predictor.config.grid,
    )  # fmt: skip
    info = predictor.info
    result = {"checkpoint": info.config.name if info else None, **result}
    if args.json != "-":
        print(f"{result['samples']} samples of {len(seeds)} drives, rig {args.rig}, in {result['took_s']:.0f} s")
        print(score_table(result))
        details = result["details"]
        names = [name for name in details if not name.endswith(("_flat_ground", "_blind"))]
        print(score_table(details, names))
    if args.json:
        write_json(args.json, finite(result))
    missing = [name for name in FIGURES if result[name] != result[name]]
    if missing:
        raise SelfOccError(f"nothing to score in these drives for {', '.join(missing)}: the cameras see nothing near")
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

    from selfocc_ros.errors import SelfOccError
    from selfocc_ros.town.truth import time_of
    from selfocc_ros.viz.depth import depth_strip
    from selfocc_ros.viz.scenes import truth_as_volume
    from selfocc_ros.viz.sheet import save, scene_sheet
    from selfocc_training.town_evaluation import DEPTH_STRIDE

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SelfOccError(f"{folder}: cannot be made ({error.strerror})") from error

    def paint(scene: Any, truth: Any, volume: Any, depths: Any) -> None:
        frame = scene.frame
        name = f"{scene.seed}_{round(time_of(frame.stamp_ns) * 1e3):06d}ms"
        volumes = {"predicted (pale: not seen)": volume, "true, where cameras see": truth_as_volume(truth)}
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
