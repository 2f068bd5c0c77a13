# SPDX-License-Identifier: Apache-2.0
"""Poses from the OXTS inertial and GPS unit of KITTI's raw drives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.poses import interpolate, pose_from_rpy

FloatArray = NDArray[np.float64]

EARTH_RADIUS_M = 6378137.0
"""Of the sphere that the Mercator projection is of."""

VALUES = 30
"""Numbers per record; the first are latitude and longitude (degrees), altitude (m), roll, pitch, yaw (rad)."""


def poses_from_oxts(records: FloatArray) -> FloatArray:
    """Poses (N,4,4) of the unit (x forward, y left, z up) in a frame whose x is east, y north and z up.

    Mercator projection, scaled to be true at the first record's latitude (Geiger et al. 2013, section 3;
    convertOxtsToPose of the devkit): x = s r lon, y = s r ln tan(pi/4 + lat/2), s = cos(lat_0). The rotation is
    Rz(yaw) Ry(pitch) Rx(roll), yaw 0 being east.

    Args:
        records: (N, 6 or more), see VALUES.
    """
    latitude, longitude = np.radians(records[:, 0]), np.radians(records[:, 1])
    scaled_radius = np.cos(latitude[0]) * EARTH_RADIUS_M
    x = scaled_radius * longitude
    y = scaled_radius * np.log(np.tan(np.pi / 4.0 + latitude / 2.0))
    positions = np.stack([x, y, records[:, 2]], axis=-1)
    return np.stack([pose_from_rpy(at, *angles) for at, angles in zip(positions, records[:, 3:6], strict=True)])


def cover(stamps_ns: tuple[int, ...], poses: FloatArray, first_ns: int, last_ns: int) -> tuple[list[int], FloatArray]:
    """Poses (N,4,4) and their stamps, with one more before or after where they do not reach from first to last.

    The unit's records lie some milliseconds beside the images', so that the outermost images would have no pose.
    Motion goes on as between the two outermost poses, for at most the time between these.
    """
    stamps, covered = list(stamps_ns), list(poses)
    if len(stamps) < 2:
        return stamps, poses
    for edge, other, wanted_ns, at in ((0, 1, first_ns, 0), (-1, -2, last_ns, len(stamps) + 1)):
        step = stamps[edge] - stamps[other]
        beyond = (wanted_ns - stamps[edge]) / step
        if 0.0 < beyond <= 1.0:
            covered.insert(at, interpolate(covered[other], covered[edge], 1.0 + beyond))
            stamps.insert(at, wanted_ns)
    return stamps, np.stack(covered)
