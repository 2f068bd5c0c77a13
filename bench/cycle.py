# SPDX-License-Identifier: Apache-2.0
"""One cycle of the node without ROS around it: from six JPEGs in memory to the bytes of its two messages.

    python bench/cycle.py --models tiny nuscenes_tpv --json out/cycle.json

Each network has a process of its own, since only a fresh one tells its peak memory, and random weights, which cost the
same as learnt ones. `first` is the first cycle, which also computes what depends on the
rig alone; the stages are those of the fastest of `--repeats` cycles after it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from typing import Any

import cv2
import numpy as np
import torch

from selfocc_ros.cli.output import write_json
from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.rig import CameraRig
from selfocc_ros.model.config import load_model_config
from selfocc_ros.model.families import build_network
from selfocc_ros.ros.outputs.clouds import occupied_points
from selfocc_ros.ros.outputs.grids import occupancy_grid
from selfocc_ros.runtime.predictor import Predictor
from selfocc_ros.sensing.frames import CameraFrame, RigSample
from selfocc_ros.town.rigs import load_rig
from selfocc_ros.town.town import Town
from selfocc_ros.town.truth import render_frame, stamp_of

MODELS = ("tiny", "fast_s", "fast_r50", "nuscenes_tpv", "nuscenes_bev")
SEED, AT_S = 9000, 2.0
SIZE = (1600, 900)
"""Of nuScenes' images."""
BAND = (0.3, 2.0)


def sample() -> RigSample:
    """Six JPEGs of a town in the size of nuScenes' images."""
    frame = render_frame(Town(SEED, seconds=4.0), load_rig("surround6"), stamp_of(AT_S))
    frames = []
    for name, stamp_ns, view in zip(frame.rig.names, frame.stamps_ns, frame.views, strict=True):
        large = cv2.resize(np.ascontiguousarray(view.image[..., ::-1]), SIZE, interpolation=cv2.INTER_CUBIC)
        data = cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
        frames.append(CameraFrame(name, stamp_ns, f"{name}_optical", "jpeg", data))
    cameras = tuple(camera.resized(*SIZE) for camera in frame.rig.cameras)
    rig = CameraRig(frame.rig.names, cameras, frame.rig.base_from_camera)
    return RigSample(frame.stamp_ns, rig, tuple(frames))


def measure(name: str, device: str, repeats: int) -> dict[str, Any]:
    """Milliseconds per stage and peak memory; to be run in a fresh process."""
    torch.manual_seed(0)
    images = sample()
    predictor = Predictor(build_network(load_model_config(name)), device)
    cycles = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        found = predictor.predict(images)
        predicted = time.perf_counter()
        size = len(occupancy_grid(found.volume, images.stamp_ns, "base_link", BAND).data)
        size += len(occupied_points(found.volume, images.stamp_ns, "base_link").data)
        end = time.perf_counter()
        stages = {stage: 1e3 * seconds for stage, seconds in found.timings_s.items()}
        cycles.append({**stages, "messages": 1e3 * (end - predicted), "cycle": 1e3 * (end - begin), "bytes": size})
    best = min(cycles[1:], key=lambda cycle: cycle["cycle"])
    if predictor.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(predictor.device) / 2**20
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return {"model": name, "first": cycles[0]["cycle"], **best, "peak_mb": peak}


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--models", nargs="+", default=MODELS, help=f"({' '.join(MODELS)})")
    parser.add_argument("--device", help="cpu or cuda; CUDA where there is some, if not given")
    parser.add_argument("--repeats", type=int, default=2, help="cycles after the first; the fastest counts (2)")
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON; - is standard output")
    args = parser.parse_args()
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    label = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{label}, torch {torch.__version__}, float32, six JPEGs of {SIZE[0]}x{SIZE[1]}; milliseconds")
    rows: list[dict[str, Any]] = []
    try:
        for name in args.models:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                rows.append(pool.apply(measure, (name, device, args.repeats)))
            row = dict(rows[-1])
            print(f"{row.pop('model'):14}" + "  ".join(f"{key} {value:.0f}" for key, value in row.items()), flush=True)
        if args.json:
            write_json(args.json, {"device": label, "torch": torch.__version__, "models": rows})
    except SelfOccError as error:
        print(f"cycle: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
