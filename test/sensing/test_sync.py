# SPDX-License-Identifier: Apache-2.0
"""RigSynchronizer: the same sets from the same stamps, whatever arrives when, and none later than need be."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig_streams import (
    MS,
    NUSCENES,
    PANDASET_MS,
    START,
    Event,
    S,
    delayed,
    exposures,
    keys,
    rig_events,
    run,
    stream,
)

from selfocc_ros.sensing.sync import RigSynchronizer, forward_camera

# --- whole sweeps


@pytest.mark.parametrize("jitter_ns", [0, 1 * MS])
def test_a_nuscenes_ring_gives_whole_sweeps(jitter_ns: int) -> None:
    events = rig_events(NUSCENES, S // 12, 200, jitter_ns)
    sets = run(RigSynchronizer(list(NUSCENES)), events)
    assert len(sets) == 200
    for i, frame_set in enumerate(sets):
        assert frame_set.missing == ()
        assert exposures(frame_set) == {i}
        assert list(frame_set.items) == list(NUSCENES)


@pytest.mark.parametrize("seed", range(5))
def test_two_sweeps_are_never_mixed_when_frames_are_lost(seed: int) -> None:
    """2 % loss at 12 Hz: what ApproximateTime with 80 ms mixes in 295 of 651 sets."""
    events = rig_events(NUSCENES, S // 12, 500, 1 * MS, seed)
    kept = [e for e in events if np.random.default_rng([seed, e[1] % 2**31]).random() >= 0.02]
    assert len(events) * 0.97 < len(kept) < len(events) * 0.99
    there = {item for _, _, item in kept}
    sets = run(RigSynchronizer(list(NUSCENES)), kept)
    fronts = [i for i in range(500) if ("front", i) in there]
    assert len(sets) == len(fronts)
    for i, frame_set in zip(fronts, sets, strict=True):
        assert exposures(frame_set) == {i}
        # and nothing that was there is left out
        assert frame_set.missing == tuple(c for c in NUSCENES if (c, i) not in there)


@pytest.mark.parametrize("reference", PANDASET_MS)
@pytest.mark.parametrize("jitter_ns", [0, 1 * MS])
def test_pandaset_gives_every_camera_once_per_set_for_any_reference(reference: str, jitter_ns: int) -> None:
    phases = {camera: ms / 1000 for camera, ms in PANDASET_MS.items()}
    events = rig_events(phases, S // 10, 100, jitter_ns)
    sets = run(RigSynchronizer(list(phases), reference=reference), events)
    assert len(sets) == 100
    used: set[tuple[str, int]] = set()
    steps = set()
    for i, frame_set in enumerate(sets):
        if 0 < i < 99:
            assert frame_set.missing == ()
            steps.add(tuple(exposure - i for _, exposure in frame_set.items.values()))
        assert used.isdisjoint(frame_set.items.values())
        used.update(frame_set.items.values())
    assert len(steps) == 1, "the choice of sweep must not flicker"


def test_half_a_period_away_the_earlier_frame_is_taken_reliably() -> None:
    """PandaSet's back camera fires 50.0 ms from its front camera, before and after."""
    phases = {"front": -0.0499, "back": -0.0999}
    sets = run(RigSynchronizer(["front", "back"]), rig_events(phases, S // 10, 300, 1 * MS))
    assert all(s.items == {"front": ("front", i), "back": ("back", i)} for i, s in enumerate(sets))


def test_declared_phases_hold_far_from_the_reference() -> None:
    phases = {"a": 0.0, "b": 0.07, "c": -0.08}
    events = rig_events(phases, S // 10, 50, 2 * MS)
    sets = run(RigSynchronizer(list(phases), phases_s=phases), events)
    assert [exposures(s) for s in sets] == [{i} for i in range(50)]
    shifted = {camera: phase + 3.0 for camera, phase in phases.items()}  # relative to anything in common
    assert keys(run(RigSynchronizer(list(phases), phases_s=shifted), events)) == keys(sets)


def test_of_a_fast_camera_the_nearest_frame_is_taken() -> None:
    events = sorted(
        [*stream("slow", 0.0, 100 * MS, 40), *stream("fast", 0.004, 33 * MS, 130, 2 * MS)], key=lambda e: e[1]
    )
    stamps = np.array([e[1] for e in events if e[0] == "fast"])
    for frame_set in run(RigSynchronizer(["slow", "fast"]), events)[2:]:
        chosen = stamps[frame_set.items["fast"][1]]
        # nearest but for the margin of 4 % of the period
        assert abs(chosen - frame_set.stamp_ns) <= np.abs(stamps - frame_set.stamp_ns).min() + 8 * MS


def test_a_slow_camera_serves_several_sets() -> None:
    events = sorted([*stream("fast", 0.0, 33 * MS, 120), *stream("slow", 0.0, 100 * MS, 40)], key=lambda e: e[1])
    sets = run(RigSynchronizer(["fast", "slow"]), events)
    uses = [s.items["slow"][1] for s in sets[4:-4] if "slow" in s.items]
    assert len(uses) == len(sets) - 8
    assert max(uses.count(exposure) for exposure in set(uses)) in (3, 4)


@pytest.mark.parametrize("seed", range(3))
def test_nuscenes_as_recorded_with_gaps_of_50_and_100_ms_gives_full_sets(seed: int) -> None:
    """The cameras follow a LiDAR of 20 Hz at 12 Hz on average, so their gaps alternate."""
    scans = np.floor(np.arange(300) * 20 / 12).astype(int)
    rng = np.random.default_rng(seed)
    events = sorted(
        (
            (camera, START + int(scan) * 50 * MS + round(phase * S) + int(rng.integers(-MS, MS)), (camera, i))
            for camera, phase in NUSCENES.items()
            for i, scan in enumerate(scans)
        ),
        key=lambda e: e[1],
    )
    stamps = {item: stamp for _, stamp, item in events}
    sets = run(RigSynchronizer(list(NUSCENES)), events)
    assert len(sets) == 300
    for frame_set in sets[2:-1]:
        assert frame_set.missing == ()
        assert max(abs(stamps[item] - frame_set.stamp_ns) for item in frame_set.items.values()) <= 40 * MS


# --- pure in the stamps


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.02, 0.1]),
    st.integers(0, 3),
    st.sampled_from([10 * MS, 90 * MS, 150 * MS]),
)
def test_interleaving_makes_no_difference(seed: int, loss: float, dead: int, delay_ns: int) -> None:
    events = rig_events(NUSCENES, S // 12, 40, 3 * MS, seed)
    rng = np.random.default_rng(seed)
    silent = set(list(NUSCENES)[:dead])
    events = [e for e in events if rng.random() >= loss and e[0] not in silent]
    expected = keys(run(RigSynchronizer(list(NUSCENES)), events))
    assert keys(run(RigSynchronizer(list(NUSCENES)), delayed(events, delay_ns, seed))) == expected


@given(st.integers(0, 2**32 - 1), st.dictionaries(st.sampled_from("bcd"), st.floats(-0.06, 0.06), min_size=3))
def test_any_phases_give_the_same_sets_in_any_interleaving(seed: int, phases: dict[str, float]) -> None:
    events = rig_events({"a": 0.0, **phases}, 100 * MS, 30, 5 * MS, seed)
    expected = keys(run(RigSynchronizer("abcd"), events))
    assert keys(run(RigSynchronizer("abcd"), delayed(events, 130 * MS, seed))) == expected
    stamps = {item: stamp for _, stamp, item in events}
    for stamp, items, _ in expected:
        assert all(abs(stamps[item] - stamp) <= 55 * MS for item in items)
    used = [item for _, items, _ in expected[2:] for item in items]
    assert len(used) == len(set(used)), "no frame serves two sets"


RIGS = {
    "nuscenes": NUSCENES,
    "pandaset": {camera: ms / 1000 for camera, ms in PANDASET_MS.items()},
    "synchronous": dict.fromkeys("abc", 0.0),
}


@cache
def drive(rig: str, seed: int) -> tuple[list[Event], dict[int, dict[str, tuple[str, int]]]]:
    """Frames of a rig at 10 Hz, and the sets that the whole recording gives by their stamps."""
    events = rig_events(RIGS[rig], S // 10, 60, 1 * MS, seed)
    return events, {s.stamp_ns: s.items for s in run(RigSynchronizer(list(RIGS[rig])), events)}


@pytest.mark.parametrize("rig", RIGS)
@given(start=st.integers(1, 150), seed=st.integers(0, 9))
def test_a_late_start_gives_the_same_sets_for_the_same_stamps(rig: str, start: int, seed: int) -> None:
    events, whole = drive(rig, seed)
    late = run(RigSynchronizer(list(RIGS[rig])), events[start:])
    # What came before the start may be missing from sets at the start; what is there is the same.
    for frame_set in late:
        assert frame_set.items.items() <= whole[frame_set.stamp_ns].items()
    for frame_set in late[2:]:
        assert frame_set.items == whole[frame_set.stamp_ns]


def test_polling_often_changes_nothing_while_frames_arrive_in_time() -> None:
    events = delayed(rig_events(NUSCENES, S // 12, 60, 1 * MS), 60 * MS, 0)
    expected = keys(run(RigSynchronizer(list(NUSCENES)), events))
    sync: RigSynchronizer[tuple[str, int]] = RigSynchronizer(list(NUSCENES))
    found = []
    for event in events:
        found += sync.poll(event[1]) + sync.push(*event) + sync.poll(event[1])
    assert keys(found + sync.flush()) == expected


# --- latency


@pytest.mark.parametrize(
    ("phases", "reference"),
    [
        (dict.fromkeys("abc", 0.0), "a"),
        (NUSCENES, "front"),
        *(({c: ms / 1000 for c, ms in PANDASET_MS.items()}, reference) for reference in PANDASET_MS),
    ],
)
def test_a_set_leaves_with_its_own_last_frame(phases: dict[str, float], reference: str) -> None:
    sync: RigSynchronizer[tuple[str, int]] = RigSynchronizer(list(phases), reference=reference)
    for index, event in enumerate(rig_events(phases, S // 10, 50, 1 * MS)):
        for frame_set in sync.push(*event):
            if index > 3 * len(phases):
                assert event[2] in frame_set.items.values(), "no set waits for a frame that it does not use"


def test_a_lost_frame_is_waited_for_no_longer_than_to_the_next_of_its_camera() -> None:
    events = [e for e in rig_events(dict.fromkeys("abc", 0.0), 100 * MS, 30) if e[2] != ("b", 20)]
    sync: RigSynchronizer[tuple[str, int]] = RigSynchronizer("abc")
    out = [(e[1], s) for e in events for s in sync.push(*e)]
    when, hurt = next((when, s) for when, s in out if s.missing)
    assert hurt.missing == ("b",)
    assert exposures(hurt) == {20}
    assert when - hurt.stamp_ns == 100 * MS
    assert [s.missing for _, s in out if s is not hurt] == [()] * 29


@pytest.mark.parametrize(
    ("cameras", "forward"),
    [
        (["back", "front", "front_left", "left"], "front"),
        (["CAM_BACK", "CAM_FRONT_LEFT", "CAM_FRONT"], "CAM_FRONT"),
        (["left", "right"], "left"),
        (["rear", "forward_wide"], "forward_wide"),
    ],
)
def test_the_camera_that_looks_forward_is_the_reference(cameras: list[str], forward: str) -> None:
    assert forward_camera(cameras) == forward
    sync: RigSynchronizer[str] = RigSynchronizer(cameras)
    sets = []
    for camera in cameras:
        sets += sync.push(camera, 10**9 + cameras.index(camera) * 10**7, camera)
    assert [s.stamp_ns for s in sets + sync.flush()] == [10**9 + cameras.index(forward) * 10**7]
