# SPDX-License-Identifier: Apache-2.0
"""The network: shapes, its start as flat ground, any rig, decision rule and checkpoints."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_networks import with_cells

from selfocc_ros.configuration import ConfigError, from_mapping
from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import BODY_FROM_OPTICAL, pose_from_rpy
from selfocc_ros.geometry.rig import CameraRig
from selfocc_ros.model.checkpoint import CheckpointError, load_checkpoint, read_info, save_checkpoint
from selfocc_ros.model.config import DecisionConfig, ModelConfig, load_model_config
from selfocc_ros.model.lifting import bin_distances, build_lookup
from selfocc_ros.model.rig_tensors import RigTensors
from selfocc_ros.model.selfocc import SelfOcc, build_model, decide, occupancy_score

SMALL = with_cells(40, 40, 10)


def small_config() -> ModelConfig:
    return from_mapping(ModelConfig, SMALL, "small")


def rig_of(yaws: list[float], width: int = 64, height: int = 48) -> CameraRig:
    matrix = np.array([[40.0, 0, width / 2 - 0.5], [0, 40.0, height / 2 - 0.5], [0, 0, 1]])
    poses = []
    for yaw in yaws:
        pose = pose_from_rpy((0.5 * np.cos(yaw), 0.5 * np.sin(yaw), 1.5), 0.0, 0.0, yaw)
        pose[:3, :3] = pose[:3, :3] @ BODY_FROM_OPTICAL
        poses.append(pose)
    names = tuple(f"c{i}" for i in range(len(yaws)))
    return CameraRig(names, tuple(CameraModel(width, height, matrix) for _ in yaws), np.stack(poses))


@pytest.fixture
def model() -> SelfOcc:
    torch.manual_seed(0)
    return build_model(small_config()).eval()


@pytest.mark.parametrize("count", [1, 3, 6])
def test_any_number_of_cameras_gives_the_same_field_shapes(model: SelfOcc, count: int) -> None:
    rig = RigTensors.from_rig(rig_of([i * 6.28 / count for i in range(count)]))
    scene = model.encode(torch.rand(count, 3, 48, 64) * 255, model.prepare(rig))
    assert scene.nodes.shape == (41, 41, 11)
    assert scene.colours.shape == (3, 21, 21, 5)
    assert scene.log_distances.shape == (count, 12, 12, 16)
    assert torch.allclose(scene.log_distances.exp().sum(dim=1), torch.ones(count, 12, 16), atol=1e-4)


def test_it_starts_as_flat_ground(model: SelfOcc) -> None:
    rig = RigTensors.from_rig(rig_of([0.0, 2.0, 4.0]))
    scene = model.encode(torch.rand(3, 3, 48, 64) * 255, model.prepare(rig))
    heights = torch.linspace(-1, 3, 11)
    assert (scene.nodes - heights.clamp(-1, 2)).abs().max() < 0.1


def test_the_tiny_network_fits_the_shipped_size() -> None:
    assert build_model(load_model_config("tiny")).parameter_count * 2 < 4e6


def test_order_of_cameras_does_not_matter(model: SelfOcc) -> None:
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    images, order = torch.rand(3, 3, 48, 64) * 255, torch.tensor([2, 0, 1])
    rig = RigTensors.from_rig(rig_of([0.0, 1.0, 4.0]))
    straight = model.encode(images, model.prepare(rig)).nodes
    shuffled = model.encode(images[order], model.prepare(rig.select(order))).nodes
    assert torch.allclose(straight, shuffled, atol=1e-3)


def test_lookup_reads_the_pixel_and_distance_at_which_the_voxel_lies() -> None:
    config = small_config().lifting
    rig = RigTensors.from_rig(rig_of([0.0, 1.5]))
    points = torch.rand(400, 3, generator=torch.Generator().manual_seed(0)) * 12 - torch.tensor([6.0, 6.0, 5.0])
    lookup = build_lookup(rig, points, config, (12, 16))
    pixels, _, inside = rig.project(points)
    assert int(inside.sum()) == len(lookup.voxels)
    v, u = torch.meshgrid(torch.arange(12.0), torch.arange(16.0), indexing="ij")
    table = torch.stack([u, v], dim=-1).reshape(1, -1, 2).expand(2, -1, -1).reshape(-1, 2)
    read = (table[lookup.pixels] * lookup.pixel_weights[..., None]).sum(dim=1)
    expected = torch.cat([pixels[c][inside[c]] for c in range(2)])
    expected = ((expected + 0.5) / 4 - 0.5).clamp(min=0)
    expected = torch.minimum(expected, torch.tensor([15.0, 11.0]))
    assert torch.allclose(read, expected, atol=1e-3)
    log_bins = torch.log(bin_distances(config))
    distance = (log_bins[lookup.bins % config.depth_bins] * lookup.bin_weights).sum(dim=1).exp()
    origin = rig.base_from_camera[:, :3, 3]
    truth = torch.cat([(points[inside[c]] - origin[c]).norm(dim=-1) for c in range(2)]).clamp(min=1.0)
    assert torch.allclose(distance, truth, rtol=1e-3)


def test_projection_and_rays_are_inverse() -> None:
    rig = RigTensors.from_rig(rig_of([0.3, 2.0]))
    pixels = torch.rand(2, 50, 2) * torch.tensor([63.0, 47.0])
    origins, directions, cosine = rig.rays(pixels)
    back, depth, inside = rig.project(origins + directions * 7.0)
    assert inside.all()
    assert torch.allclose(back, pixels, atol=1e-2)
    assert torch.allclose(depth, 7.0 * cosine, atol=1e-3)


def test_decision_weighs_the_lowest_corner_against_the_mean() -> None:
    nodes = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(2))
    corners = torch.stack(
        [nodes[x : x + 3, y : y + 4, z : z + 5] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dim=-1
    )
    for weight in (0.0, 0.3, 1.0):
        expected = weight * corners.amin(-1) + (1 - weight) * corners.mean(-1)
        assert torch.allclose(occupancy_score(nodes, weight), expected, atol=1e-6)


def test_each_layer_has_its_threshold_or_all_share_one() -> None:
    nodes = torch.zeros(3, 3, 4)
    assert torch.allclose(decide(nodes, DecisionConfig((0.2,), 1.0)), torch.full((2, 2, 3), -0.2))
    assert torch.allclose(decide(nodes, DecisionConfig((0.1, 0.2, 0.3), 0.0))[0, 0], -torch.tensor([0.1, 0.2, 0.3]))
    with pytest.raises(ConfigError, match="one for each of the 10 height layers, found 2"):
        build_model(dataclasses.replace(small_config(), decision=DecisionConfig((0.1, 0.2))))


def test_checkpoint_gives_the_same_field_back(model: SelfOcc, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    config = dataclasses.replace(model.config, decision=DecisionConfig((0.15,), 0.25))
    save_checkpoint(path, model, {"command": "test"}, {"iou": 0.5}, config)
    loaded, info = load_checkpoint(path)
    assert info.config == config
    assert info.parameters == model.parameter_count
    assert info.provenance == {"command": "test"}
    assert info.scores == {"iou": 0.5}
    rig = RigTensors.from_rig(rig_of([0.0]))
    images = torch.rand(1, 3, 48, 64) * 255
    assert torch.equal(loaded.encode(images, loaded.prepare(rig)).nodes, model.encode(images, model.prepare(rig)).nodes)


def test_half_size_checkpoint_is_close(model: SelfOcc, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "half.safetensors", model, {}, half=True)
    loaded, _ = load_checkpoint(tmp_path / "half.safetensors")
    assert all(
        torch.allclose(a, b, atol=1e-3, rtol=1e-3) for a, b in zip(model.parameters(), loaded.parameters(), strict=True)
    )


def test_foreign_damaged_and_missing_checkpoints_are_refused_in_one_sentence(model: SelfOcc, tmp_path: Path) -> None:
    good = tmp_path / "good.safetensors"
    save_checkpoint(good, model, {})
    cases = {"missing": "does not exist"}
    (tmp_path / "damaged.safetensors").write_bytes(good.read_bytes()[:5000])
    cases["damaged"] = "damaged"
    save_file({"a": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    cases["foreign"] = "not written by selfocc_ros"
    (tmp_path / "text.safetensors").write_text("hello")
    cases["text"] = "not a safetensors file"
    state, metadata = load_file(good), _metadata(good)
    name = next(iter(state))
    save_file({k: v for k, v in state.items() if k != name}, tmp_path / "lacking.safetensors", metadata)
    cases["lacking"] = "does not fit its own configuration"
    save_file({**state, name: state[name] * float("nan")}, tmp_path / "nan.safetensors", metadata)
    cases["nan"] = "not finite"
    save_file(state, tmp_path / "strange.safetensors", {**metadata, "config": json.dumps({"name": "x", "colour": 1})})
    cases["strange"] = "unknown key 'colour'"
    for stem, sentence in cases.items():
        with pytest.raises(CheckpointError, match=sentence) as caught:
            load_checkpoint(tmp_path / f"{stem}.safetensors")
        assert "\n" not in str(caught.value)


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as stored:
        return dict(stored.metadata())


def test_unknown_keys_and_wrong_types_name_the_key() -> None:
    with pytest.raises(ConfigError, match=r"backbone: unknown key 'neckk' \(did you mean 'neck'\?\)"):
        from_mapping(ModelConfig, {**SMALL, "backbone": {"neckk": 3}}, "small")
    with pytest.raises(ConfigError, match="name' is missing"):
        from_mapping(ModelConfig, {}, "small")
    with pytest.raises(ConfigError, match="input: width must be int"):
        from_mapping(ModelConfig, {**SMALL, "input": {"width": "wide"}}, "small")
    with pytest.raises(ConfigError, match="unknown family 'slow'"):
        build_model(from_mapping(ModelConfig, {**SMALL, "family": "slow"}, "small"))
    with pytest.raises(ConfigError, match=r"known: .*tiny"):
        load_model_config("tinny")


def test_info_of_a_checkpoint_needs_no_network(model: SelfOcc, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "m.safetensors", model, {"steps": 3})
    assert read_info(tmp_path / "m.safetensors").provenance["steps"] == 3
