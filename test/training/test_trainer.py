# SPDX-License-Identifier: Apache-2.0
"""The trainer: losses fall, a resume continues exactly, a broken value stops it with one sentence."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_networks import FAST, with_cells, write_network

from selfocc_ros.configuration import ConfigError, read_yaml
from selfocc_ros.model.checkpoint import load_checkpoint, save_checkpoint
from selfocc_ros.model.config import ImageBackboneConfig
from selfocc_ros.model.image_backbone import ImageBackbone
from selfocc_ros.model.planes.config import CORRECTED, PlaneConfig
from selfocc_ros.resources import resource
from selfocc_ros.runtime.predictor import Predictor
from selfocc_ros.town.rigs import load_rig
from selfocc_ros.town.town import Town
from selfocc_ros.town.truth import render_frame, stamp_of
from selfocc_training.config import DataConfig, LossConfig, TrainConfig, load_train_config
from selfocc_training.fit.interruption import TrainingStopped
from selfocc_training.fit.state import StateError
from selfocc_training.objective import training_losses
from selfocc_training.steps import draw_step
from selfocc_training.town_clips import Clip
from selfocc_training.town_evaluation import encode_sample
from selfocc_training.trainer import STATE, Trainer, TrainingError, check_clip_size, learning_rate, trained_config

RIG = load_rig("front1")


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    path = write_network(tmp_path / "small.yaml", with_cells(40, 40, 10))
    data = DataConfig(current_views=2, anchor_views=1, anchor_reach=2, widest_gap=2, widen_steps=10, grid=(8, 10))
    loss = LossConfig(background_from=6)
    return TrainConfig(model=str(path), steps=40, warmup=5, bfloat16=False, data=data, loss=loss)


@pytest.fixture
def tpv(config: TrainConfig, small_tpv: Path) -> TrainConfig:
    return dataclasses.replace(config, model=str(small_tpv))


def reprojection(trainer: Trainer) -> float:
    """Mean over the same 12 steps, whatever was trained on."""
    with torch.no_grad():
        steps = [draw_step(trainer.clips, number, 99, trainer.config.data) for number in range(12)]
        terms = [training_losses(trainer.model, step, trainer.config.loss, False) for step in steps]
    return float(np.mean([term["reprojection"].item() for term in terms]))


def test_a_ground_that_starts_too_low_is_raised(config: TrainConfig, ground_clip: Clip) -> None:
    loss = dataclasses.replace(config.loss, background_from=10_000, auto_mask=False)
    trainer = Trainer(dataclasses.replace(config, steps=60, loss=loss), [ground_clip])
    model: Any = trainer.model
    with torch.no_grad():
        model.coarse_sdf.bias += 0.6
    before = reprojection(trainer)
    trainer.run(60)
    assert reprojection(trainer) < 0.7 * before


def test_resume_is_just_a_step_number(config: TrainConfig, ground_clip: Clip, tmp_path: Path) -> None:
    straight = Trainer(config, [ground_clip])
    straight.run(8)
    first = Trainer(config, [ground_clip], tmp_path)
    first.run(4)
    second = Trainer(config, [ground_clip], tmp_path)
    assert second.step == 4
    second.run(8)
    for a, b in zip(straight.average.parameters(), second.average.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_tpv_resumes_exactly_though_it_drops_out(tpv: TrainConfig, ground_clip: Clip, tmp_path: Path) -> None:
    straight = Trainer(tpv, [ground_clip])
    straight.run(3)
    Trainer(tpv, [ground_clip], tmp_path / "run").run(2)
    resumed = Trainer(tpv, [ground_clip], tmp_path / "run")
    assert resumed.step == 2
    resumed.run(3)
    for name, value in straight.average.state_dict().items():
        assert torch.equal(value, resumed.average.state_dict()[name]), name


def test_a_trained_tpv_travels_in_its_checkpoint_and_predicts(
    tpv: TrainConfig, ground_clip: Clip, tmp_path: Path
) -> None:
    network = Trainer(tpv, [ground_clip]).run(3)
    path = tmp_path / "tpv.safetensors"
    save_checkpoint(path, network, {"steps": 3}, half=True)
    loaded, info = load_checkpoint(path)
    assert isinstance(info.config, PlaneConfig)
    assert info.config.official_quirks == CORRECTED  # not in the file above
    prediction = Predictor(loaded, "cpu").predict(encode_sample(render_frame(Town(3, seconds=4.0), RIG, stamp_of(2.0))))
    assert prediction.volume.state.shape == (16, 16, 8)
    assert prediction.failed == {}
    assert prediction.volume.sdf is not None
    assert np.isfinite(prediction.volume.sdf).all()


def test_what_batch_norm_counts_is_copied_and_what_it_measures_averaged(tpv: TrainConfig, ground_clip: Clip) -> None:
    trainer = Trainer(tpv, [ground_clip])
    start = trainer.average.state_dict()
    counters = [name for name in start if name.endswith("num_batches_tracked")]
    means = [name for name in start if name.endswith("running_mean")]
    before = {name: start[name].clone() for name in means}
    trainer.run(1)
    mine, average = trainer.model.state_dict(), trainer.average.state_dict()
    assert counters
    assert all(average[name].item() == mine[name].item() == 1 for name in counters)
    for name in means:
        assert torch.allclose(average[name], before[name].lerp(mine[name], 0.9), atol=1e-6)


def test_pretrained_weights_are_taken_at_the_start_and_learn_slowly(
    config: TrainConfig, ground_clip: Clip, tmp_path: Path
) -> None:
    described = ImageBackboneConfig(depths=(1, 1, 1, 1), channels=(16, 16, 24, 32), weights="")
    trained = ImageBackbone(described)
    trained.model.save_pretrained(tmp_path / "weights")
    backbone = {"depths": [1, 1, 1, 1], "channels": [16, 16, 24, 32], "weights": str(tmp_path / "weights")}
    resnet = {**FAST, "backbone": {"name": "resnet", "neck": 16, **backbone}}
    path = write_network(tmp_path / "resnet.yaml", resnet)
    config = dataclasses.replace(config, model=str(path))
    trainer = Trainer(config, [ground_clip], tmp_path / "run")
    found = {name: value for name, value in trainer.average.state_dict().items() if name.startswith("backbone.image.")}
    assert all(torch.equal(found[f"backbone.image.model.{k}"], v) for k, v in trained.model.state_dict().items())
    trainer.run(1)
    rates = {id(p): group["lr"] for group in trainer.optimiser.param_groups for p in group["params"]}
    for name, parameter in trainer.model.named_parameters():
        share = 0.1 if "backbone.image." in name else config.sharpness_rate if name == "log_sharpness" else 1.0
        assert rates[id(parameter)] == pytest.approx(share * learning_rate(0, config)), name
    for file in (tmp_path / "weights").iterdir():
        file.unlink()
    assert Trainer(config, [ground_clip], tmp_path / "run").step == 1  # a resume needs them no more
    with pytest.raises(ConfigError, match=r"backbone\.weights .* cannot be had"):
        Trainer(config, [ground_clip])


def test_clips_of_another_size_than_the_network_takes_are_refused(
    config: TrainConfig, tpv: TrainConfig, ground_clip: Clip, tmp_path: Path
) -> None:
    wider = dataclasses.replace(config, model="tiny")
    with pytest.raises(ConfigError, match="network tiny takes images of 256x144 pixels, but the clips are of 64x48"):
        Trainer(wider, [ground_clip])
    with pytest.raises(ConfigError, match=r"small takes images of 64x48 .* but data\.clip.* make clips of 256x144"):
        check_clip_size(config)
    check_clip_size(wider)
    with pytest.raises(ConfigError, match=r"nuscenes_tpv: input\.crop is for published checkpoints"):
        check_clip_size(dataclasses.replace(config, model="nuscenes_tpv"))


def test_what_docs_say_of_the_networks_that_can_be_trained(tmp_path: Path) -> None:
    refused = []
    for path in resource("config/models").glob("*.yaml"):
        try:
            trained_config(TrainConfig(model=path.stem))
        except ConfigError:
            refused.append(path.stem)
            values = read_yaml(path)
            for key in ("crop", "camera_width", "scale", "pad_ratio"):
                values["input"].pop(key, None)
            trained_config(TrainConfig(model=str(write_network(tmp_path / "copy.yaml", values))))
    assert len(refused) == 7
    assert all(name.startswith(("nuscenes_", "kitti_")) for name in refused)


def test_terms_follow_the_configuration(config: TrainConfig, ground_clip: Clip) -> None:
    names: list[set[str]] = []

    def note(_step: int, terms: dict[str, float], _left_s: float) -> None:
        names.append(set(terms))

    Trainer(config, [ground_clip]).run(8, note)
    assert "opacity" not in names[0]
    assert "opacity" in names[7]
    assert {"reprojection", "distances", "rgb", "eikonal", "hessian"} <= names[0]


def test_the_curve_is_kept(config: TrainConfig, ground_clip: Clip, tmp_path: Path) -> None:
    Trainer(config, [ground_clip], tmp_path).run(20)
    rows = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert rows[0]["step"] == 20
    assert rows[0]["reprojection"] > 0


def test_a_broken_value_names_step_term_and_sample_and_leaves_the_saved_state(
    config: TrainConfig, ground_clip: Clip, tmp_path: Path
) -> None:
    Trainer(config, [ground_clip], tmp_path).run(1)
    saved = (tmp_path / STATE).read_bytes()
    trainer = Trainer(dataclasses.replace(config, save_every=1), [ground_clip], tmp_path)
    model: Any = trainer.model
    with torch.no_grad():
        model.colour.bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"step 1: the rgb loss is nan in clip 0, frame \d, cameras? \d"):
        trainer.run(3)
    assert (tmp_path / STATE).read_bytes() == saved
    assert sorted(path.name for path in tmp_path.glob("state*")) == [STATE]


def test_a_broken_gradient_stops_before_the_weights_are_touched(config: TrainConfig, ground_clip: Clip) -> None:
    trainer = Trainer(config, [ground_clip])
    trainer.model.log_sharpness.register_hook(lambda gradient: gradient * float("inf"))
    before = {name: value.clone() for name, value in trainer.average.state_dict().items()}
    with pytest.raises(TrainingError, match="step 0: the gradient is not finite, with all losses finite, in clip 0"):
        trainer.run(1)
    assert trainer.step == 0
    assert all(torch.equal(p, before[name]) for name, p in trainer.model.named_parameters())


def test_another_run_is_not_gone_on_from(
    config: TrainConfig, tpv: TrainConfig, ground_clip: Clip, tmp_path: Path
) -> None:
    Trainer(config, [ground_clip], tmp_path).run(1)

    def refuses(changed: TrainConfig, words: str, labels_by: str = "") -> None:
        with pytest.raises(
            StateError, match=rf"state\.pt is of another run: {words}.*; choose another --out, or delete"
        ):
            Trainer(changed, [ground_clip], tmp_path, labels_by=labels_by)

    refuses(dataclasses.replace(config, seed=1), "seed was 0 and is 1")
    refuses(dataclasses.replace(config, steps=0), "steps was 40 and is 0")
    refuses(dataclasses.replace(config, loss=LossConfig(background_from=7)), r"loss\.background_from was 6 and is 7")
    drives = dataclasses.replace(config.data, first_seed=5, seeds=1, mirror=False, to_the_ends=True)
    refuses(dataclasses.replace(config, data=drives), r"data\.first_seed was 100 and is 5, .* and 1 more differ")
    refuses(tpv, r"network\.name was 'small' and is 'small_tpv'")
    refuses(config, "labels_by was '' and is 'a.safetensors 12'", labels_by="a.safetensors 12")
    (tmp_path / STATE).write_bytes(b"not a state")
    with pytest.raises(StateError, match=r"state\.pt cannot be read as the state of a run"):
        Trainer(config, [ground_clip], tmp_path)


def test_what_a_run_keeps_and_where_its_files_lie_may_change(
    config: TrainConfig, ground_clip: Clip, tmp_path: Path
) -> None:
    Trainer(config, [ground_clip], tmp_path).run(1)
    moved = tmp_path / "moved.yaml"
    moved.write_bytes(Path(config.model).read_bytes())
    kept = {"save_every": 7, "log_every": 3, "picture_every": 0, "steps_ahead": 0, "scenes_per_step": 2}
    assert Trainer(dataclasses.replace(config, model=str(moved), **kept), [ground_clip], tmp_path).step == 1


def test_a_state_that_does_not_tell_its_run_is_gone_on_from_where_it_fits(
    config: TrainConfig, tpv: TrainConfig, ground_clip: Clip, tmp_path: Path
) -> None:
    Trainer(config, [ground_clip], tmp_path).run(3)
    state = torch.load(tmp_path / STATE, weights_only=True)
    del state["run"]
    torch.save({**state, "seed": 0}, tmp_path / STATE)
    assert Trainer(config, [ground_clip], tmp_path).step == 3
    with pytest.raises(StateError, match=r"state\.pt is of another run: seed was 0 and is 1"):
        Trainer(dataclasses.replace(config, seed=1), [ground_clip], tmp_path)
    with pytest.raises(StateError, match=r"state\.pt has done 3 steps of another run, and this one has 2"):
        Trainer(dataclasses.replace(config, steps=2), [ground_clip], tmp_path)
    with pytest.raises(StateError, match=r"state\.pt is of another network than small_tpv"):
        Trainer(tpv, [ground_clip], tmp_path)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_resume_ends_where_the_straight_run_does(
    config: TrainConfig, ground_clip: Clip, tmp_path: Path, signum: signal.Signals
) -> None:
    straight = Trainer(config, [ground_clip]).run(5)

    def stop(step: int, _terms: dict[str, float], _left_s: float) -> None:
        if step == 2:
            os.kill(os.getpid(), signum)

    before = signal.getsignal(signum)
    with pytest.raises(TrainingStopped, match="stopped after step 3") as stopped:
        Trainer(config, [ground_clip], tmp_path).run(5, stop)
    assert stopped.value.signum == signum
    assert signal.getsignal(signum) is before
    resumed = Trainer(config, [ground_clip], tmp_path)
    assert resumed.step == 3
    resumed.run(5)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.average.state_dict()[name]), name


def test_pictures_go_to_tensorboard(config: TrainConfig, ground_clip: Clip, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    Trainer(dataclasses.replace(config, picture_every=2, log_every=1), [ground_clip], tmp_path).run(2)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(events.Tags()["images"]) == {"views", "birds_eye"}
    assert [event.step for event in events.Scalars("train/reprojection")] == [1, 2]


def test_learning_rate_warms_up_and_decays(config: TrainConfig) -> None:
    rates = [learning_rate(step, config) for step in range(config.steps + 1)]
    assert rates[0] < rates[config.warmup] == pytest.approx(config.learning_rate)
    assert rates[-1] == pytest.approx(0.02 * config.learning_rate)
    assert all(a >= b for a, b in zip(rates[config.warmup :], rates[config.warmup + 1 :], strict=False))


@pytest.mark.parametrize("name", ["tiny_town", "fast_s_town", "tpv_s_town"])
def test_the_runs_that_come_with_the_package_make_clips_of_the_right_size(name: str) -> None:
    config = load_train_config(name)
    assert f"{config.model}_town" == name
    check_clip_size(config)


@pytest.mark.parametrize("key", ["scenes_per_step", "save_every", "log_every"])
def test_counts_that_make_no_sense_are_refused(config: TrainConfig, key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key} must be at least 1, found 0"):
        dataclasses.replace(config, **{key: 0})


def test_the_shipped_configuration_is_read() -> None:
    assert load_train_config("tiny_town").model == "tiny"
    assert load_train_config("tiny_town", steps=5, seed=2).steps == 5
