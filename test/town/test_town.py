# SPDX-License-Identifier: Apache-2.0
"""Towns as a whole: the same from the same seed, drives that touch nothing, pictures attached to the world."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from selfocc_ros.town.objects import GROUND_LABELS, Label
from selfocc_ros.town.rigs import load_rig
from selfocc_ros.town.statistics import drive_statistics
from selfocc_ros.town.town import Town
from selfocc_ros.town.truth import render_frame, stamp_of, time_of

RIG = load_rig("surround6")
VEHICLE_HALF = np.array([2.4, 1.0])
"""Half length and half width of the vehicle around base_link, metres."""


def test_same_seed_same_pictures_other_seed_other_pictures() -> None:
    camera, mount = RIG.rig(160).cameras[0], RIG.rig().base_from_camera[0]
    towns = [Town(21, seconds=12.0), Town(21, seconds=12.0), Town(22, seconds=12.0)]
    views = [town.render(camera, town.drive.odom_from_base(4.0) @ mount, 4.0) for town in towns]
    np.testing.assert_array_equal(views[0].image, views[1].image)
    np.testing.assert_array_equal(views[0].depth, views[1].depth)
    assert np.abs(views[0].image.astype(int) - views[2].image.astype(int)).mean() > 10


def test_a_longer_town_begins_the_same() -> None:
    short, long = Town(23, seconds=12.0), Town(23, seconds=50.0)
    camera, mount = RIG.rig(160).cameras[0], RIG.rig().base_from_camera[0]
    for t in (0.0, 5.0, 11.0):
        np.testing.assert_allclose(short.drive.odom_from_base(t), long.drive.odom_from_base(t), atol=1e-6)
        a, b = (town.render(camera, town.drive.odom_from_base(t) @ mount, t) for town in (short, long))
        near = a.depth < 60.0
        np.testing.assert_allclose(a.depth[near], b.depth[near], rtol=1e-3)
        assert np.abs(a.image.astype(int) - b.image.astype(int))[near].mean() < 1.0


def test_first_pose_is_the_origin_and_z_is_the_normal() -> None:
    town = Town(24, seconds=12.0)
    pose = town.drive.odom_from_base(0.0)
    assert np.abs(pose[:3, 3]).max() < 1e-6
    for t in np.linspace(0.0, 12.0, 7):
        pose = town.drive.odom_from_base(float(t))
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
        slope = town.terrain.gradient(pose[:2, 3])
        np.testing.assert_allclose(pose[:2, 2] / pose[2, 2], -slope, atol=1e-12)
        assert abs(pose[2, 3] - float(town.ground_height(pose[:2, 3]))) < 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_the_drive_is_smooth_and_between_2_and_14_metres_a_second(seed: int) -> None:
    drive = Town(seed, seconds=60.0).drive
    assert drive.duration_s >= 60.0
    times = np.arange(0.0, 60.0, 0.05)
    places = np.stack([drive.odom_from_base(float(t))[:3, 3] for t in times])
    measured = np.linalg.norm(np.diff(places, axis=0), axis=1) / 0.05
    assert measured.min() > 1.6  # inside of a bend the lane is shorter than the centre line
    assert measured.max() < 14.6
    assert np.abs(np.diff(measured)).max() / 0.05 < 6.0
    assert drive.distance(60.0) == pytest.approx(np.sum([drive.speed(float(t)) * 0.05 for t in times]), rel=0.02)


@pytest.mark.parametrize("seed", range(6))
def test_nothing_comes_near_the_vehicle(seed: int) -> None:
    """No solid reaches into a box of 4.8 x 2 x 2.4 m around the vehicle, at any time of the drive."""
    town = Town(seed, seconds=60.0)
    nearest = np.inf
    for t in np.arange(0.0, 60.0, 0.25):
        pose = town.drive.odom_from_base(float(t))
        table = town.solids(float(t))
        low = table.centre[:, 2] - table.size[:, 2] - pose[2, 3] < 2.4
        table = table.take(low & (np.linalg.norm(table.centre[:, :2] - pose[:2, 3], axis=1) < 30.0))
        # Points around the vehicle's outline against every solid's footprint.
        x, y = np.meshgrid(np.linspace(-1, 1, 13) * VEHICLE_HALF[0], np.linspace(-1, 1, 7) * VEHICLE_HALF[1])
        outline = np.stack([x.ravel(), y.ravel()], -1) @ pose[:2, :2].T + pose[:2, 3]
        offset = outline[None] - table.centre[:, None, :2]
        cos, sin = np.cos(table.yaw)[:, None], np.sin(table.yaw)[:, None]
        along = np.abs(cos * offset[..., 0] + sin * offset[..., 1]) - table.size[:, None, 0]
        across = np.abs(cos * offset[..., 1] - sin * offset[..., 0]) - table.size[:, None, 1]
        gap = np.hypot(np.maximum(along, 0.0), np.maximum(across, 0.0))
        nearest = min(nearest, float(gap.min()))
    assert nearest > 0.25


@pytest.mark.parametrize("seed", range(3))
def test_moving_things_do_not_run_through_each_other(seed: int) -> None:
    """Vehicles keep apart from other vehicles, and from people on the road."""
    town = Town(seed, seconds=40.0)
    for t in np.arange(0.0, 40.0, 0.5):
        table = town.solids(float(t))
        low = table.take(table.centre[:, 2] - table.size[:, 2] < table.foot)
        cars = low.take(low.moving & np.isin(low.label, (Label.CAR, Label.TRUCK, Label.BUS)))
        others = low.take(np.isin(low.label, (Label.CAR, Label.TRUCK, Label.BUS, Label.PEDESTRIAN, Label.MANMADE)))
        inner = others.centre[None, :, :2] - cars.centre[:, None, :2]
        cos, sin = np.cos(cars.yaw)[:, None], np.sin(cars.yaw)[:, None]
        along = np.abs(cos * inner[..., 0] + sin * inner[..., 1]) - cars.size[:, None, 0]
        across = np.abs(cos * inner[..., 1] - sin * inner[..., 0]) - cars.size[:, None, 1]
        inside = (along < 0) & (across < 0) & (cars.actor[:, None] != others.actor[None])
        assert not inside.any()


def test_in_a_jam_the_oncoming_cars_stand() -> None:
    flowing, jam = Town(26, seconds=12.0), Town(26, seconds=12.0, jam=True)
    np.testing.assert_array_equal(flowing.static.centre, jam.static.centre)
    tables = [jam.traffic.solids(t) for t in (2.0, 8.0)]
    parked = [table.take(~table.moving & np.isin(table.label, (Label.CAR, Label.TRUCK))) for table in tables]
    assert len(np.unique(parked[0].actor)) > 5
    np.testing.assert_array_equal(parked[0].centre, parked[1].centre)
    assert not (~flowing.traffic.solids(2.0).moving & (flowing.traffic.solids(2.0).label == Label.CAR)).any()


@pytest.mark.parametrize("seed", [31, 32, 33])
def test_static_surfaces_keep_their_colour_from_frame_to_frame(seed: int) -> None:
    """Poses, camera offsets and textures fit together: warped by true depth, the next frame looks the same."""
    town = Town(seed, seconds=12.0)
    first, second = (render_frame(town, RIG.jittered(seed), stamp_of(t)) for t in (5.0, 5.1))
    warped_all, still_all = [], []
    for i, camera in enumerate(first.rig.cameras):
        here = first.odom_from_base @ first.rig.base_from_camera[i]
        there = second.odom_from_base @ second.rig.base_from_camera[i]
        a, b = first.views[i], second.views[i]
        keep = np.isin(a.classes, [*GROUND_LABELS, Label.MANMADE]) & (a.depth < 25.0)
        rays = camera.pixel_rays()
        points = rays / rays[..., 2:] * np.where(keep, a.depth, 1.0)[..., None]
        points = (points @ here[:3, :3].T + here[:3, 3] - there[:3, 3]) @ there[:3, :3]
        pixels, valid = camera.project(points)
        maps = pixels.astype(np.float32)
        depth = cv2.remap(b.depth, maps[..., 0], maps[..., 1], cv2.INTER_NEAREST)
        keep &= valid & (np.abs(depth - points[..., 2]) < 0.05 * points[..., 2])
        colours = cv2.remap(b.image, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR).astype(float)
        warped_all.append(np.abs(colours - a.image).mean(-1)[keep])
        still_all.append(np.abs(b.image.astype(float) - a.image).mean(-1)[keep])
    warped, still = np.median(np.concatenate(warped_all)), np.median(np.concatenate(still_all))
    assert warped < 8.0
    assert warped < 0.5 * still


def test_supersampling_keeps_depth_and_smooths_colour() -> None:
    town = Town(25, seconds=12.0)
    rig = RIG.rig(160)
    pose = town.drive.odom_from_base(3.0) @ rig.base_from_camera[0]
    plain, fine = town.render(rig.cameras[0], pose, 3.0), town.render(rig.cameras[0], pose, 3.0, supersample=2)
    np.testing.assert_array_equal(plain.depth, fine.depth)
    np.testing.assert_array_equal(plain.classes, fine.classes)
    blind = town.render(rig.cameras[0], pose, 3.0, colours=False)
    np.testing.assert_array_equal(plain.depth, blind.depth)
    assert not blind.image.any()
    assert 0.5 < np.abs(plain.image.astype(float) - fine.image).mean() < 20.0
    assert (
        np.abs(np.diff(fine.image.astype(float), axis=1)).mean()
        < np.abs(np.diff(plain.image.astype(float), axis=1)).mean()
    )


def test_stamps_and_times_are_inverse() -> None:
    for t in (0.0, 0.1, 12.345678, 59.9):
        assert time_of(stamp_of(t)) == pytest.approx(t, abs=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_ten_seeds_hold_what_a_drive_must_hold(seed: int) -> None:
    numbers = drive_statistics(seed, 10.0, RIG, samples=2)
    for width, height in numbers["images"].values():
        assert width >= 384
        assert height >= 216
    assert numbers["near_not_ground"] >= 0.30
    assert numbers["cars"] >= 12
    assert numbers["cars_moving"] >= 3
    assert numbers["pedestrians"] >= 5
    assert numbers["turn_deg"] >= 45.0
    assert numbers["slope_max"] <= 0.03
    assert numbers["speed_min"] >= 1.99
    assert numbers["speed_max"] <= 14.0
