# SPDX-License-Identifier: Apache-2.0
"""`selfocc import`: an official checkpoint becomes one of ours, or is refused with what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from selfocc_ros import cli
from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.rig import CameraRig
from selfocc_ros.geometry.voxels import OCCUPIED, UNKNOWN
from selfocc_ros.model.checkpoint import CheckpointError, load_checkpoint
from selfocc_ros.model.config import load_model_config
from selfocc_ros.model.official import assign_official
from selfocc_ros.model.planes.config import PlaneConfig
from selfocc_ros.model.planes.names import official_name
from selfocc_ros.model.planes.selfocc import PlaneSelfOcc
from selfocc_ros.model.rig_tensors import RigTensors
from selfocc_ros.runtime.predictor import Predictor
from selfocc_ros.sensing.frames import CameraFrame, RigSample

SMALL: dict[str, Any] = {
    "name": "small",
    "family": "tpv",
    "input": {"width": 64, "height": 32, "crop": [128, 64], "camera_width": 128, "scale": 0.5},
    "backbone": {"depths": [1, 1, 1, 1], "channels": [16, 16, 24, 32], "weights": ""},
    "planes": {"lower": [-8, -8, -1], "upper": [8, 8, 3], "nodes": [7, 9, 5]},
    "encoder": {"layers": 1, "channels": 16, "heads": 2, "feedforward": 16, "cross_points": [4, 4, 2],
                "self_points": 2, "camera_directions": [0.0]},
    "head": {"classes": [4, 11]},
    "occupancy": {"lower": [-4, -4, 0], "upper": [4, 4, 2], "cells": [6, 4, 3]},
}  # fmt: skip
RANDOM = "encoder.layers.0.ffns.0.layers.0.0.weight"

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return path


@pytest.fixture
def model(config: Path) -> PlaneSelfOcc:
    loaded = load_model_config(str(config))
    assert isinstance(loaded, PlaneConfig)
    torch.manual_seed(3)
    return PlaneSelfOcc(loaded).eval()


@pytest.fixture
def official(model: PlaneSelfOcc) -> State:
    """Random tensors under official names, of the shapes of the small network."""
    state: State = {"head.model.device_indicator_param": torch.zeros(0)}
    for name, value in model.state_dict().items():
        fixed = not value.is_floating_point() or name == "field.aabb"
        state[official_name(name)] = value if fixed else torch.rand_like(value) * 0.5 + 0.1
    return state


def run_import(source: Path, config: Path | str, out: Path, *more: str) -> int:
    return cli.main(["import", str(source), "--config", str(config), "--out", str(out), *more])


def test_it_computes_what_the_official_weights_say(
    model: PlaneSelfOcc, official: State, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "epoch_12.pth", tmp_path / "own" / "small.safetensors"
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999)}]}
    torch.save({"state_dict": official, "optimizer": optimizer, "epoch": 12, "global_iter": 42}, source)
    assert run_import(source, config, out) == 0
    assert f"{model.parameter_count} parameters" in capsys.readouterr().out

    # By hand: every module is told its values by its place in the network, not by name.
    with torch.no_grad():
        for name, value in model.state_dict().items():
            value.copy_(official[official_name(name)])
    loaded, info = load_checkpoint(out)
    assert isinstance(loaded, PlaneSelfOcc)
    pose = torch.tensor([[[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]]])
    rig = RigTensors(torch.tensor([[40.0, 40, 32, 16]]), torch.tensor([[64.0, 32.0]]), pose)
    images = torch.rand(1, 3, 32, 64) * 255
    with torch.inference_mode():
        expected, found = (network.encode(images, network.prepare(rig)) for network in (model, loaded))
        assert expected.nodes.std() > 0
        assert torch.equal(found.grid.sdf, expected.grid.sdf)
        assert found.grid.features is not None
        assert expected.grid.features is not None
        assert torch.equal(found.grid.features, expected.grid.features)
        assert torch.equal(found.sharpness, expected.sharpness)
    assert info.parameters == model.parameter_count
    assert info.provenance["source"] == "epoch_12.pth"
    assert len(info.provenance["sha256"]) == 64
    assert (info.provenance["epoch"], info.provenance["global_iter"]) == (12, 42)
    assert info.provenance["not_used"] == ["head.model.device_indicator_param"]

    assert cli.main(["info", str(out), "--json", "-"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["family"] == "tpv"
    assert described["parameters"] == model.parameter_count
    assert described["classes"] == [4, 11]
    assert described["provenance"] == info.provenance


def test_a_bare_state_dict_will_do_and_half_is_half(official: State, config: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "bare.pth", tmp_path / "half.safetensors"
    torch.save(official, source)
    assert run_import(source, config, out, "--half", "--json", str(tmp_path / "report.json")) == 0
    assert json.loads((tmp_path / "report.json").read_text())["checkpoint"] == str(out)
    loaded, _ = load_checkpoint(out)
    own = loaded.state_dict()["field.density_net.1.weight"]
    assert 0 < (own - official["head.model.field.density_net.1.weight"]).abs().max() < 1e-3


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_network_saved_from_several_gpus_is_the_same(
    wrapped: bool, official: State, config: Path, tmp_path: Path
) -> None:
    prefixed = {f"module.{name}": value for name, value in official.items()}
    torch.save({"state_dict": prefixed} if wrapped else prefixed, tmp_path / "parallel.pth")
    torch.save(official, tmp_path / "plain.pth")
    states = []
    for name in ("parallel", "plain"):
        assert run_import(tmp_path / f"{name}.pth", config, tmp_path / f"{name}.safetensors") == 0
        states.append(load_checkpoint(tmp_path / f"{name}.safetensors")[0].state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_the_predictor_runs_what_was_imported(official: State, config: Path, tmp_path: Path) -> None:
    official["head.model.field.density_net.3.weight"] -= 0.35  # so that signs differ within the grid
    torch.save(official, tmp_path / "official.pth")
    assert run_import(tmp_path / "official.pth", config, tmp_path / "own.safetensors") == 0
    predictor = Predictor.from_checkpoint(tmp_path / "own.safetensors", device="cpu")
    camera = CameraModel(128, 96, np.array([[80.0, 0.0, 63.5], [0.0, 80.0, 31.5], [0.0, 0.0, 1.0]]))
    pose = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    picture = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    frame = CameraFrame("front", 7, "front_optical", "rgb8", picture.tobytes(), 128, 96)
    found = predictor.predict(RigSample(7, CameraRig(("front",), (camera,), pose[None]), (frame,)))
    assert not found.failed
    assert found.volume.state.shape == (6, 4, 3)
    assert found.volume.sdf is not None
    assert np.isfinite(found.volume.sdf).all()
    assert ((found.volume.sdf < 0) == (found.volume.state == OCCUPIED)).all()
    assert (found.volume.state != UNKNOWN).any()


def without_one(state: State) -> None:
    del state[RANDOM]


def with_one_more(state: State) -> None:
    state["head.model.flow.weight"] = torch.zeros(1)


def of_another_shape(state: State) -> None:
    state[RANDOM] = torch.zeros(2, 3)


def of_another_lifter(state: State) -> None:
    for name in [name for name in state if name.startswith("encoder.")]:
        state["module." + name] = state.pop(name)


def not_finite(state: State) -> None:
    state[RANDOM][0, 0] = float("nan")


def of_another_box(state: State) -> None:
    state["head.model.field.aabb"] = state["head.model.field.aabb"] + 1.0


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (without_one, f"does not fit configuration small: 1 missing ({RANDOM})."),
        (with_one_more, "does not fit configuration small: 1 left over (head.model.flow.weight)."),
        (of_another_shape, f"1 of another shape ({RANDOM} [2, 3] instead of [16, 16])."),
        (of_another_lifter, "more); "),
        (not_finite, f"1 not finite ({RANDOM})."),
        (of_another_box, "is of another box than configuration small: found [-7.0, -7.0, 0.0, 9.0, 9.0, 4.0]"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_does_not_fit_is_refused_with_names(
    spoil: Callable[[State], None],
    sentence: str,
    official: State,
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(official)
    source, out = tmp_path / "official.pth", tmp_path / "out.safetensors"
    torch.save({"state_dict": official}, source)
    assert run_import(source, config, out) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1
    assert told.count("module.") <= 10
    assert not out.exists()


@pytest.mark.parametrize(
    ("trained", "named"),
    [
        ("nuscenes_bev", "nuscenes_bev"),
        ("kitti_raw_depth", "kitti_raw_depth"),
        ("kitti_tpv", "kitti_novel_depth or kitti_tpv"),
    ],
)
def test_the_checkpoint_of_another_network_is_recognised(trained: str, named: str) -> None:
    networks = []
    for name in (trained, "nuscenes_tpv"):
        loaded = load_model_config(name)
        assert isinstance(loaded, PlaneConfig)
        with torch.device("meta"):
            networks.append(PlaneSelfOcc(loaded))
    state = {official_name(name): value for name, value in networks[0].state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        assign_official(networks[1], state, "checkpoint some.pth")
    assert str(error.value).startswith("checkpoint some.pth does not fit configuration nuscenes_tpv: ")
    assert str(error.value).endswith(f" It has the sizes of {named}.")


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("exploded"),))


def test_a_file_with_code_is_not_run(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Bomb()}, tmp_path / "bomb.pth")
    assert run_import(tmp_path / "bomb.pth", config, tmp_path / "out.safetensors") == 2
    assert "nothing else is loaded" in capsys.readouterr().err
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("contents", "sentence"),
    [
        (None, "does not exist"),
        (b"", "not a PyTorch file"),
        (b"PK\x03\x04 torn", "not a PyTorch file"),
        (b"name: nuscenes_tpv\nfamily: tpv\n", "not a PyTorch file"),
        (b"<!DOCTYPE html><html>log in to download</html>", "not a PyTorch file"),
    ],
)
def test_missing_and_damaged_files(
    contents: bytes | None, sentence: str, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "official.pth"
    if contents is not None:
        source.write_bytes(contents)
    assert run_import(source, config, tmp_path / "out.safetensors") == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert str(source) in told
    assert told.count("\n") == 1


def test_other_files_are_no_checkpoints(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.safetensors"
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    assert run_import(tmp_path / "other.safetensors", config, out) == 2
    assert run_import(tmp_path, config, out) == 2
    torch.save([torch.zeros(3)], tmp_path / "list.pth")
    assert run_import(tmp_path / "list.pth", config, out) == 2
    torch.save({0: torch.zeros(3)}, tmp_path / "numbers.pth")
    assert run_import(tmp_path / "numbers.pth", config, out) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 4
    assert "not a PyTorch file" in told[0] or "does not fit" in told[0]  # newer versions of torch read safetensors
    assert "not a PyTorch file" in told[1]
    assert "holds no state dict" in told[2]
    assert "holds no state dict" in told[3]
    assert not out.exists()


def test_the_help_names_every_published_network(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["import", "--help"])
    told = capsys.readouterr().out
    for path in (repository / "config" / "models").glob("*_*.yaml"):
        published = "Published as" in path.read_text()
        assert (f"  {path.stem} " in told) == published


def test_options_that_cannot_work(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": {"weights": 3}}, tmp_path / "other.pth")
    assert run_import(tmp_path / "other.pth", config, tmp_path / "out.safetensors") == 2
    assert "holds no state dict" in capsys.readouterr().err
    assert run_import(tmp_path / "other.pth", "tiny", tmp_path / "out.safetensors") == 2
    assert "--config tiny is of family fast, expected tpv or bev" in capsys.readouterr().err
    assert run_import(tmp_path / "other.pth", config, tmp_path / "out.pth") == 2
    assert "must end in .safetensors" in capsys.readouterr().err
