# SPDX-License-Identifier: Apache-2.0
"""Streams of stamps as real rigs have them, and what a synchroniser makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from selfocc_ros.sensing.sync import FrameSet, RigSynchronizer

MS = 1_000_000
S = 1000 * MS
START = 1_700_000_000 * S

# When each camera fires after the front camera, seconds.
NUSCENES = {
    "front": 0.0,
    "front_left": -0.0076,
    "front_right": 0.0079,
    "back_right": 0.0154,
    "back": 0.0252,
    "back_left": 0.0350,
}
# Before the end of the LiDAR sweep, milliseconds.
PANDASET_MS = {"back": -99.9, "left": -81.2, "front_left": -60.6, "front": -49.9, "front_right": -39.1, "right": -18.5}

Event = tuple[str, int, tuple[str, int]]
Key = tuple[int, tuple[tuple[str, int], ...], tuple[str, ...]]


def stream(camera: str, phase_s: float, period_ns: int, count: int, jitter_ns: int = 0, seed: int = 0) -> list[Event]:
    """Frames of a camera; each item says its camera and which exposure it is."""
    rng = np.random.default_rng([seed, *camera.encode()])
    noise = rng.integers(-jitter_ns, jitter_ns + 1, size=count)
    return [(camera, START + round(phase_s * S) + i * period_ns + int(noise[i]), (camera, i)) for i in range(count)]


def rig_events(phases: dict[str, float], period_ns: int, count: int, jitter_ns: int = 0, seed: int = 0) -> list[Event]:
    events = [e for camera, phase in phases.items() for e in stream(camera, phase, period_ns, count, jitter_ns, seed)]
    return sorted(events, key=lambda event: event[1])


def play(sync: RigSynchronizer[tuple[str, int]], events: Iterable[Event]) -> list[FrameSet[tuple[str, int]]]:
    return [frame_set for event in events for frame_set in sync.push(*event)]


def run(sync: RigSynchronizer[tuple[str, int]], events: Iterable[Event]) -> list[FrameSet[tuple[str, int]]]:
    return play(sync, events) + sync.flush()


def keys(sets: Iterable[FrameSet[tuple[str, int]]]) -> list[Key]:
    return [(s.stamp_ns, tuple(s.items.values()), s.missing) for s in sets]


def exposures(frame_set: FrameSet[tuple[str, int]]) -> set[int]:
    return {exposure for _, exposure in frame_set.items.values()}


def delayed(events: Sequence[Event], max_delay_ns: int, seed: int) -> list[Event]:
    """The order of arrival if each message takes its own time, while those of one camera keep their order."""
    rng = np.random.default_rng(seed)
    latest: dict[str, int] = {}
    arrivals = []
    for event in sorted(events, key=lambda e: e[1]):
        arrival = max(event[1] + int(rng.integers(max_delay_ns)), latest.get(event[0], 0) + 1)
        latest[event[0]] = arrival
        arrivals.append((arrival, event))
    return [event for _, event in sorted(arrivals, key=lambda pair: pair[0])]
