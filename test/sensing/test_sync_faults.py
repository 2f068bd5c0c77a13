# SPDX-License-Identifier: Apache-2.0
"""RigSynchronizer when cameras die, clocks fail and recordings loop."""

from __future__ import annotations

import numpy as np
import pytest
from rig_streams import (
    MS,
    NUSCENES,
    START,
    Event,
    S,
    delayed,
    exposures,
    keys,
    play,
    rig_events,
    run,
    stream,
)

from selfocc_ros.sensing.sync import RigSynchronizer, SyncError

# --- what is missing


@pytest.mark.fault
def test_a_camera_that_never_was_delays_by_max_wait_and_soon_not_at_all() -> None:
    events = [e for e in rig_events(NUSCENES, S // 12, 60) if e[0] != "back"]
    sync: RigSynchronizer[tuple[str, int]] = RigSynchronizer(list(NUSCENES), max_wait_s=0.2)
    out = [(e[1], s) for e in events for s in sync.push(*e)]
    assert len(out) >= 57
    assert {s.missing for _, s in out} == {("back",)}
    early = [when - s.stamp_ns for when, s in out if s.stamp_ns < START + 800 * MS]
    assert 200 * MS <= min(early) <= max(early) < 200 * MS + S // 12
    late = [when - s.stamp_ns for when, s in out if s.stamp_ns > START + S + S // 2]
    assert max(late) <= 45 * MS  # the last of those that are alive


@pytest.mark.fault
def test_a_camera_that_dies_is_soon_not_waited_for_and_taken_back() -> None:
    events = [e for e in rig_events(NUSCENES, S // 12, 90) if not (e[0] == "back" and 20 <= e[2][1] < 60)]
    sync: RigSynchronizer[tuple[str, int]] = RigSynchronizer(list(NUSCENES), max_wait_s=0.2)
    out = [(e[1], s) for e in events for s in sync.push(*e)]
    assert [s.missing for _, s in out] == [()] * 20 + [("back",)] * 40 + [()] * 30
    waits = [when - s.stamp_ns for when, s in out]
    assert max(waits[20:30]) >= 200 * MS
    assert max(waits[36:]) <= 45 * MS


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


@pytest.mark.parametrize("frames", [4, 7, 11])
def test_a_loop_shorter_than_a_second_starts_afresh_too(frames: int) -> None:
    once = rig_events(NUSCENES, S // 12, frames)
    sync: RigSynchronizer[tuple[str, int]] = RigSynchronizer(list(NUSCENES))
    play(sync, once)
    for loop in range(1, 4):
        again = play(sync, once)
        assert sync.jumps == loop
        # The first frame of a loop may still be one that comes late; the second one cannot.
        assert len(again) >= frames - 3
        assert {min(exposures(s)) for s in again} >= set(range(2, frames - 2))


def test_forgetting_starts_afresh_and_counts_no_jump() -> None:
    events = rig_events(NUSCENES, S // 12, 10)
    sync: RigSynchronizer[tuple[str, int]] = RigSynchronizer(list(NUSCENES))
    first = keys(play(sync, events))
    sync.forget()
    assert keys(play(sync, events)) == first
    assert sync.jumps == 0


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
