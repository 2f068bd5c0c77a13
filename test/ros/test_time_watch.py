# SPDX-License-Identifier: Apache-2.0
"""Stamps that nobody can work with, and time that moves forward."""

from __future__ import annotations

import pytest

from selfocc_ros.ros.time_watch import TimeWatch, jump_sentence

S = 1_000_000_000
START = 1_700_000_000 * S


def test_good_stamps_are_not_worth_a_word():
    watch = TimeWatch("header")
    assert [watch.image("front", "/front", START + k, ignored=False) for k in range(10)] == [""] * 10


@pytest.mark.fault
def test_headers_without_stamps_name_the_way_out():
    watch = TimeWatch("header")
    assert watch.image("front", "/front", 0, ignored=False) == ""  # a simulation that begins
    sentence = watch.image("front", "/front", 0, ignored=False)
    assert sentence.startswith("/front: the headers have no stamp (0); ")
    assert "parameter stamp" in sentence
    assert "receive" in sentence
    assert watch.image("front", "/front", START, ignored=False) == ""
    assert not TimeWatch("receive").is_empty(0)


@pytest.mark.fault
def test_stamps_that_stand_still_are_told_until_they_go_on():
    watch = TimeWatch("header")
    assert [bool(watch.image("front", "/front", START, ignored=k > 0)) for k in range(5)] == [False] * 3 + [True] * 2
    assert "1700000000.000 s again" in watch.image("front", "/front", START, ignored=True)
    assert watch.image("front", "/front", START + 1, ignored=False) == ""


def test_a_leap_is_what_no_time_has_passed_for():
    watch = TimeWatch("header")
    assert watch.leap_s(START, 50.0) == 0.0
    assert watch.leap_s(START + S, 50.1) == 0.0  # played ten times as fast
    assert watch.leap_s(START + 3600 * S, 50.2) == 3599.0
    assert watch.leap_s(START + 3601 * S, 50.3) == 0.0
    assert watch.leap_s(START + 7200 * S, 3650.0) == 0.0  # an hour of silence
    watch.forget()
    assert watch.leap_s(START + 20_000 * S, 3651.0) == 0.0


def test_the_direction_of_a_jump_is_said():
    assert jump_sentence(-2.0).startswith("time went back by 2.0 s")
    assert jump_sentence(3600.0).startswith("time went forward by 3600.0 s")
