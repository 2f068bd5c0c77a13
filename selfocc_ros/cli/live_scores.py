# SPDX-License-Identifier: Apache-2.0
"""What a node published, compared with what the recording gives without ROS, and with the truth where it is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.voxels import FREE, OCCUPIED, OccupancyVolume, VoxelGrid
from selfocc_ros.logs.convert import cloud_points, stamp_ns
from selfocc_ros.logs.reader import Bag
from selfocc_ros.logs.samples import SampleReader
from selfocc_ros.sensing.frames import RigSample
from selfocc_ros.viz.scenes import truth_as_volume, volume_of_points

if TYPE_CHECKING:
    from selfocc_ros.runtime.predictor import Predictor
    from selfocc_ros.town.truth import TownTruth
    from selfocc_training.town_evaluation import Tally

Bools = NDArray[np.bool_]


class Published:
    """What a node published: the voxels that hold one of its points, by header stamp (ns).

    Args:
        bag: the recorded output.
        topic: the point cloud.
        grid: the voxels; each point lies in the middle of one.
    """

    def __init__(self, bag: Path, topic: str, grid: VoxelGrid) -> None:
        self._shape = grid.shape
        self._bits: dict[int, NDArray[np.uint8]] = {}
        with Bag(bag) as recording:
            for _, _, msg in recording.messages([topic]):
                voxels = volume_of_points(grid, cloud_points(msg))
                self._bits[stamp_ns(msg.header.stamp)] = np.packbits(voxels)

    @property
    def stamps(self) -> list[int]:
        """The stamps in ascending order."""
        return sorted(self._bits)

    def voxels(self, stamp: int) -> Bools:
        """(X,Y,Z) bool of one stamp."""
        bits = np.unpackbits(self._bits[stamp], count=int(np.prod(self._shape)))
        return bits.reshape(self._shape).astype(np.bool_)


@dataclass
class Comparison:
    """Live voxels against those computed from the recording without ROS.

    Attributes:
        samples: how many stamps were compared.
        differing: voxels that are occupied in one and not in the other.
        occupied: voxels that are occupied in either.
        worst: largest share of differing voxels among the stamps.
        absent: published stamps, of those compared, that the recording has no sample for.
    """

    samples: int = 0
    differing: int = 0
    occupied: int = 0
    worst: float = 0.0
    absent: list[int] = field(default_factory=list)

    def add(self, live: Bools, offline: Bools) -> None:
        """Compare the voxels of one stamp."""
        differing, occupied = int(np.count_nonzero(live ^ offline)), int(np.count_nonzero(live | offline))
        self.samples += 1
        self.differing += differing
        self.occupied += occupied
        self.worst = max(self.worst, differing / occupied if occupied else 0.0)

    @property
    def share(self) -> float:
        """Share of the occupied voxels that differ."""
        return self.differing / self.occupied if self.occupied else 0.0


@dataclass
class LiveScores:
    """Everything that is told of a session.

    Attributes:
        comparison: live against offline.
        tally: scores with baselines, None where the truth is not known.
        scored: how many stamps were scored.
        sample: the sample in the middle of those published, for the picture; None if there is none.
        predicted, truth: its volumes as the node published and as it was, None where not known.
    """

    comparison: Comparison = field(default_factory=Comparison)
    tally: Tally | None = None
    scored: int = 0
    sample: RigSample | None = None
    predicted: OccupancyVolume | None = None
    truth: OccupancyVolume | None = None


def spread(stamps: list[int], limit: int) -> list[int]:
    """At most `limit` of the stamps, evenly spread, the middle one among them."""
    if len(stamps) <= limit:
        return list(stamps)
    chosen = {round((i + 0.5) * len(stamps) / limit - 0.5) for i in range(limit)}
    chosen.discard(min(chosen, key=lambda i: abs(i - len(stamps) // 2)))
    return [stamps[i] for i in sorted(chosen | {len(stamps) // 2})]


def live_scores(
    recording: SampleReader,
    live: Published,
    predictor: Predictor,
    truth: TownTruth | None,
    score_at_most: int,
    compare_at_most: int = 200,
    progress: Callable[[int, int], None] | None = None,
) -> LiveScores:
    """Compare the published stamps with the recording, and score an even choice of them.

    Args:
        recording: what was played, read as the node read it.
        live: what the node published, on the predictor's grid.
        predictor: the network that the node ran.
        truth: of the recording, where it is known.
        score_at_most: stamps to score; comparing costs one prediction, scoring rendering besides.
        compare_at_most: stamps to compare; more are only published by recordings of a minute and longer.
        progress: called with (stamps done, stamps in all).
    """
    from selfocc_training.town_evaluation import Tally, ahead, one_thread_each

    stamps = spread(live.stamps, compare_at_most)
    chosen = spread(stamps, score_at_most) if truth is not None else []
    middle = stamps[len(stamps) // 2] if stamps else None
    scores = LiveScores(tally=Tally() if chosen else None)
    absent = set(stamps)
    with one_thread_each():
        truths = ahead(_truths(truth, chosen, predictor.config.grid))
        for done, sample in enumerate(recording.samples(stamps), start=1):
            absent.discard(sample.stamp_ns)
            prediction = predictor.predict(sample)
            voxels = live.voxels(sample.stamp_ns)
            scores.comparison.add(voxels, prediction.volume.state == OCCUPIED)
            if sample.stamp_ns == middle:
                scores.sample, scores.predicted = sample, _as_published(prediction.volume, voxels)
            if scores.tally is not None and sample.stamp_ns in chosen:
                item = next(item for item in truths if item.frame.stamp_ns == sample.stamp_ns)
                scores.tally += _score(predictor, sample, prediction, voxels, item)
                scores.scored += 1
                if sample.stamp_ns == middle:
                    scores.truth = truth_as_volume(item.volume)
            if progress is not None:
                progress(done, len(stamps))
    scores.comparison.absent = sorted(absent)
    return scores


def _as_published(volume: OccupancyVolume, voxels: Bools) -> OccupancyVolume:
    """A volume with the published voxels in place of its own; free and unknown are not published as points."""
    state = np.where(volume.state == OCCUPIED, np.uint8(FREE), volume.state)
    state[voxels] = OCCUPIED
    return OccupancyVolume(volume.grid, state)


@dataclass(frozen=True)
class _Item:
    """What is known of one stamp: the frame and volume that are true, and another drive's images."""

    frame: Any
    volume: Any
    images: RigSample


def _truths(truth: TownTruth | None, stamps: list[int], grid: VoxelGrid) -> Iterator[_Item]:
    """Truth and blinding images for chosen stamps, in their order."""
    from selfocc_ros.town.town import Town
    from selfocc_ros.town.truth import render_frame, time_of
    from selfocc_training.town_evaluation import encode_sample

    if truth is None:
        return
    other = Town(truth.town.seed + 1, seconds=time_of(truth.stamps_ns[-1]) + 1.0)
    for stamp in stamps:
        frame = truth.frame(stamp)
        blinding = render_frame(other, truth.rig_spec, stamp)
        yield _Item(frame, truth.volume(stamp, grid), encode_sample(blinding))


def _score(predictor: Predictor, sample: RigSample, prediction: Any, voxels: Bools, item: _Item) -> Tally:
    """The scores of one published stamp: IoU of what was published, depth of what the network rendered."""
    from selfocc_training.town_evaluation import BLIND, MODEL, Tally, blinded, rendered_depths

    tally = Tally(samples=1)
    tally.add_flat_ground(item.frame, item.volume)
    tally.add_occupancy(MODEL, voxels, item.volume)
    tally.add_depths(MODEL, rendered_depths(predictor, prediction, item.frame), item.frame)
    images = _matching(sample, item.images)
    blind = predictor.predict(blinded(sample, images))
    tally.add_occupancy(BLIND, blind.volume.state == OCCUPIED, item.volume)
    tally.add_depths(BLIND, rendered_depths(predictor, blind, item.frame), item.frame)
    return tally


def _matching(sample: RigSample, images: RigSample) -> RigSample:
    """The images of those cameras that the sample has, in its order."""
    by_name = dict(zip(images.rig.names, images.frames, strict=True))
    order = [images.rig.names.index(name) for name in sample.rig.names]
    return RigSample(images.stamp_ns, images.rig.subset(order), tuple(by_name[name] for name in sample.rig.names))
