# SPDX-License-Identifier: Apache-2.0
"""Which cameras the node listens to, as the graph changes."""

from __future__ import annotations

from selfocc_ros.ros.watch import LEAVE_S, SETTLE_S, START_S, CameraWatch
from selfocc_ros.sensing.discovery import CameraTopics


def camera(name: str) -> CameraTopics:
    return CameraTopics(f"/camera/{name}/image/compressed", f"/camera/{name}/camera_info", True)


FOUND = {name: camera(name) for name in ("front", "left", "right")}


def only(*names: str) -> dict[str, CameraTopics]:
    return {name: FOUND[name] for name in names}


def test_auto_settles_once_nothing_is_added_any_more():
    watch = CameraWatch(("auto",))
    assert not watch.update({}, 0.0)
    assert not watch.deciding
    assert not watch.update(only("front"), 0.5)
    assert watch.deciding
    assert not watch.update(only("front", "left"), 1.0)
    assert not watch.update(FOUND, 1.2)
    assert not watch.update(FOUND, 1.2 + 0.9 * SETTLE_S)
    assert watch.update(FOUND, 1.2 + SETTLE_S)
    assert watch.cameras == FOUND
    assert not watch.deciding
    assert not watch.update(FOUND, 9.0)


def test_auto_adds_a_camera_that_comes_later():
    watch = CameraWatch(("auto",))
    watch.update(only("front"), 0.0)
    assert watch.update(only("front"), SETTLE_S)
    watch.update(only("front", "left"), 20.0)
    assert watch.update(only("front", "left"), 20.0 + SETTLE_S)
    assert list(watch.cameras) == ["front", "left"]


def test_a_camera_whose_publisher_is_gone_leaves_after_a_while():
    watch = CameraWatch(("auto",))
    watch.update(FOUND, 0.0)
    watch.update(FOUND, SETTLE_S)
    watch.update(only("front", "left"), 10.0)
    assert not watch.update(only("front", "left"), 10.0 + 0.9 * LEAVE_S)
    assert watch.update(only("front", "left"), 10.0 + LEAVE_S)


def test_the_rig_stays_when_all_publishers_are_gone():
    watch = CameraWatch(("auto",))
    watch.update(FOUND, 0.0)
    watch.update(FOUND, SETTLE_S)
    assert not watch.update({}, 10.0)
    assert not watch.update({}, 100.0)
    assert watch.cameras == FOUND


def test_a_list_counts_as_soon_as_it_is_complete_and_in_its_order():
    watch = CameraWatch(("left", "front"))
    assert not watch.update(only("front"), 0.0)
    assert watch.missing == ("left",)
    assert watch.update(FOUND, 0.1)
    assert list(watch.cameras) == ["left", "front"]
    assert watch.missing == ()


def test_a_list_with_a_camera_that_never_comes_goes_on_without_it_and_takes_it_later():
    watch = CameraWatch(("front", "left"))
    watch.update(only("front"), 0.0)
    assert watch.update(only("front"), START_S)
    assert watch.missing == ("left",)
    assert watch.update(only("front", "left"), 60.0)
