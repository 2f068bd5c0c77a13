# SPDX-License-Identifier: Apache-2.0
"""What the parts of the published networks, very small, make of seeded numbers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from seeded import normal, parameter, picture, seed, uniform
from torch import Tensor

from selfocc_ros.model.config import parse_model_config
from selfocc_ros.model.official import assign_official
from selfocc_ros.model.planes.config import PlaneConfig
from selfocc_ros.model.planes.encoder import PlaneEncoder
from selfocc_ros.model.planes.field import PillarField, Planes, TriplaneField
from selfocc_ros.model.planes.field_grid import FieldGrid
from selfocc_ros.model.planes.fpn import FeaturePyramid
from selfocc_ros.model.planes.geometry import BEV, TPV, PlaneGrid
from selfocc_ros.model.planes.names import official_name
from selfocc_ros.model.planes.neus import render_neus
from selfocc_ros.model.planes.queries import PlaneQueries
from selfocc_ros.model.planes.rays import pixel_grid, pixel_rays
from selfocc_ros.model.planes.selfocc import PlaneSelfOcc
from selfocc_ros.model.rig_tensors import RigTensors
from selfocc_ros.sensing.official_preprocess import KITTI_MEAN, KITTI_STD, OfficialInput
from selfocc_training.losses.field_terms import eikonal_loss, field_hessian

Outputs = dict[str, Tensor]

LOWER, UPPER, NODES = (-8.0, -6.0, -1.0), (8.0, 6.0, 3.0), (7, 6, 5)
DIM = 12
HEIGHT, WIDTH = 32, 48
FAINT = 0.05
"""Opacity below which an expected depth is mostly rounding."""


def cameras() -> RigTensors:
    """One camera ahead and one to the left, of different focal lengths, 1.4 m above the road."""
    ahead = [[0.0, 0, 1, 0.5], [-1, 0, 0, 0], [0, -1, 0, 1.4], [0, 0, 0, 1]]
    left = [[1.0, 0, 0, 0], [0, 0.1, 0.994987437, 0.4], [0, -0.994987437, 0.1, 1.4], [0, 0, 0, 1]]
    intrinsics = torch.tensor([[31.0, 32.0, 23.3, 14.6], [25.0, 26.0, 24.1, 16.2]])
    return RigTensors(intrinsics, torch.tensor([[WIDTH, HEIGHT]] * 2).float(), torch.tensor([ahead, left]))


def images_from_box() -> Tensor:
    """(2, 4, 4) of ``cameras``, which look into the box's own frame here."""
    rig = cameras()
    matrices = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    matrices[:, [0, 1], [0, 1]] = rig.intrinsics[:, :2].double()
    matrices[:, :2, 2] = rig.intrinsics[:, 2:].double()
    return matrices @ torch.linalg.inv(rig.base_from_camera.double())


def encoder(family: str, official_quirks: bool = True) -> Outputs:
    """Lifter and two layers of the encoder, every layer's tokens."""
    grid, planes = PlaneGrid(LOWER, UPPER, NODES), TPV if family == "tpv" else BEV
    lifter = PlaneQueries(grid, planes, DIM)
    network = PlaneEncoder(
        grid, planes, 2, dim=DIM, heads=3, layers=2, hidden=16, anchors=(6, 4, 3), self_points=4,
        official_quirks=official_quirks,
    ).eval()  # fmt: skip
    seed(lifter)
    seed(network)
    maps = [normal(f"map{level}", 2, DIM, HEIGHT >> level, WIDTH >> level) for level in (2, 3, 4, 5)]
    ratios = torch.tensor([[1.0, 1.0], [0.95, 0.9]])
    cache = network.prepare(images_from_box(), (HEIGHT, WIDTH), ratios, torch.tensor([1, 0]))
    found = {f"seen.{name}": hits.counts for name, hits in cache.planes.items()}
    network.layers[0].register_forward_hook(lambda _layer, _inputs, output: found.update(layer0=output))
    with torch.no_grad():
        found["layer1"] = torch.cat(list(network(lifter(), maps, cache).values()))
    return found


def pyramid() -> Outputs:
    """Feature pyramid on maps of odd sizes."""
    channels = (6, 8, 10, 12)
    network = FeaturePyramid(channels, 8)
    seed(network)
    sizes = [(9, 13), (5, 7), (3, 4), (2, 2)]
    maps = [normal(f"c{i}", 2, width, *size) for i, (width, size) in enumerate(zip(channels, sizes, strict=True))]
    with torch.no_grad():
        return {f"p{i}": found for i, found in enumerate(network(maps))}


def field(family: str) -> Outputs:
    """Planes to a grid of distance, colour and classes, with gradients of all that is learnt."""
    features = 5
    network: TriplaneField | PillarField
    if family == "tpv":
        network = TriplaneField(DIM, features, LOWER, UPPER, slab_nodes=60)
    else:
        network = PillarField(DIM, NODES[2], features, LOWER, UPPER)
    seed(network)
    x, y, z = NODES
    counts = {"hw": y * x, "zh": z * y, "wz": x * z} if family == "tpv" else {"hw": y * x}
    tokens = {name: normal(f"tokens.{name}", count, DIM).requires_grad_() for name, count in counts.items()}
    grid = network(Planes.from_tokens(NODES, **tokens))
    assert grid.features is not None
    compact, central = (field_hessian(grid.sdf, grid.spacing, compact) for compact in (True, False))
    probe = 10 * eikonal_loss(grid.gradient.flatten(1).T) + compact.abs().mean() + central.abs().mean()
    probe = probe + (grid.features * normal("coefficients", *grid.features.shape)).mean()
    found = {"values": torch.cat([grid.sdf[None], grid.features]), "gradient": grid.gradient, "hessian": compact}
    learnt = {**tokens, **{name: value for name, value in network.named_parameters() if "variance" not in name}}
    gradients = torch.autograd.grad(probe, list(learnt.values()))
    return {**found, "probe": probe, **{f"d.{name}": g for name, g in zip(learnt, gradients, strict=True)}}


def rendering(anneal: float) -> Outputs:
    """NeuS on a field of a road with bumps; stratified, annealed and with gradients as in training where asked for."""
    values = 0.5 * normal("bumps", 6, *NODES)
    values[0] += torch.linspace(LOWER[2], UPPER[2], NODES[2])
    values.requires_grad_()
    sharpness = torch.tensor([4.0], requires_grad=True)
    grid = FieldGrid.from_values(values, torch.tensor(LOWER), torch.tensor(UPPER))
    training = anneal < 1
    pixels = pixel_grid((HEIGHT, WIDTH), 3, 4, uniform("pixels", 4) if training else None)
    rays = pixel_rays(torch.linalg.inv(images_from_box()).float(), pixels)
    count = len(rays.origins)
    found = render_neus(
        grid, rays.origins, rays.directions, rays.norms, sharpness, 12, anneal,
        jitter=uniform("jitter", count, 1) if training else None, background=uniform("background", count, 3),
    )  # fmt: skip
    assert found.colour is not None
    assert found.classes is not None
    solid = found.opacity > FAINT
    depth, normals = found.depth * solid, found.normal * solid[:, None]
    probe = (depth * normal("d", count)).mean() + (found.colour * normal("c", count, 3)).sum()
    probe = probe + (found.classes * normal("k", count, 2)).sum() + (found.weights * normal("w", count, 12)).sum()
    gradients = torch.autograd.grad(probe, (values, sharpness))
    return {
        "pixels": pixels, "edges": found.edges, "sdf": found.sdf, "alphas": found.alphas, "weights": found.weights,
        "transmittance": found.transmittance, "depth": depth, "normal": normals, "colour": found.colour,
        "classes": found.classes, "exit_depth": found.exit_depth, "d.values": gradients[0], "d.sharpness": gradients[1],
    }  # fmt: skip


def preprocessing(camera_width: int | None) -> Outputs:
    """Network input of one picture, as it is or scaled to the width of the camera trained for."""
    settings = OfficialInput(
        (50, 22), scale=0.6, pad_to=(32, 16), pad_ratio=(0.64, 0.727), mean=KITTI_MEAN, std=KITTI_STD,
        camera_width=camera_width,
    )  # fmt: skip
    image = picture("picture", 3, 36, 64).permute(1, 2, 0).contiguous().numpy()
    return {"input": torch.from_numpy(settings.prepare(image)), "filled": torch.tensor(settings.focal_ratios)}


def small(family: str, quirks: bool) -> PlaneConfig:
    """A whole network whose box is turned and moved against the vehicle."""
    config = parse_model_config(
        {
            "name": "small",
            "family": family,
            "input": {"width": WIDTH, "height": HEIGHT, "crop": [80, 60], "camera_width": 80, "scale": 0.5},
            "backbone": {"depths": [1, 1, 1, 1], "channels": [16, 16, 16, 20], "weights": ""},
            "planes": {"lower": [-6, -4, -2], "upper": [6, 10, 2], "nodes": [7, 8, 5],
                       "axes": "right_forward_up", "origin": [0.5, 0.0, 1.5]},
            "encoder": {"layers": 2, "channels": DIM, "heads": 3, "feedforward": 16, "cross_points": [4, 6, 3],
                        "self_points": 3},
            "head": {"classes": [4, 11, 0]},
            "official_quirks": dict.fromkeys(("transposed_references", "corner_pixels", "lost_ground"), quirks),
            "occupancy": {"lower": [-3, -5, 0], "upper": [9, 5, 3], "cells": [6, 5, 4]},
        },
        "small",
    )  # fmt: skip
    assert isinstance(config, PlaneConfig)
    return config


def whole(family: str, quirks: bool) -> Outputs:
    """Images to occupancy, by way of an official state dict."""
    network = PlaneSelfOcc(small(family, quirks)).eval()
    names = {official_name(name): value for name, value in network.state_dict().items()}
    assign_official(network, {name: parameter(name, value) for name, value in names.items()}, "the seeded state")
    rig = cameras()
    rig = RigTensors(rig.intrinsics, torch.tensor([[40.0, 30.0]] * 2), rig.base_from_camera)
    images = torch.zeros(2, 3, HEIGHT, WIDTH)
    images[:, :, :30, :40] = picture("view", 2, 3, 30, 40).float()
    with torch.no_grad():
        scene = network.encode(images, network.prepare(rig))
        occupancy = network.decide(scene)
        points = network.corners.reshape(-1, 3)[::7]
        return {
            "sdf": scene.grid.sdf,
            "features": torch.zeros(0) if scene.grid.features is None else scene.grid.features,
            "gradient": scene.grid.gradient,
            "occupancy": occupancy,
            "logits": scene.class_logits(points),
            "colour": scene.colour(points),
            "sharpness": scene.sharpness,
        }


NETWORKS: dict[str, Callable[[], Any]] = {
    "tpv_encoder": functools.partial(encoder, "tpv"),
    "bev_encoder": functools.partial(encoder, "bev"),
    "bev_encoder_corrected": functools.partial(encoder, "bev", official_quirks=False),
    "pyramid": pyramid,
    "tpv_field": functools.partial(field, "tpv"),
    "bev_field": functools.partial(field, "bev"),
    "rendering": functools.partial(rendering, 1.0),
    "rendering_in_training": functools.partial(rendering, 0.3),
    "preprocessing": functools.partial(preprocessing, None),
    "preprocessing_of_another_camera": functools.partial(preprocessing, 56),
    "tpv": functools.partial(whole, "tpv", quirks=True),
    "bev": functools.partial(whole, "bev", quirks=True),
    "tpv_corrected": functools.partial(whole, "tpv", quirks=False),
    "bev_corrected": functools.partial(whole, "bev", quirks=False),
}
"""By name: computes its outputs, whose names begin with ``d.`` where they are gradients."""
