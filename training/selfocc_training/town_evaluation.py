# SPDX-License-Identifier: Apache-2.0
"""Protocol `town`: scores of a checkpoint on drives through towns, beside flat ground and blindness.

For each seed, samples are taken evenly over a drive and rendered as its recording would hold them: every camera at its
own stamp, JPEG of the recording's quality. The network predicts, and so it does *blind*: fed another drive's images
with this drive's geometry. What it scores then it knows without looking. Flat ground needs no network at all.

Everything follows from the seeds, so the same checkpoint always gets the same figures on the same machine.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.voxels import OCC3D, OCC3D_CLASSES, OCCUPIED, OccupancyVolume, VoxelGrid
from selfocc_ros.sensing.frames import CameraFrame, RigSample
from selfocc_ros.town.rigs import RigSpec, load_rig
from selfocc_ros.town.town import Town
from selfocc_ros.town.truth import TownFrame, TruthVolume, render_frame, stamp_of, truth_volume
from selfocc_ros.town.write import JPEG_QUALITY, optical_frame
from selfocc_training.metrics.occ3d import FREE_CLASS, OCC3D_15, Occ3dScore, score_occ3d
from selfocc_training.metrics.town import (
    RINGS_M,
    DepthScore,
    OccupancyScore,
    choose_flat_ground,
    flat_ground_depth,
    flat_ground_occupancy,
    score_depth,
    score_occupancy,
)

MODEL, FLAT_GROUND, BLIND = "", "_flat_ground", "_blind"
KINDS = (MODEL, FLAT_GROUND, BLIND)
"""Suffixes of the figures: the network's own have none."""

DEPTH_STRIDE = 4
"""Depth is rendered and compared at every 4th pixel of every 4th row."""

FLAT_GROUND_BAND_M = (-0.2, 0.2)
"""Heights in base_link that the flat ground baseline paints: of all runs of layers the one with the best IoU on seeds 0
to 9 (0.40; with the layer above it 0.23). `choose_flat_ground_band` chooses it."""

ROAD = OCC3D_CLASSES.index("driveable_surface")

Item = TypeVar("Item")
Depth = NDArray[np.float32]
Classes = NDArray[np.uint8]
Progress = Callable[[int, int], None]


class PredictorLike(Protocol):
    """What the evaluation asks of `selfocc_ros.runtime.predictor.Predictor`."""

    def predict(self, sample: RigSample) -> Any:
        """A prediction with a `volume`."""

    def render_depth(
        self, prediction: Any, camera: CameraModel, base_from_camera: NDArray[np.float64], stride: int = 1
    ) -> Depth:
        """Rendered z-depth at every `stride`-th pixel."""


@dataclass(frozen=True)
class Scene:
    """One sample of a drive: what the node gets, and what was really there."""

    seed: int
    frame: TownFrame
    sample: RigSample


@dataclass
class Tally:
    """Scores of the network and of its baselines, summed over samples."""

    samples: int = 0
    occupancy: dict[str, OccupancyScore] = field(default_factory=dict)
    classes: dict[str, Occ3dScore] = field(default_factory=dict)
    depth: dict[str, DepthScore] = field(default_factory=dict)

    def add_occupancy(self, kind: str, occupied: NDArray[np.bool_], truth: TruthVolume) -> OccupancyScore:
        """Score the occupied voxels (X,Y,Z) of one sample; `kind` is one of KINDS."""
        true = truth.classes != FREE_CLASS
        score = score_occupancy(truth.grid, occupied, true, truth.camera_mask, truth.above_ground)
        self.occupancy[kind] = self.occupancy.get(kind, OccupancyScore()) + score
        return score

    def add_classes(self, kind: str, classes: Classes, truth: TruthVolume) -> Occ3dScore:
        """Score Occ3D's classes (X,Y,Z) of one sample, 17 where nothing is; `kind` is one of KINDS."""
        score = score_occ3d(classes, truth.classes, truth.camera_mask)
        self.classes[kind] = self.classes.get(kind, Occ3dScore.zeros()) + score
        return score

    def add_depths(
        self, kind: str, depths: Sequence[Depth], frame: TownFrame, stride: int = DEPTH_STRIDE
    ) -> DepthScore:
        """Score the depths (h,w) of one sample's cameras, in the order of its rig."""
        score = DepthScore()
        for depth, view in zip(depths, frame.views, strict=True):
            score += score_depth(depth, view.depth[::stride, ::stride], view.classes[::stride, ::stride])
        self.depth[kind] = self.depth.get(kind, DepthScore()) + score
        return score

    def add_flat_ground(
        self, frame: TownFrame, truth: TruthVolume, stride: int = DEPTH_STRIDE, with_classes: bool = False
    ) -> None:
        """Score what flat ground would say of a sample; that all of it is road, if it is to say what things are."""
        ground = flat_ground_occupancy(truth.grid, flat_ground_layers(truth.grid))
        self.add_occupancy(FLAT_GROUND, ground, truth)
        if with_classes:
            self.add_classes(FLAT_GROUND, np.where(ground, ROAD, FREE_CLASS).astype(np.uint8), truth)
        rig = frame.rig
        depths = [flat_ground_depth(c, p, stride) for c, p in zip(rig.cameras, rig.base_from_camera, strict=True)]
        self.add_depths(FLAT_GROUND, depths, frame, stride)

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.samples + other.samples,
            _summed(self.occupancy, other.occupancy),
            _summed(self.classes, other.classes),
            _summed(self.depth, other.depth),
        )

    def figures(self) -> dict[str, float]:
        """The figures by name: iou, iou_above_ground, abs_rel and abs_rel_above_ground with each suffix of KINDS.

        Of networks with classes also miou, the mean over Occ3D's 17 classes, and miou_15, without others and
        other_flat.
        """
        out: dict[str, float] = {}
        for kind in KINDS:
            if kind in self.classes:
                out[f"miou{kind}"] = self.classes[kind].miou()
                out[f"miou_15{kind}"] = dataclasses.replace(self.classes[kind], protocol=OCC3D_15).miou()
            if kind in self.occupancy:
                out[f"iou{kind}"] = self.occupancy[kind].all.iou
                out[f"iou_above_ground{kind}"] = self.occupancy[kind].above.iou
            if kind in self.depth:
                out[f"abs_rel{kind}"] = self.depth[kind].all.mean
                out[f"abs_rel_above_ground{kind}"] = self.depth[kind].above.mean
        return out

    def details(self) -> dict[str, float]:
        """More figures by name: precision and recall, IoU above ground by distance, and IoU of each class."""
        out: dict[str, float] = {}
        for kind, score in sorted(self.occupancy.items()):
            out[f"precision_above_ground{kind}"] = score.above.precision
            out[f"recall_above_ground{kind}"] = score.above.recall
            for i, ring in enumerate(score.rings):
                out[f"iou_above_ground_{RINGS_M[i]:.0f}_to_{RINGS_M[i + 1]:.0f}_m{kind}"] = ring.iou
        for kind, classes in sorted(self.classes.items()):
            iou = zip(OCC3D_CLASSES, classes.class_iou().tolist(), strict=False)  # free comes last
            out |= {f"iou_{name}{kind}": value for name, value in iou if value == value}
        return out


def occ3d_classes(volume: OccupancyVolume) -> Classes | None:
    """(X,Y,Z) Occ3D's class of each voxel that is predicted occupied, 17 elsewhere; None of networks without classes.

    Classes are matched by name; those that Occ3D does not know are its others.
    """
    known = {name: number for number, name in enumerate(OCC3D_CLASSES)}
    if volume.classes is None or not known.keys() & set(volume.class_names):
        return None
    table = np.array([known.get(name, 0) for name in volume.class_names], np.uint8)
    return np.where(volume.state == OCCUPIED, table[volume.classes], np.uint8(FREE_CLASS))


def flat_ground_layers(grid: VoxelGrid, band: tuple[float, float] = FLAT_GROUND_BAND_M) -> list[int]:
    """The layers of a grid whose centres lie within the heights of `band`, at least the one nearest to its middle."""
    centres = grid.lower[2] + (np.arange(grid.shape[2]) + 0.5) * grid.cell[2]
    inside = np.flatnonzero((centres > band[0]) & (centres < band[1]))
    nearest = int(np.argmin(np.abs(centres - sum(band) / 2)))
    return [int(i) for i in inside] if len(inside) else [nearest]


def choose_flat_ground_band(
    seeds: Sequence[int] = range(10), rig: str = "surround6", samples_per_seed: int = 3
) -> tuple[float, float]:
    """The heights that FLAT_GROUND_BAND_M was set to: the layers of best IoU on training drives."""
    volumes = [truth_volume(town, frame) for town, frame in _frames(seeds, load_rig(rig), 10.0, samples_per_seed)]
    layers = choose_flat_ground(OCC3D, [(v.classes != FREE_CLASS, v.camera_mask) for v in volumes])
    low, cell = OCC3D.lower[2], float(OCC3D.cell[2])
    return round(low + layers[0] * cell, 6), round(low + (layers[-1] + 1) * cell, 6)


def encode_sample(frame: TownFrame, quality: int = JPEG_QUALITY) -> RigSample:
    """The sample that a recording of this frame would give: JPEG images with the cameras' own stamps and poses."""
    frames = []
    for name, stamp_ns, view in zip(frame.rig.names, frame.stamps_ns, frame.views, strict=True):
        bgr = np.ascontiguousarray(view.image[..., ::-1])
        _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
        frames.append(CameraFrame(name, stamp_ns, optical_frame(name), "jpeg", data.tobytes()))
    return RigSample(frame.stamp_ns, frame.rig, tuple(frames))


def blinded(sample: RigSample, images: RigSample) -> RigSample:
    """The sample with another drive's images, camera by camera, and its own geometry."""
    return RigSample(sample.stamp_ns, sample.rig, images.frames)


def rendered_depths(
    predictor: PredictorLike, prediction: Any, frame: TownFrame, stride: int = DEPTH_STRIDE
) -> list[Depth]:
    """Depth rendered from a prediction for each camera of a frame."""
    rig = frame.rig
    return [
        predictor.render_depth(prediction, camera, pose, stride)
        for camera, pose in zip(rig.cameras, rig.base_from_camera, strict=True)
    ]


def score_scene(
    predictor: PredictorLike,
    scene: Scene,
    truth: TruthVolume,
    images: RigSample | None,
    show: Callable[[Scene, TruthVolume, OccupancyVolume, list[Depth]], None] | None = None,
) -> Tally:
    """Score one sample with its baselines.

    Args:
        images: another drive's sample, whose images make it blind; None leaves blindness out.
        show: called with what was predicted, for pictures.
    """
    tally = Tally(samples=1)
    for kind, sample in ((MODEL, scene.sample), (BLIND, blinded(scene.sample, images) if images else None)):
        if sample is None:
            continue
        prediction = predictor.predict(sample)
        depths = rendered_depths(predictor, prediction, scene.frame)
        tally.add_occupancy(kind, prediction.volume.state == OCCUPIED, truth)
        tally.add_depths(kind, depths, scene.frame)
        classes = occ3d_classes(prediction.volume)
        if classes is not None:
            tally.add_classes(kind, classes, truth)
        if show is not None and kind == MODEL:
            show(scene, truth, prediction.volume, depths)
    tally.add_flat_ground(scene.frame, truth, with_classes=bool(tally.classes))
    return tally


def evaluate_town(
    predictor: PredictorLike,
    seeds: Sequence[int],
    seconds: float = 10.0,
    samples_per_seed: int = 4,
    rig: str = "surround6",
    device: str = "cpu",
    blind: bool = True,
    progress: Progress | None = None,
    show: Callable[[Scene, TruthVolume, OccupancyVolume, list[Depth]], None] | None = None,
    grid: VoxelGrid = OCC3D,
) -> dict[str, Any]:
    """Score a predictor on town drives.

    Args:
        seeds: towns; those of training are below 1000, evaluation begins at 9000.
        seconds: length of the drives.
        samples_per_seed: samples, evenly spread over each drive.
        rig: name of a rig in config/rigs, or the path of a YAML file; mounted a little differently for each seed.
        device: where the town is rendered.
        blind: whether to score blindness too; it costs a second prediction per sample.
        progress: called with (samples done, samples in all).
        show: called with every sample's truth and prediction.
        grid: the predictor's voxels, in base_link.

    Returns:
        iou, iou_above_ground, abs_rel and abs_rel_above_ground, each also with `_flat_ground` and `_blind`, of networks
        with classes miou and miou_15 likewise; under
        `details` precision and recall above ground, and IoU by distance; under `by_seed` the first four per drive.
    """
    if not seeds or samples_per_seed < 1:
        raise ValueError(f"an evaluation needs seeds and samples, found {len(seeds)} and {samples_per_seed}")
    started = time.monotonic()
    spec = load_rig(rig)
    tallies: dict[int, Tally] = {seed: Tally() for seed in seeds}
    waiting: list[tuple[Scene, TruthVolume]] = []  # of the first seed: blinded by the last one's images
    previous: list[RigSample] = []
    total, done = len(seeds) * samples_per_seed, 0

    def score(scene: Scene, truth: TruthVolume, images: RigSample | None) -> None:
        nonlocal done
        tallies[scene.seed] += score_scene(predictor, scene, truth, images, show)
        done += 1
        if progress is not None:
            progress(done, total)

    def scenes() -> Iterator[tuple[Scene, TruthVolume]]:
        for town, frame in _frames(seeds, spec, seconds, samples_per_seed, device):
            yield Scene(town.seed, frame, encode_sample(frame)), truth_volume(town, frame, grid)

    current: list[RigSample] = []
    with one_thread_each():
        for index, (scene, truth) in enumerate(ahead(scenes())):
            turn = index % samples_per_seed
            if turn == 0:
                previous, current = current, []
            current.append(scene.sample)
            if blind and not previous:
                waiting.append((scene, truth))
            else:
                score(scene, truth, previous[turn] if blind else None)
        if len(seeds) == 1 and blind:
            others = _frames([seeds[0] + 1], spec, seconds, samples_per_seed, device)
            current = [encode_sample(frame) for _, frame in others]
        for turn, (scene, truth) in enumerate(waiting):
            score(scene, truth, current[turn])
    tally = sum(tallies.values(), Tally())
    return {
        "protocol": "town",
        "rig": rig,
        "seeds": [int(seed) for seed in seeds],
        "seconds": seconds,
        "samples": tally.samples,
        **tally.figures(),
        "details": tally.details(),
        "by_seed": {
            str(seed): {k: v for k, v in t.figures().items() if not k.endswith((FLAT_GROUND, BLIND))}
            for seed, t in tallies.items()
        },
        "took_s": round(time.monotonic() - started, 1),
    }


def _frames(
    seeds: Sequence[int], spec: RigSpec, seconds: float, samples: int, device: str = "cpu"
) -> Iterator[tuple[Town, TownFrame]]:
    """The frames of the protocol, drive after drive."""
    for seed in seeds:
        town = Town(int(seed), device, seconds)
        mounted = spec.jittered(int(seed))
        for k in range(samples):
            yield town, render_frame(town, mounted, stamp_of(seconds * (k + 0.5) / samples))


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let torch use one core per thread of ours: two threads that work side by side beat one that forks and joins.

    Forking and joining also stalls where other processes want the same cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items, each made by a second thread while the one before is used."""
    iterator = iter(items)
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(next, iterator, None)
        while (item := pending.result()) is not None:
            pending = pool.submit(next, iterator, None)
            yield item


def _summed(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    return {key: a[key] + b[key] if key in a and key in b else a.get(key, b.get(key)) for key in {**a, **b}}
