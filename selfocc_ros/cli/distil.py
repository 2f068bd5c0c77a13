# SPDX-License-Identifier: Apache-2.0
"""`selfocc distil`: voxel labels out of a network's own volumes along a drive."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfocc_training.distil.config import FusionConfig
    from selfocc_training.distil.teacher import Teacher

HELP = """Label the voxels of a drive with a network's own volumes, fused along it: every place is passed closely once,
and a network knows best what is near. Images and poses are all that is used. Voxels that no camera saw are unknown
(255), and so are those on which viewpoints disagree, as they do about whatever moved in between. Labels of a dataset go
to DATASET/voxels, of training clips (`selfocc train` keeps them in OUT/clips) beside each clip; stopped, the same
command goes on. `tiny_recording_distil` and `tiny_town_distil` train with them; see docs/distillation.md."""

PARAMETERS = {
    "reach": "metres before and after a sample from which volumes are fused",
    "spacing": "metres between volumes that are fused",
    "decay": "metres from a viewpoint over which its weight falls to 1/e",
    "clamp": "metres to which signed distances are clamped",
    "disagreement": "metres of spread between viewpoints above which a voxel is unknown",
    "trust": "metres within which what a sample alone calls occupied is unknown, not free",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `selfocc distil`."""
    from selfocc_training.distil.config import FusionConfig

    parser.add_argument("checkpoint", help="a .safetensors file, or `default` for the shipped one")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, metavar="DATASET", help="a dataset that `selfocc prepare` made")
    source.add_argument("--clips", type=Path, metavar="FOLDER", help="a folder of training clips")
    parser.add_argument("--split", default="train", help="which samples of the dataset (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cuda or cpu")
    for name, meaning in PARAMETERS.items():
        default = getattr(FusionConfig(), f"{name}_m")
        parser.add_argument(
            f"--{name}", type=float, default=default, metavar="M", help=f"{meaning} (default: {default})"
        )
    parser.add_argument("--overwrite", action="store_true", help="remove all distilled labels that are there first")
    parser.add_argument("--json", help="write counts and timings to this file ('-': standard output, not the words)")


def run(args: argparse.Namespace) -> int:
    """Label; returns 0."""
    from selfocc_ros import __version__
    from selfocc_ros.cli.output import write_json
    from selfocc_ros.model.checkpoint import load_checkpoint
    from selfocc_training.dataset.dataset import Dataset
    from selfocc_training.distil.config import FusionConfig
    from selfocc_training.distil.provenance import claim, label_names, provenance
    from selfocc_training.distil.teacher import Teacher
    from selfocc_training.start import start_path

    config = FusionConfig(**{f"{name}_m": getattr(args, name) for name in PARAMETERS})
    checkpoint = start_path(args.checkpoint)
    model, _ = load_checkpoint(checkpoint)
    # Clips lie on the road already; of a dataset its layout says where the road is.
    ground_z = 0.0 if args.data is None else Dataset.open(args.data).ground_z
    teacher = Teacher(model, args.device, ground_z)
    names, made_by = label_names(teacher.grid), provenance(checkpoint, config, ground_z, __version__)
    began = time.monotonic()

    def keep(folder: Path) -> bool:
        return claim(folder, names, made_by, args.overwrite)

    if args.clips is not None:
        counts = _distil_clips(teacher, args.clips, config, keep)
    else:
        counts = _distil_dataset(teacher, args.data, args.split, config, keep)
    target = args.clips if args.data is None else args.data / "voxels"
    record = {"target": str(target), **counts, "seconds": round(time.monotonic() - began, 1), "provenance": made_by}
    if args.json != "-":
        print(
            f"{target}: {counts['labelled']} samples labelled, {counts['kept']} were there; "
            f"{counts['occupied']:.1%} of the voxels occupied, {counts['unknown']:.1%} unknown"
        )
    if args.json:
        write_json(args.json, record)
    return 0


class _Tally:
    """Counts labels as they are made."""

    def __init__(self) -> None:
        self.labelled, self.kept, self._voxels, self._occupied, self._unknown = 0, 0, 0, 0, 0

    def add(self, labels: Any, samples: int) -> None:
        from selfocc_training.distil.labels import OCCUPIED, UNKNOWN

        self.labelled += samples
        self._voxels += labels.size
        self._occupied += int((labels == OCCUPIED).sum())
        self._unknown += int((labels == UNKNOWN).sum())

    def figures(self) -> dict[str, Any]:
        voxels = max(1, self._voxels)
        shares = {"occupied": self._occupied / voxels, "unknown": self._unknown / voxels}
        return {"labelled": self.labelled, "kept": self.kept, **shares}


def _distil_clips(teacher: Teacher, folder: Path, config: FusionConfig, keep: Any) -> dict[str, Any]:
    from selfocc_ros.cli.progress import Progress
    from selfocc_training.distil.clip_files import clip_files, distil_clip, save_voxels, voxels_path
    from selfocc_training.town_clips import load_clip

    files = clip_files(folder)
    keeps, tally, progress = keep(folder), _Tally(), Progress("distilling", "clips")
    for done, path in enumerate(files, 1):
        clip = load_clip(path)
        if keeps and voxels_path(path).is_file():
            tally.kept += len(clip.images)
        else:
            labels = distil_clip(teacher, clip, config)
            save_voxels(voxels_path(path), labels, teacher.grid)
            tally.add(labels, len(labels))
        progress(done, len(files))
    return tally.figures()


def _distil_dataset(teacher: Teacher, root: Path, split: str, config: FusionConfig, keep: Any) -> dict[str, Any]:
    from selfocc_ros.cli.progress import Progress
    from selfocc_training.dataset.dataset import Dataset
    from selfocc_training.distil.dataset_files import distil_split

    dataset = Dataset.open(root)
    total = len(dataset.indices(split))
    tally, progress = _Tally(), Progress("distilling", "samples")
    for done, labels in enumerate(distil_split(teacher, dataset, split, config, keep(root)), 1):
        if labels is None:
            tally.kept += 1
        else:
            tally.add(labels, 1)
        progress(done, total)
    return tally.figures()
