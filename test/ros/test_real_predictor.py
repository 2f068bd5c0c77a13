# SPDX-License-Identifier: Apache-2.0
"""The node with a real network: its voxels equal those computed without ROS; checkpoints that cannot be used."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from selfocc_ros.logs.samples import iterate_samples
from selfocc_ros.model.checkpoint import save_checkpoint
from selfocc_ros.model.config import load_model_config, parse_model_config
from selfocc_ros.model.families import build_network
from selfocc_ros.model.rig_tensors import RigTensors
from selfocc_ros.model.selfocc import build_model
from selfocc_ros.ros.domain import environment, own_domain
from selfocc_ros.ros.processes import Processes
from selfocc_ros.ros.session import NODE_COMMAND, play_through_node
from selfocc_ros.runtime.predictor import Predictor


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network with random weights, shaken so that images matter from the start."""
    torch.manual_seed(3)
    model = build_model(load_model_config("tiny"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.03 * torch.randn_like(parameter)
    path = tmp_path_factory.mktemp("checkpoint") / "random.safetensors"
    save_checkpoint(path, model, {"command": "random weights"}, half=True)
    return path


@pytest.fixture(scope="module")
def plane_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published network with random weights, made small: input, planes and layers."""
    small = {
        "name": "small",
        "family": "tpv",
        "input": {"width": 128, "height": 64, "crop": [256, 128], "camera_width": 256, "scale": 0.5},
        "backbone": {"depths": [1, 1, 1, 1], "channels": [16, 16, 24, 32], "weights": ""},
        "planes": {"lower": [-40, -40, -1], "upper": [40, 40, 5.4], "nodes": [17, 17, 9]},
        "encoder": {"layers": 1, "channels": 16, "heads": 2, "feedforward": 16, "cross_points": [4, 4, 2]},
    }
    torch.manual_seed(4)
    model = build_network(parse_model_config(small, "small"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "density_net" in name:
                parameter += torch.randn_like(parameter)
        # Half of space solid, so that what the images change shows.
        pose = torch.tensor([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])[None]
        ahead = RigTensors(torch.tensor([[60.0, 60, 63.5, 31.5]]), torch.tensor([[128.0, 64]]), pose)
        scene = model.encode(torch.rand(1, 3, 64, 128) * 255, model.prepare(ahead))
        model.field.density_net[3].bias[0] -= scene.nodes.median()
    path = tmp_path_factory.mktemp("checkpoint") / "planes.safetensors"
    save_checkpoint(path, model, {"command": "random weights"})
    return path


@pytest.mark.slow
@pytest.mark.parametrize("family", ["checkpoint", "plane_checkpoint"])
def test_live_equals_offline(
    family: str,
    request: pytest.FixtureRequest,
    make_bag: Any,
    tmp_path: Path,
    assert_live_equals_offline: Any,
):
    checkpoint = request.getfixturevalue(family)
    bag = make_bag(tmp_path / "bag", seconds=4.0, rate_hz=1.0, scale=4)
    result = play_through_node(
        bag, tmp_path / "out", checkpoint, extra_params={"tf_wait": 2.0, "max_wait": 0.4, "device": "cpu"}
    )
    assert result.frames_out >= 1  # all four, unless the machine has other things to do
    assert result.frames_missed_at_start == 0
    predictor = Predictor.from_checkpoint(checkpoint, device="cpu")
    first, second = (predictor.predict(sample).volume.state for sample in list(iterate_samples(bag))[:2])
    assert np.count_nonzero(first != second) > 0.001 * first.size, "the network does not look at its images"
    assert_live_equals_offline(bag, result.output_bag, predictor, at_most=0.001)


@pytest.mark.fault
@pytest.mark.parametrize("fault", ["damaged", "foreign"])
def test_a_checkpoint_that_cannot_be_used(fault: str, make_bag: Any, checkpoint: Path, tmp_path: Path):
    """One error in the log, the same from the player that waits; the node stays up."""
    file = tmp_path / f"{fault}.safetensors"
    if fault == "damaged":
        file.write_bytes(checkpoint.read_bytes()[:100_000])
    else:
        save_file({"weight": torch.zeros(3)}, file)
    with own_domain() as domain, Processes(tmp_path, environment(domain)) as processes:
        processes.start("node", [*NODE_COMMAND, "--ros-args", "-p", f"checkpoint:={file}"])
        bag = make_bag(tmp_path / "bag", seconds=0.4)
        processes.start_module("player", "selfocc_ros.ros.bag_player", str(bag), "--wait-for-node", "selfocc")
        deadline = time.monotonic() + 120.0
        while "player" not in processes.ended():
            assert time.monotonic() < deadline, "the player still waits"
            time.sleep(0.05)
        assert processes.ended()["player"] == 2
        said = processes.last_line("player")
        assert said.startswith("bag_player: node selfocc cannot work: ")
        assert said.count(str(file)) == 1
        errors = [line for line in processes.log("node").read_text().splitlines() if line.startswith("[ERROR]")]
        assert len(errors) == 1, errors
        assert "the node cannot be configured: " in errors[0]
        assert str(file) in errors[0]
        assert "node" in processes.pids(), "the node has ended"
        os.kill(processes.pids()["node"], signal.SIGTERM)
        assert processes.stop("node") == 0
        assert "Traceback" not in processes.log("node").read_text()


def test_ctrl_c_twice_while_the_network_loads(tmp_path: Path):
    """A terminal and a launch both pass Ctrl-C on; the node ends at once and cleanly, whatever it is about to do."""
    with own_domain() as domain, Processes(tmp_path, environment(domain)) as processes:
        processes.start("node", NODE_COMMAND)
        log = processes.log("node")
        deadline = time.monotonic() + 60.0
        while "loading" not in log.read_text():
            assert time.monotonic() < deadline, "the node does not say that it is loading"
            time.sleep(0.01)
        pid = processes.pids()["node"]
        for _ in range(2):
            os.kill(pid, signal.SIGINT)
            time.sleep(0.01)
        assert processes.stop("node", timeout_s=60.0) == 0
        assert "Traceback" not in log.read_text()
