# SPDX-License-Identifier: Apache-2.0
"""How fast training clips come from a prepared dataset, by one worker: decoded, and from the cache.

    python bench/loader.py [RECORDING] --json out/loader.json

A sample is a clip of three frames of all cameras. Without a recording, one of six cameras of 960x540 is made from a
town. Nothing but the clip drawn last is kept in memory, so that every draw reads from the disk.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from selfocc_ros.cli.output import write_json
from selfocc_ros.errors import SelfOccError
from selfocc_ros.logs import messages
from selfocc_ros.logs.convert import camera_frame, camera_model, stamp_ns
from selfocc_ros.logs.reader import Bag
from selfocc_ros.logs.writer import BagWriter
from selfocc_ros.sensing.decode import decode
from selfocc_ros.town.rigs import load_rig
from selfocc_ros.town.write import write_drive
from selfocc_training.config import DataConfig
from selfocc_training.dataset.cache import FOLDER
from selfocc_training.dataset.clips import DatasetClips
from selfocc_training.dataset.dataset import Dataset
from selfocc_training.dataset.prepare import prepare
from selfocc_training.town_clips import ClipPlan

SEED, SECONDS = 9000, 2.0
SIZE = (960, 540)
FRAMES = 3


def recording(folder: Path) -> Path:
    """A drive through a town seen by six cameras, its images enlarged to SIZE."""
    small = write_drive(SEED, SECONDS, load_rig("surround6"), folder / "small")
    with Bag(small) as bag, BagWriter(folder / "town") as out:
        for topic, receive_ns, msg in bag.messages():
            if topic not in out.topics:
                out.add_topic(topic, msg.__msgtype__)
            if topic.endswith("compressed"):
                pixels = np.ascontiguousarray(decode(camera_frame("", msg))[..., ::-1])
                large = cv2.resize(pixels, SIZE, interpolation=cv2.INTER_CUBIC)
                msg.data = cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].reshape(-1)
            elif topic.endswith("camera_info"):
                camera = camera_model(msg, topic).resized(*SIZE)
                msg = messages.camera_info(stamp_ns(msg.header.stamp), msg.header.frame_id, camera)
            out.write(topic, receive_ns, msg)
    return folder / "town"


def rss_mb() -> float:
    """Memory of this process, MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


def draw(dataset: Dataset, data: DataConfig, samples: int, cached: bool) -> dict[str, float]:
    """Samples a second of wall and of CPU time over so many draws."""
    clips = DatasetClips(dataset, data, kept_bytes=1)
    order = [number % len(clips) for number in range(samples)]
    if cached:
        np.random.default_rng(0).shuffle(order)
    wall, cpu = time.perf_counter(), time.process_time()
    for number in order:
        clips[number]
    return {
        "samples": samples,
        "per_second": samples / (time.perf_counter() - wall),
        "per_cpu_second": samples / (time.process_time() - cpu),
    }


def measure(bag: Path, folder: Path, size: tuple[int, int], samples: int) -> dict[str, Any]:
    """Prepare a recording and draw its clips, first with an empty cache."""
    prepare([bag], folder / "dataset")
    dataset = Dataset.open(folder / "dataset")
    plan = ClipPlan(frames=FRAMES, spacing_m=0.1, width=size[0], height=size[1])
    data = dataclasses.replace(DataConfig(), clip=plan, widest_gap=1)
    clips = DatasetClips(dataset, data)
    shape = clips[0].images.shape
    shutil.rmtree(dataset.root / FOLDER)
    begin = rss_mb()
    cold = draw(dataset, data, len(clips), cached=False)
    warm = draw(dataset, data, samples, cached=True)
    middle = rss_mb()
    draw(dataset, data, samples, cached=True)
    files = [path for path in (dataset.root / FOLDER).rglob("*") if path.is_file()]
    return {
        "clips": len(clips),
        "shape": list(shape),
        "cold": cold,
        "warm": warm,
        "cache_mb": sum(path.stat().st_size for path in files) / 1e6,
        "jpeg_mb": sum(path.stat().st_size for path in (dataset.root / "images").rglob("*.jpg")) / 1e6,
        "rss_mb": {"begin": begin, "middle": middle, "end": rss_mb()},
    }


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("recording", nargs="?", type=Path, help="instead of a town")
    parser.add_argument("--size", nargs=2, type=int, default=(320, 192), metavar=("W", "H"), help="(320 192)")
    parser.add_argument("--samples", type=int, default=500, help="draws from the cache (500)")
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON; - is standard output")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            bag = args.recording or recording(folder)
            found = measure(bag, folder, tuple(args.size), args.samples)
        if args.json:
            write_json(args.json, found)
    except SelfOccError as error:
        print(f"loader: {error}", file=sys.stderr)
        return 2
    frames, cameras, _, height, width = found["shape"]
    print(f"{frames} frames of {cameras} cameras at {width}x{height}, {found['clips']} different clips")
    for name in ("cold", "warm"):
        row = found[name]
        print(
            f"{name}: {row['per_second']:.1f} samples/s, {row['per_cpu_second']:.1f} a CPU second "
            f"({row['samples']} draws)"
        )
    memory = found["rss_mb"]
    print(f"cache {found['cache_mb']:.1f} MB on disk beside {found['jpeg_mb']:.1f} MB of JPEG")
    print(f"memory {memory['begin']:.0f} MB, {memory['middle']:.0f} MB, at the end {memory['end']:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
