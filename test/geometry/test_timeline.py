# SPDX-License-Identifier: Apache-2.0
"""Late data, jumps back in time, and stragglers."""

from __future__ import annotations

from selfocc_ros.geometry.timeline import Arrival, Timeline

S = 1_000_000_000


def test_time_goes_on() -> None:
    timeline = Timeline(1.0, returns=3)
    assert [timeline.judge("a", s * S) for s in (100, 101, 105)] == [Arrival.NEW] * 3
    assert timeline.newest("a") == 105 * S
    assert timeline.newest("b") is None


def test_repeated_and_slightly_older_stamps_are_late() -> None:
    timeline = Timeline(1.0, returns=3)
    timeline.judge("a", 100 * S)
    assert timeline.judge("a", 100 * S) is Arrival.LATE
    assert timeline.judge("a", 99 * S) is Arrival.LATE
    assert timeline.newest("a") == 100 * S
    assert timeline.jumps == 0


def test_streams_are_not_compared_with_each_other() -> None:
    timeline = Timeline(1.0, returns=3)
    assert timeline.judge("fast", 100 * S) is Arrival.NEW
    assert timeline.judge("slow", 90 * S) is Arrival.NEW
    assert timeline.judge("fast", 101 * S) is Arrival.NEW


def test_a_jump_counts_once_though_other_streams_straggle() -> None:
    timeline = Timeline(1.0, returns=3)
    for second in range(100, 110):
        timeline.judge("a", second * S)
        timeline.judge("b", second * S + 5)
    assert timeline.judge("a", 100 * S) is Arrival.JUMP
    assert timeline.judge("b", 109 * S + 900) is Arrival.STALE
    assert timeline.judge("b", 109 * S + 950) is Arrival.STALE
    assert timeline.judge("a", 101 * S) is Arrival.NEW
    assert timeline.judge("b", 100 * S + 5) is Arrival.NEW
    assert timeline.jumps == 1


def test_a_stream_that_was_silent_over_the_jump_is_taken_back_in_the_new_time() -> None:
    timeline = Timeline(1.0, returns=3)
    timeline.judge("a", 109 * S)
    timeline.judge("b", 105 * S)
    timeline.judge("a", 100 * S)
    for second in range(101, 120):
        timeline.judge("a", second * S)
    assert timeline.judge("b", 119 * S) is Arrival.NEW


def test_one_stream_whose_clock_fails_does_not_silence_the_others() -> None:
    timeline = Timeline(1.0, returns=3)
    for second in range(100, 110):
        timeline.judge("a", second * S)
        timeline.judge("b", second * S)
    assert timeline.judge("a", 3 * S) is Arrival.JUMP
    found = [timeline.judge("b", 110 * S + tenth * S // 10) for tenth in range(20)]
    assert found == [Arrival.STALE] + [Arrival.NEW] * 19
    assert timeline.judge("a", 4 * S) is Arrival.NEW
    assert timeline.jumps == 1


def test_clearing_forgets_stamps_but_counts_on() -> None:
    timeline = Timeline(1.0, returns=3)
    timeline.judge("a", 100 * S)
    timeline.judge("a", 10 * S)
    timeline.clear()
    assert timeline.judge("a", 5 * S) is Arrival.NEW
    assert timeline.jumps == 1


def test_a_loop_shorter_than_the_limit_is_a_jump_once_it_goes_on_from_there() -> None:
    timeline = Timeline(1.0, returns=3)
    once = [100 * S + tenth * S // 10 for tenth in range(8)]
    assert [timeline.judge("a", stamp) for stamp in once] == [Arrival.NEW] * 8
    again = [timeline.judge("a", stamp) for stamp in once]
    assert again == [Arrival.LATE, Arrival.LATE, Arrival.JUMP] + [Arrival.NEW] * 5
    assert timeline.jumps == 1


def test_late_stamps_between_new_ones_are_no_loop() -> None:
    timeline = Timeline(1.0, returns=2)
    for tenth in range(0, 40, 2):
        assert timeline.judge("a", 100 * S + tenth * S // 10) is Arrival.NEW
        assert timeline.judge("a", 100 * S + (tenth - 3) * S // 10) in (Arrival.LATE, Arrival.NEW)
    assert timeline.jumps == 0


def test_stamps_that_stand_still_are_no_loop() -> None:
    timeline = Timeline(1.0, returns=2)
    assert timeline.judge("a", 100 * S) is Arrival.NEW
    assert [timeline.judge("a", 100 * S) for _ in range(5)] == [Arrival.LATE] * 5
    timeline.judge("a", 101 * S)
    assert [timeline.judge("a", 100 * S) for _ in range(5)] == [Arrival.LATE] * 5
    assert timeline.jumps == 0


def test_stragglers_of_a_short_loop_are_known_too() -> None:
    timeline = Timeline(1.0, returns=2)
    for tenth in range(9):
        timeline.judge("a", 100 * S + tenth * S // 10)
        timeline.judge("b", 100 * S + tenth * S // 10)
    assert timeline.judge("a", 100 * S) is Arrival.LATE
    assert timeline.judge("a", 100 * S + S // 10) is Arrival.JUMP
    assert timeline.judge("b", 100 * S + 9 * S // 10) is Arrival.STALE
    assert timeline.judge("b", 100 * S) is Arrival.NEW
    assert [timeline.judge(key, 100 * S + 2 * S // 10) for key in "ab"] == [Arrival.NEW] * 2
    assert timeline.jumps == 1
