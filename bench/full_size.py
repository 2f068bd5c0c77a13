# SPDX-License-Identifier: Apache-2.0
"""The published networks at their full sizes: parameters, time and peak memory of a frame and of a training step.

    python bench/full_size.py --all --json out/full_size.json

Weights and images are random. Each measurement has a process of its own, which may allocate no more than `--limit-gb`
(RLIMIT_DATA: torch reserves far more address space than it ever touches, so RLIMIT_AS would be too coarse). `frame` is
a forward without gradients, by stage; `reference` is the same with the readable attention and the field in one piece;
`training` is forward, rendering of an eighth of the published rays, the losses on field and colour, and backward.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from typing import Any
from unittest import mock

import torch

from selfocc_ros.cli.output import write_json
from selfocc_ros.errors import SelfOccError
from selfocc_ros.model.config import load_model_config
from selfocc_ros.model.planes.config import PlaneConfig
from selfocc_ros.model.planes.selfocc import PlaneSelfOcc
from selfocc_ros.model.renderer import rendered_colour
from selfocc_ros.model.rig_tensors import RigTensors
from selfocc_ros.ops.deformable_attention import auto_means
from selfocc_training.losses.field_terms import eikonal_loss

PARAMETERS = {
    "nuscenes_tpv": 35_416_001,
    "nuscenes_bev": 31_232_729,
    "nuscenes_depth": 35_709_737,
    "nuscenes_novel_depth": 35_710_028,
    "kitti_tpv": 35_808_236,
    "kitti_novel_depth": 35_808_236,
    "kitti_raw_depth": 35_807_945,
}
"""Of the published networks, counted from the names and shapes of their checkpoints."""
RAYS = {"nuscenes": 6 * 48 * 100, "kitti": 55 * 190}
"""Rays of a published training step."""
SHARE = 8
"""Of which this part is rendered."""
WHOLE = 1 << 40
"""A slab of this many nodes is the whole field."""


def network(name: str) -> tuple[PlaneSelfOcc, torch.Tensor, RigTensors]:
    """The network with random weights, random images and cameras that look where its embeddings belong."""
    torch.manual_seed(0)
    config = load_model_config(name)
    if not isinstance(config, PlaneConfig):
        raise SelfOccError(f"{name} is not one of the published networks ({', '.join(PARAMETERS)}).")
    directions = torch.tensor(config.encoder.camera_directions).deg2rad()
    poses = torch.eye(4).repeat(len(directions), 1, 1)
    for pose, yaw in zip(poses, directions, strict=True):
        pose[:3, 0] = torch.stack([yaw.sin(), -yaw.cos(), torch.tensor(0.0)])
        pose[:3, 1] = torch.tensor([0.0, 0.0, -1.0])
        pose[:3, 2] = torch.stack([yaw.cos(), yaw.sin(), torch.tensor(0.0)])
        pose[2, 3] = 1.6
    width, height = config.input.scaled_size
    focal = width * 0.8  # of nuScenes' cameras
    intrinsics = torch.tensor([focal, focal, width / 2, height / 2]).expand(len(poses), -1)
    rig = RigTensors(intrinsics, torch.tensor([float(width), float(height)]).expand(len(poses), -1), poses)
    images = torch.rand(len(poses), 3, config.input.height, config.input.width) * 255
    return PlaneSelfOcc(config), images, rig


class Clock:
    """Tells how long each of a row of things took."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def __call__(self) -> float:
        """Seconds since the last call."""
        now = time.perf_counter()
        passed, self._last = now - self._last, now
        return passed


@torch.inference_mode()
def frame(name: str, repeats: int) -> dict[str, float]:
    """Seconds of each stage of the fastest of some frames."""
    model, images, rig = network(name)
    model.eval()
    clock = Clock()
    cache = model.prepare(rig)
    geometry = clock()
    found = []
    for _ in range(repeats):
        clock()
        features = model.features((images - model.mean) / model.std * cache.used)
        stages = {"backbone": clock()}
        planes = model.planes(features, cache)
        stages["encoder"] = clock()
        model.field_grid(planes)
        stages["field"] = clock()
        found.append({**stages, "frame": sum(stages.values())})
    return {"parameters": model.parameter_count, "geometry": geometry, **min(found, key=lambda row: row["frame"])}


def reference(name: str, repeats: int) -> dict[str, float]:
    """As ``frame``, without what makes it fast and small."""
    whole_field = mock.patch("selfocc_ros.model.planes.field.CACHED_SLAB_NODES", WHOLE)
    with auto_means("reference"), whole_field:
        return frame(name, repeats)


def training(name: str, repeats: int) -> dict[str, float]:
    """Seconds of forward and backward."""
    model, images, rig = network(name)
    model.train()
    cache = model.prepare(rig)
    rays = RAYS[name.split("_")[0]] // SHARE // len(rig)
    pixels = torch.rand(len(rig), rays, 2) * rig.sizes.unsqueeze(1)
    origins, directions, _ = rig.rays(pixels)
    origins, directions = origins.reshape(-1, 3), directions.reshape(-1, 3)
    found = []
    for step in range(repeats):
        clock = Clock()
        scene = model.encode(images, cache)
        rendered = model.render(scene, origins, directions, torch.rand(len(origins), 1), step=step)
        loss = 0.1 * eikonal_loss(scene.grid.gradient.flatten(1).T) + (rendered.weights * rendered.distances).mean()
        if scene.grid.features is not None:
            loss = loss + rendered_colour(scene, rendered, origins, directions).mean()
        forward = clock()
        torch.autograd.backward(loss)
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        if not all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
            raise SelfOccError(f"{name}: a gradient is not finite.")
        found.append({"forward": forward, "backward": clock(), "gradients": len(gradients), "rays": len(origins)})
        model.zero_grad(set_to_none=True)
    return min(found, key=lambda row: row["forward"] + row["backward"])


MEASURES = {"frame": frame, "reference": reference, "training": training}


def measured(what: str, name: str, repeats: int, limit_gb: float) -> dict[str, float]:
    """One measure and its peak memory; to be run in a fresh process."""
    limit = int(limit_gb * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        figures = MEASURES[what](name, repeats)
    except RuntimeError as error:
        if "allocate" not in str(error):
            raise
        raise SelfOccError(f"{name}: {what} needs more than {limit_gb:g} GB.") from error
    return {**figures, "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--models", nargs="+", choices=PARAMETERS, default=["nuscenes_tpv", "nuscenes_bev"])
    parser.add_argument("--all", action="store_true", help="all seven networks, a quarter of an hour")
    parser.add_argument("--what", nargs="+", choices=MEASURES, default=list(MEASURES))
    parser.add_argument("--repeats", type=int, default=2, help="passes of which the fastest counts (2)")
    parser.add_argument("--limit-gb", type=float, default=16.0, help="memory that a process may allocate (16)")
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON; - is standard output")
    args = parser.parse_args()
    print(f"CPU, {torch.get_num_threads()} threads, torch {torch.__version__}, float32; seconds, peak memory in GB")
    rows: list[dict[str, Any]] = []
    failed = False
    for name in PARAMETERS if args.all else args.models:
        for what in args.what:
            try:
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    figures = pool.apply(measured, (what, name, args.repeats, args.limit_gb))
            except SelfOccError as error:
                print(f"full_size: {error}", file=sys.stderr)
                failed = True
                continue
            count = figures.pop("parameters", PARAMETERS[name])
            if count != PARAMETERS[name]:
                print(f"full_size: {name} has {count} parameters, published are {PARAMETERS[name]}.", file=sys.stderr)
                failed = True
            rows.append({"model": name, "what": what, **figures})
            print(f"{name:21}{what:10}" + "  ".join(f"{key} {value:.4g}" for key, value in figures.items()), flush=True)
    if args.json:
        try:
            write_json(args.json, {"torch": torch.__version__, "threads": torch.get_num_threads(), "rows": rows})
        except SelfOccError as error:
            print(f"full_size: {error}", file=sys.stderr)
            return 2
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
