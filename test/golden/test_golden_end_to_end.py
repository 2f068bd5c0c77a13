# SPDX-License-Identifier: Apache-2.0
"""Images to occupancy as the official networks do it: a reduced official checkpoint, imported and run."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from selfocc_ros.model.config import load_model_config
from selfocc_ros.model.official import assign_official
from selfocc_ros.model.planes.config import PlaneConfig
from selfocc_ros.model.planes.field_grid import lattice
from selfocc_ros.model.planes.names import official_name
from selfocc_ros.model.planes.neus import render_neus
from selfocc_ros.model.planes.rays import pixel_grid, pixel_rays
from selfocc_ros.model.planes.scene import PlaneScene
from selfocc_ros.model.planes.selfocc import PlaneCache, PlaneSelfOcc
from selfocc_ros.model.rig_tensors import RigTensors

FILES = {"nuscenes_tpv": "e2e_nuscenes_occ_reduced", "nuscenes_bev": "e2e_nuscenes_occ_bev_reduced"}


def reduced(name: str) -> PlaneConfig:
    """The configuration of the recordings: small planes, small images of the full crop."""
    config = load_model_config(name)
    assert isinstance(config, PlaneConfig)
    planes = dataclasses.replace(config.planes, lower=(-30.0, -40.0, -1.0), upper=(30.0, 40.0, 5.4), nodes=(25, 33, 9))
    return dataclasses.replace(
        config,
        input=dataclasses.replace(config.input, width=200, height=96, scale=0.125),
        planes=planes,
        renderer=dataclasses.replace(config.renderer, samples=64),
    )


def official_values(name: str, default: Tensor) -> Tensor:
    """The recordings' rule for weights, which are not stored."""
    shape = tuple(default.shape)
    state = np.random.RandomState(zlib.crc32(name.encode("ascii")))
    r = state.standard_normal(int(np.prod(shape))).reshape(shape)
    if name.endswith("num_batches_tracked"):
        return torch.zeros_like(default)
    if name.endswith("running_var"):
        r = 1 + 0.3 * np.abs(r)
    elif name.endswith("running_mean"):
        r = 0.1 * r
    elif name.endswith("deviation_network.variance"):
        r = np.full(shape, 0.17)
    elif name.startswith("head.model.") and "density_net" not in name:
        return default
    elif name.startswith("lifter.") or name.endswith(("_embeds", "sampling_offsets.bias")):
        pass
    elif name.endswith(".bias"):
        r = 0.1 * r
    elif len(shape) == 1:
        r = 1 + 0.1 * r
    else:
        if name.endswith("density_net.3.weight"):
            r = r - r.mean(axis=1, keepdims=True)
        factor = 0.3 if name.endswith("output_proj.weight") else 3.0 if "density_net" in name else 1.0
        r = factor * r / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(r)).float()


def rig_of(lidar2img: Tensor, scale: float) -> RigTensors:
    """Pinhole cameras of box-to-pixel matrices of the full crop, in pixels of the scaled one."""
    intrinsics, poses = [], []
    for matrix in lidar2img.double().numpy():
        # K R by RQ decomposition: QR of the matrix turned upside down.
        flip = np.eye(3)[::-1]
        q, r = np.linalg.qr((flip @ matrix[:3, :3]).T)
        k, rotation = flip @ r.T @ flip, flip @ q.T
        signs = np.diag(np.sign(np.diag(k)))
        k, rotation = k @ signs, signs @ rotation
        assert abs(k[0, 1]) < 1e-3
        assert abs(k[2, 2] - 1) < 1e-5
        camera_from_box = np.eye(4)
        camera_from_box[:3, :3] = rotation
        camera_from_box[:3, 3] = np.linalg.solve(k, matrix[:3, 3])
        poses.append(np.linalg.inv(camera_from_box))
        u, v = k[:2, 2]
        intrinsics.append([scale * k[0, 0], scale * k[1, 1], scale * (u + 0.5) - 0.5, scale * (v + 0.5) - 0.5])
    sizes = torch.tensor([[200.0, 96.0]]).expand(len(poses), 2)
    return RigTensors(torch.tensor(np.array(intrinsics)), sizes, torch.tensor(np.array(poses)))


@dataclass(frozen=True)
class Run:
    """One reduced network and what it made of the recorded input."""

    recorded: Any
    model: PlaneSelfOcc
    cache: PlaneCache
    backbone: tuple[Tensor, ...]
    pyramid: list[Tensor]
    tokens: dict[str, Tensor]
    scene: PlaneScene


@pytest.fixture(scope="module", params=FILES)
def run(request: pytest.FixtureRequest, golden: Callable[[str], Any], golden_folder: Path) -> Run:
    recorded = golden(FILES[request.param])
    torch.manual_seed(0)
    model = PlaneSelfOcc(reduced(request.param)).eval()
    state = {official_name(name): value for name, value in model.state_dict().items()}
    listed = json.loads((golden_folder / "checkpoint_names.json").read_text())
    full = listed["nuscenes_occ" if request.param == "nuscenes_tpv" else "nuscenes_occ_bev"]["state_dict"]
    assert set(full) - set(state) == {"head.model.device_indicator_param"}
    assign_official(model, {name: official_values(name, value) for name, value in state.items()}, "reduced")
    images = np.random.RandomState(1234).standard_normal((1, 6, 3, 96, 200)).astype(np.float32)[0]
    with torch.inference_mode():
        cache = model.prepare(rig_of(recorded["in.lidar2img"], model.config.input.scale))
        normalised = torch.from_numpy(images)
        maps = model.backbone(normalised)
        pyramid = model.neck(maps)
        tokens = model.encoder(model.lifter(), pyramid, cache.encoder)
        scene = model.encode(normalised * model.std + model.mean, cache)
    return Run(recorded, model, cache, maps, pyramid, tokens, scene)


def test_backbone_and_pyramid(run: Run, close: Callable[..., None]) -> None:
    for level, found in zip(range(2, 6), run.backbone, strict=True):
        close(found[0, :8], run.recorded[f"out.backbone_c{level}_cam0_first8ch"], 1e-4, what=f"c{level}")
        mean = found.abs().mean(dim=(1, 2, 3))
        close(mean, run.recorded[f"out.backbone_c{level}_mean_abs_per_cam"], 1e-4, what=f"mean of c{level}")
    for level, found in zip(range(2, 6), run.pyramid, strict=True):
        close(found[3], run.recorded[f"out.fpn_p{level}_cam3"], 1e-4, what=f"p{level}")


def test_planes(run: Run, close: Callable[..., None]) -> None:
    expected = run.recorded.under("out.plane.")
    assert set(run.tokens) == set(expected)
    for name, tokens in run.tokens.items():
        close(tokens, expected[name], what=name)


def test_grid_from_images_of_0_to_255(run: Run, close: Callable[..., None]) -> None:
    grid = run.scene.grid
    assert grid.features is not None
    close(grid.sdf.permute(1, 0, 2), run.recorded["out.grid_sdf_hwd"], 1e-3, 0.0, what="sdf")
    close(grid.features[:3].permute(0, 2, 1, 3), run.recorded["out.grid_rgb_hwd"], 1e-3, 0.0, what="rgb")
    channels = torch.cat([grid.sdf[None], grid.features]).flatten(1)
    close(channels.mean(dim=1), run.recorded["out.grid_channel_mean"], 1e-3, 0.0, what="mean")
    close(channels.std(dim=1), run.recorded["out.grid_channel_std"], 1e-3, 0.0, what="std")


def test_rendering(run: Run, close: Callable[..., None]) -> None:
    pixels = pixel_grid((768, 1600), 6, 10)
    close(pixels, run.recorded["out.rays_uv"], what="rays")
    rays = pixel_rays(run.recorded["in.img2ego"], pixels)
    with torch.inference_mode():
        found = render_neus(
            run.scene.grid, rays.origins, rays.directions, rays.norms, run.scene.sharpness, 64,
            background=run.recorded["out.bg_rgb"],
        )  # fmt: skip
    assert found.colour is not None
    assert found.classes is not None
    solid = (found.opacity > 0.05).reshape(6, 60)
    assert int(solid.sum()) > 40
    close(found.depth.reshape(6, 60)[solid], run.recorded["out.depth_z"][solid], 1e-3, 2e-3, what="depth")
    close(found.colour.clamp(0, 1).reshape(6, 60, 3), run.recorded["out.rgb"], 1e-3, 0.0, what="colour")
    close(found.classes.reshape(6, 60, -1), run.recorded["out.sem"], 1e-3, 0.0, what="classes")


def test_occupancy(run: Run, close: Callable[..., None]) -> None:
    box = run.model.config.planes
    points = lattice(box.lower, box.upper, 1.6)
    with torch.inference_mode():
        sdf, logits = run.scene.sdf(points), run.scene.class_logits(points)
    close(sdf.permute(1, 0, 2), run.recorded["out.occ_sdf_yxz"], 1e-3, 0.0, what="sdf")
    assert torch.equal(logits.argmax(dim=-1).permute(1, 0, 2).int(), run.recorded["out.occ_sem_argmax"])


def test_geometry_is_told_in_pixels_of_the_crop(run: Run) -> None:
    """The way through our rig, in pixels of the network's input, gives the recorded matrices back."""
    expected = run.recorded["in.lidar2img"]
    exact = run.model.encoder.prepare(expected, (768, 1600))
    for name, hits in run.cache.encoder.planes.items():
        assert torch.equal(hits.counts, exact.planes[name].counts)
    assert run.cache.encoder.cameras.tolist() == [0, 1, 2, 3, 4, 5]
