# SPDX-License-Identifier: Apache-2.0
"""RigSynchronizer: the same sets from the same stamps, whatever arrives when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfocc_ros.sensing.sync import FrameSet, RigSynchronizer, SyncError

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


# --- what is missing


@pytest.mark.fault
def test_a_dead_camera_is_missing_and_delays_by_max_wait_only() -> None:
    events = [e for e in rig_events(NUSCENES, S // 12, 60) if e[0] != "back"]
    sync: RigSynchronizer[tuple[str, int]] = RigSynchronizer(list(NUSCENES), max_wait_s=0.2)
    out = [(e[1], s) for e in events for s in sync.push(*e)]
    assert len(out) >= 57
    assert {s.missing for _, s in out} == {("back",)}
    assert max(when - s.stamp_ns for when, s in out) < 200 * MS + S // 12
    assert min(when - s.stamp_ns for when, s in out) >= 200 * MS


@pytest.mark.fault
def test_a_camera_that_dies_and_comes_back_is_taken_back() -> None:
    events = [e for e in rig_events(NUSCENES, S // 12, 60) if not (e[0] == "back" and 20 <= e[2][1] < 40)]
    sets = run(RigSynchronizer(list(NUSCENES)), events)
    assert [s.missing for s in sets] == [()] * 20 + [("back",)] * 20 + [()] * 20


@pytest.mark.fault
def test_a_dead_reference_is_replaced_by_the_next_camera() -> None:
    events = [e for e in rig_events(NUSCENES, S // 12, 60) if e[0] != "front"]
    sets = run(RigSynchronizer(list(NUSCENES)), events)
    assert [s.stamp_ns for s in sets] == [e[1] for e in events if e[0] == "front_left"]
    assert {s.missing for s in sets[1:]} == {("front",)}


@pytest.mark.fault
def test_a_reference_that_dies_and_comes_back_rules_again() -> None:
    events = [e for e in rig_events(NUSCENES, S // 12, 120) if not (e[0] == "front" and 30 <= e[2][1] < 80)]
    sets = run(RigSynchronizer(list(NUSCENES)), events)
    stood_in = [s for s in sets if "front" not in s.items]
    assert 50 - 14 <= len(stood_in) <= 50 - 10  # all but the first second
    assert {s.missing for s in stood_in} == {("front",)}
    assert [i for s in sets for c, i in s.items.values() if c == "front"] == [*range(30), *range(80, 120)]
    assert [s.stamp_ns for s in sets] == sorted({s.stamp_ns for s in sets})


@pytest.mark.fault
def test_a_dead_reference_after_a_hole_in_the_recording_does_not_block() -> None:
    events = rig_events(dict.fromkeys("abc", 0.0), 100 * MS, 200)
    events = [e for e in events if not 50 <= e[2][1] < 90 and not (e[0] == "a" and e[2][1] >= 50)]
    events = [e for e in events if not (e[0] == "b" and e[2][1] >= 49)]
    sync: RigSynchronizer[tuple[str, int]] = RigSynchronizer("abc")
    sets = play(sync, events)
    assert [min(exposures(s)) for s in sets] == [*range(50), *range(90, 198)]


def test_polling_releases_what_has_waited_long_enough() -> None:
    sync: RigSynchronizer[str] = RigSynchronizer(["a", "b"], max_wait_s=0.2)
    assert sync.push("a", START, "x") == []
    assert sync.poll(START + 199 * MS) == []
    (frame_set,) = sync.poll(START + 200 * MS)
    assert (frame_set.stamp_ns, frame_set.items, frame_set.missing) == (START, {"a": "x"}, ("b",))
    assert sync.poll(START + 300 * MS) == []


def test_polling_with_a_foreign_clock_does_nothing() -> None:
    """Recordings played without /clock have stamps of long ago."""
    sync: RigSynchronizer[str] = RigSynchronizer(["a", "b"])
    sync.push("a", START, "x")
    assert sync.poll(START + 86400 * S) == []
    assert [s.items for s in sync.push("b", START, "y")] == [{"a": "x", "b": "y"}]


def test_sets_with_too_few_cameras_are_not_given_out() -> None:
    events = [e for e in rig_events(dict.fromkeys("abc", 0.0), 100 * MS, 30) if e[2] not in {("b", 7), ("c", 7)}]
    sets = run(RigSynchronizer("abc", min_cameras=2), events)
    assert [min(exposures(s)) for s in sets] == [i for i in range(30) if i != 7]


def test_one_camera_needs_nobody() -> None:
    sync: RigSynchronizer[tuple[str, int]] = RigSynchronizer(["only"])
    for event in stream("only", 0.0, 100 * MS, 5):
        assert [s.stamp_ns for s in sync.push(*event)] == [event[1]]


@pytest.mark.fault
def test_a_camera_with_a_clock_far_ahead_is_missing_and_ends_no_waiting() -> None:
    good = delayed(rig_events(dict.fromkeys("abc", 0.0), 100 * MS, 50), 60 * MS, 1)
    events: list[Event] = []
    for event in good:
        camera, stamp, item = event
        events.append((camera, stamp + 3600 * S, item) if camera == "b" else event)
    sets = run(RigSynchronizer("abc", reference="a"), events)
    assert [s.stamp_ns for s in sets if "a" in s.items] == [START + i * 100 * MS for i in range(50)]
    assert all(s.missing == ("b",) for s in sets if "a" in s.items)
    assert all("a" in s.items for s in sets[:50])


# --- time jumps


def test_a_loop_starts_afresh_and_gives_the_same_sets_again() -> None:
    events = rig_events(NUSCENES, S // 12, 60)
    sync: RigSynchronizer[tuple[str, int]] = RigSynchronizer(list(NUSCENES))
    first = keys(play(sync, events))
    second = keys(play(sync, events))
    third = keys(run(sync, events))
    assert sync.jumps == 2
    assert second == first
    assert third[: len(first)] == first
    assert len(third) == 60


@pytest.mark.parametrize("seed", range(5))
def test_stragglers_of_the_old_time_do_not_disturb_the_new(seed: int) -> None:
    events = rig_events(NUSCENES, S // 12, 60)
    once = keys(play(RigSynchronizer(list(NUSCENES)), events))
    split = len(events) - 9
    rng = np.random.default_rng(seed)
    # The last frames of the old time and the first of the new arrive mixed, but each camera's in order.
    arrivals: list[tuple[int, Event]] = []
    latest = dict.fromkeys(NUSCENES, 0)
    for event in [*events[split:], *events[:30]]:
        latest[event[0]] += 1 + int(rng.integers(10))
        arrivals.append((latest[event[0]], event))
    mixed = [event for _, event in sorted(arrivals, key=lambda pair: pair[0])]
    sync: RigSynchronizer[tuple[str, int]] = RigSynchronizer(list(NUSCENES))
    play(sync, events[:split])
    again = keys(play(sync, [*mixed, *events[30:]]))
    assert sync.jumps == 1
    # Sets of the mixed part may have been out of time; from then on nothing is different.
    assert again[-len(once) + 5 :] == once[5:]


def test_repeated_and_older_frames_are_ignored() -> None:
    events = rig_events(dict.fromkeys("abc", 0.0), 100 * MS, 20)
    expected = keys(run(RigSynchronizer("abc"), events))
    sync: RigSynchronizer[tuple[str, int]] = RigSynchronizer("abc")
    noisy = [e for i, event in enumerate(events) for e in ([event, event, events[i - 3]] if i >= 3 else [event, event])]
    assert keys(run(sync, noisy)) == expected
    assert sync.ignored == len(noisy) - len(events)
    assert sync.jumps == 0


def test_stamps_that_are_all_zero_give_one_set_and_no_more() -> None:
    sync: RigSynchronizer[int] = RigSynchronizer("ab")
    sets = [s for i in range(10) for camera in "ab" for s in sync.push(camera, 0, i)]
    assert [s.items for s in sets] == [{"a": 0, "b": 0}]
    assert sync.ignored == 18


# --- bounds and bad input


@pytest.mark.parametrize("absent", ["", "a", "b", "ab"])
def test_memory_is_bounded_whoever_is_absent(absent: str) -> None:
    sync: RigSynchronizer[tuple[str, int]] = RigSynchronizer("abc")
    kept = []
    for event in rig_events({"a": 0.0, "b": 0.01, "c": -0.02}, 50 * MS, 600):
        if event[0] not in absent:
            sync.push(*event)
            kept.append(sum(len(s.frames) for s in sync._by_rank) + len(sync._pending))
    assert max(kept[100:]) <= 45
    assert max(kept[100:]) == max(kept[-200:])


def test_memory_is_bounded_with_a_clock_far_ahead() -> None:
    sync: RigSynchronizer[tuple[str, int]] = RigSynchronizer("ab")
    for camera, stamp, item in rig_events({"a": 0.0, "b": 0.0}, 50 * MS, 600):
        sync.push(camera, stamp + (3600 * S if camera == "b" else 0), item)
    assert sum(len(s.frames) for s in sync._by_rank) <= 60


@pytest.mark.fault
def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(SyncError, match="names that all differ"):
        RigSynchronizer([])
    with pytest.raises(SyncError, match="names that all differ"):
        RigSynchronizer(["a", "a"])
    with pytest.raises(SyncError, match="unknown camera z, expected one of a, b"):
        RigSynchronizer(["a", "b"], reference="z")
    with pytest.raises(SyncError, match="unknown camera q"):
        RigSynchronizer(["a", "b"], phases_s={"q": 0.1})
    with pytest.raises(SyncError, match="max_skew must be 0 or more seconds, found -1"):
        RigSynchronizer(["a", "b"], max_skew_s=-1)
    with pytest.raises(SyncError, match="unknown camera c, expected one of a, b"):
        RigSynchronizer(["a", "b"]).push("c", START, None)
