# SPDX-License-Identifier: Apache-2.0
"""What a drive through a town holds, in numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from selfocc_ros.town.objects import GROUND_LABELS, Label
from selfocc_ros.town.rigs import RigSpec
from selfocc_ros.town.town import Town
from selfocc_ros.town.truth import render_frame, stamp_of

NEAR_M = 25.0
AROUND_M = 50.0
"""Things are counted that come this near to the vehicle during the drive, in metres."""


def drive_statistics(seed: int, seconds: float, rig_spec: RigSpec, samples: int = 5) -> dict[str, Any]:
    """Numbers of a drive: ``samples`` frames are rendered, poses and traffic are looked at every half second.

    Returns a mapping with ``images`` (name -> [width, height]), ``near_not_ground`` (share of the pixels under
    25 m that are not ground), ``sky``, counts of ``cars``, ``cars_moving``, ``pedestrians``, ``trucks``, ``trees``,
    ``buildings`` within 50 m of the vehicle, the sharpest ``turn_deg`` within 10 s, speeds, slope and the mood.
    """
    town = Town(seed, seconds=seconds)
    spec = rig_spec.jittered(seed)
    near = other = sky = pixels = 0
    for t in (np.arange(samples) + 0.5) * seconds / samples:
        for view in render_frame(town, spec, stamp_of(float(t)), colours=False).views:
            close = view.depth < NEAR_M
            near += int(close.sum())
            other += int((close & ~np.isin(view.classes, GROUND_LABELS)).sum())
            sky += int(np.isinf(view.depth).sum())
            pixels += view.depth.size
    seen: dict[Label, set[int]] = {label: set() for label in Label}
    moving: dict[Label, set[int]] = {label: set() for label in Label}
    times = np.arange(0.0, seconds + 1e-6, 0.5)
    poses = np.stack([town.drive.odom_from_base(float(t)) for t in times])
    for t, pose in zip(times, poses, strict=True):
        table = town.solids(float(t))
        around = np.linalg.norm(table.centre[:, :2] - pose[:2, 3], axis=1) < AROUND_M
        for label in seen:
            rows = around & (table.label == label)
            seen[label].update(table.actor[rows].tolist())
            moving[label].update(table.actor[rows & table.moving].tolist())
    heading = np.unwrap(np.arctan2(poses[:, 1, 0], poses[:, 0, 0]))
    window = min(20, len(heading) - 1)
    turn = max(
        (
            abs(float(heading[j] - heading[i]))
            for i in range(len(heading))
            for j in range(i + 1, min(i + window, len(heading) - 1) + 1)
        ),
        default=0.0,
    )
    speeds = [town.drive.speed(float(t)) for t in times]
    return {
        "seed": int(seed),
        "seconds": float(seconds),
        "rig": spec.name,
        "mood": town.mood.name,
        "images": {name: [camera.width, camera.height] for name, camera in spec.cameras},
        "near_not_ground": other / max(near, 1),
        "sky": sky / max(pixels, 1),
        "cars": len(seen[Label.CAR]),
        "cars_moving": len(moving[Label.CAR]),
        "pedestrians": len(seen[Label.PEDESTRIAN]),
        "pedestrians_moving": len(moving[Label.PEDESTRIAN]),
        "trucks": len(seen[Label.TRUCK] | seen[Label.BUS]),
        "trees": len(seen[Label.VEGETATION]),
        "buildings": len(seen[Label.MANMADE]),
        "turn_deg": float(np.degrees(turn)),
        "distance_m": town.drive.distance(seconds),
        "speed_min": min(speeds),
        "speed_max": max(speeds),
        "slope_max": float(np.abs(np.linalg.norm(poses[:, :2, 2], axis=1)).max()),
    }
