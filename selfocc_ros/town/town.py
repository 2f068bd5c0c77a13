# SPDX-License-Identifier: Apache-2.0
"""One town: a street, its traffic, its light and a drive through it, all from one seed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_ros.town import occupancy as truth
from selfocc_ros.town.drive import Drive
from selfocc_ros.town.ground_paint import GroundStyle
from selfocc_ros.town.layout import Ground, crossings, static_things
from selfocc_ros.town.moods import random_mood
from selfocc_ros.town.noise import Noise
from selfocc_ros.town.objects import Solids
from selfocc_ros.town.raycast import GroundMap, TiledCameras, cast_ground, cast_solids, pack, turn
from selfocc_ros.town.route import CrossSection, RoadMap, Route
from selfocc_ros.town.shading import Shader, first_hits
from selfocc_ros.town.shadows import Shadows
from selfocc_ros.town.terrain import Terrain
from selfocc_ros.town.traffic import Traffic

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """What one camera sees: image (H, W, 3) uint8 RGB, depth (H, W) float32 along the optical axis in metres
    (inf for sky) and classes (H, W) uint8 of Occ3D (17 for sky), all through pixel centres.
    """

    image: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.float32]
    classes: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ViewTensors:
    """A view still on the device: image (H, W, 3) float32 in 0..1, depth (H, W) float32, classes (H, W) uint8."""

    image: Tensor
    depth: Tensor
    classes: Tensor


class Town:
    """A procedural town. The same seed gives the same town, up to rounding on any device.

    Args:
        seed: which town; any non-negative integer.
        device: where rays are cast.
        seconds: the least duration of the drive. The beginning of a drive does not depend on it.
        jam: the oncoming cars stand in a queue instead of driving.
    """

    def __init__(self, seed: int, device: str | torch.device = "cpu", seconds: float = 60.0, jam: bool = False) -> None:
        self.seed = int(seed)
        self.device = torch.device(device)

        def stream(number: int) -> np.random.Generator:
            return np.random.default_rng([self.seed, number])

        self.section = CrossSection.random(stream(0))
        self.terrain = Terrain.random(stream(2))
        length = 7.0 * seconds
        while True:
            self.route = Route(stream(1), self.section, length)
            self.drive = Drive(stream(3), self.route, self.terrain)
            if self.drive.duration_s >= seconds:
                break
            length *= 1.2
        self.ground = Ground(self.terrain, self.route, RoadMap.of(self.route))
        self.zebras = crossings(stream(4), self.route)
        self.static: Solids = static_things(self.seed, self.ground, self.zebras)
        first_actor = int(self.static.actor.max()) + 1
        self.traffic = Traffic(self.seed, self.ground, self.drive, self.zebras, first_actor, jam)
        self.mood = random_mood(stream(5))
        self._noise = Noise(self.device)
        self._ground_map = GroundMap.of(self.terrain, self.ground.road, self.section.kerb, self.device)
        style = GroundStyle.random(stream(6), self.section, self.zebras, self.device)
        self._shader = Shader(
            self._noise, style, self.mood, self.seed, Shadows.of(self.static, self.ground.road, self.mood, self.device)
        )
        self._cameras = TiledCameras(self.device)

    def solids(self, t_s: float) -> Solids:
        """Everything that stands or moves in the town at a time in seconds."""
        return Solids.join([self.static, self.traffic.solids(t_s)])

    def ground_height(self, points_xy: npt.ArrayLike) -> Array:
        """True height (...,) of the ground, pavements included, under points (..., 2) of odom, in metres."""
        return self.ground.height(points_xy)

    def occupancy(self, grid: VoxelGrid, odom_from_base: npt.ArrayLike, t_s: float) -> npt.NDArray[np.uint8]:
        """Occ3D classes (X, Y, Z) of every voxel that anything solid overlaps at a time; 17 elsewhere.

        The grid is fixed to the frame ``odom_from_base`` (4, 4).
        """
        pose = np.asarray(odom_from_base, dtype=np.float64)
        return truth.occupancy(grid, pose, self.ground, self.solids(t_s))

    def above_ground(self, grid: VoxelGrid, odom_from_base: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Voxels (X, Y, Z) whose lower face is more than 0.3 m above the true ground under its centre."""
        return truth.above_ground(grid, np.asarray(odom_from_base, dtype=np.float64), self.ground)

    @torch.no_grad()
    def render_tensors(
        self,
        camera: CameraModel,
        odom_from_camera: npt.ArrayLike,
        t_s: float,
        supersample: int = 1,
        colours: bool = True,
    ) -> ViewTensors:
        """Render one view and leave it on the device; see ``render``."""
        if supersample > 1 and colours:
            fine = camera.resized(camera.width * supersample, camera.height * supersample)
            image = self._cast(fine, odom_from_camera, t_s, colours=True).image
            image = image.reshape(camera.height, supersample, camera.width, supersample, 3).mean(dim=(1, 3))
            plain = self._cast(camera, odom_from_camera, t_s, colours=False)
            return ViewTensors(image, plain.depth, plain.classes)
        return self._cast(camera, odom_from_camera, t_s, colours)

    def render(
        self,
        camera: CameraModel,
        odom_from_camera: npt.ArrayLike,
        t_s: float,
        supersample: int = 1,
        colours: bool = True,
    ) -> View:
        """What a camera sees.

        Args:
            camera: any camera model; distorted images are rendered distorted.
            odom_from_camera: (4, 4) pose of the optical frame at ``t_s``.
            t_s: seconds since the start of the drive.
            supersample: rays per pixel along each axis for colour; depth and class come from the centre ray.
            colours: False leaves the image black and takes less than half the time.
        """
        view = self.render_tensors(camera, odom_from_camera, t_s, supersample, colours)
        image = (view.image.clamp(0.0, 1.0) * 255.0 + 0.5).to(torch.uint8)
        return View(image.cpu().numpy(), view.depth.cpu().numpy(), view.classes.cpu().numpy())

    def _cast(self, camera: CameraModel, odom_from_camera: npt.ArrayLike, t_s: float, colours: bool) -> ViewTensors:
        pose = np.asarray(odom_from_camera, dtype=np.float64)
        tiled = self._cameras.of(camera)
        rotation = pose[:3, :3]
        directions = turn(tiled.directions, rotation)
        flat = directions.reshape(-1, 3)
        origin = pose[:3, 3]
        ground = cast_ground(self._ground_map, origin, flat)
        table = self.solids(t_s)
        packed, rows = pack(table, origin, rotation @ tiled.axis, tiled.half_angle, self.device)
        planes = turn(tiled.planes, rotation)
        shape = directions.shape[:2]
        length, number = cast_solids(directions, planes, packed, ground[0].reshape(shape))
        hits = first_hits(flat, length.reshape(-1), number.reshape(-1), ground, tiled.angle.reshape(-1))
        near = table.take(rows)
        depth = (hits.length * tiled.directions.reshape(-1, 3)[:, 2])[tiled.order]
        classes = self._shader.labels(hits, near)[tiled.order]
        size = (camera.height, camera.width)
        image = torch.zeros(*size, 3, device=self.device)
        if colours:
            image = self._shader.colours(hits, near, packed, origin)[tiled.order].reshape(*size, 3)
        depth = torch.where(torch.isfinite(hits.length[tiled.order]), depth, math.inf)
        return ViewTensors(image, depth.reshape(size), classes.reshape(size))
