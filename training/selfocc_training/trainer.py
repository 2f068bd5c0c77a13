# SPDX-License-Identifier: Apache-2.0
"""The training loop: draw a step, take the losses, update, average, log, save."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfocc_ros.configuration import ConfigError
from selfocc_ros.errors import SelfOccError
from selfocc_ros.model.config import load_model_config
from selfocc_ros.model.families import AnyConfig, Network, build_network
from selfocc_ros.model.image_backbone import ImageBackbone
from selfocc_ros.model.planes.config import CORRECTED, PlaneConfig
from selfocc_training.config import TrainConfig
from selfocc_training.objective import total_loss, training_losses
from selfocc_training.start import load_start, with_start
from selfocc_training.steps import draw_step
from selfocc_training.town_clips import Clip

STATE = "state.pt"
PRETRAINED_RATE = 0.1
"""Learning rate of a backbone that starts from pretrained weights, as a share of the others' (as in SelfOcc)."""


class TrainingError(SelfOccError, RuntimeError):
    """Training cannot go on; the sentence names the step and the term."""


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then half a cosine down to a fiftieth."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    progress = min(1.0, (step - config.warmup) / max(1, config.steps - config.warmup))
    return config.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def trained_config(config: TrainConfig) -> AnyConfig:
    """The network that a run trains: as configured, but without the slips that published checkpoints live with.

    Raises:
        ConfigError: there is no such network, it takes images with crop, or the start is of another architecture.
        CheckpointError: the start is missing or damaged.
    """
    model = load_model_config(config.model)
    if isinstance(model, PlaneConfig):
        if model.input.crop is not None:
            raise ConfigError(
                f"{model.name}: input.crop is for published checkpoints; clips are scaled to fit, so a network that "
                "is trained on them must take images without crop."
            )
        model = dataclasses.replace(model, official_quirks=CORRECTED)
    return with_start(model, config.start) if config.start else model


def check_clip_size(config: TrainConfig) -> None:
    """Raises:
    ConfigError: clips would be made of another size than the network takes; better told before they are made.
    """
    model, clip = trained_config(config), config.data.clip
    _check_size(model, clip.width, clip.height, "data.clip.width and height make clips of")


def _check_size(model: AnyConfig, width: int, height: int, found: str) -> None:
    if (width, height) != (model.input.width, model.input.height):
        raise ConfigError(
            f"network {model.name} takes images of {model.input.width}x{model.input.height} pixels, "
            f"but {found} {width}x{height}."
        )


class Trainer:
    """Holds the network, its moving average and the optimiser; every step follows from (seed, step)."""

    def __init__(self, config: TrainConfig, clips: Sequence[Clip], out: Path | None = None) -> None:
        torch.manual_seed(config.seed)
        self.config, self.clips, self.out = config, clips, out
        model_config = trained_config(config)
        # One clip stands for all, which are made of one size: others may not have been read yet.
        height, width = clips[0].images.shape[-2:]
        _check_size(model_config, width, height, "the clips are of")
        self.model = build_network(model_config)
        resumes = out is not None and (out / STATE).is_file()
        if not resumes and config.start:
            load_start(self.model, config.start)
        elif not resumes:
            self.model.load_pretrained()
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = build_network(model_config)
        self.average.load_state_dict(self.model.state_dict())
        self.optimiser = torch.optim.AdamW(
            list(self._parameter_groups()), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.step = 0
        if out is not None and resumes:
            self._resume(out / STATE)

    def run(self, until: int, progress: Callable[[int, dict[str, float], float], None] | None = None) -> Network:
        """Train up to step ``until``; returns the moving average of the weights, ready for use.

        Raises:
            TrainingError: if a loss term stops being finite.
        """
        if self.out is not None:
            self.out.mkdir(parents=True, exist_ok=True)
        began, first = time.monotonic(), self.step
        while self.step < until:
            terms = self._one_step()
            self.step += 1
            if progress is not None:
                pace = (time.monotonic() - began) / (self.step - first)
                progress(self.step, terms, pace * (until - self.step))
            if self.out is not None:
                if self.step % 20 == 0:
                    self._log(self.out / "curve.jsonl", terms)
                if self.step % 250 == 0 or self.step == until:
                    self._save(self.out / STATE)
        return self.average.eval()

    def _parameter_groups(self) -> Iterator[dict[str, Any]]:
        sharpness = self.model.log_sharpness
        backbones = [m for m in self.model.modules() if isinstance(m, ImageBackbone) and m.config.weights]
        slow = {id(parameter) for backbone in backbones for parameter in backbone.parameters()}
        learnt = [p for p in self.model.parameters() if p.requires_grad and p is not sharpness]
        yield {"params": [p for p in learnt if id(p) not in slow], "scale": 1.0}
        # Slow, since a field that turns sharp before it is right can only be mended next to its surfaces.
        yield {"params": [sharpness], "scale": self.config.sharpness_rate}
        if slow:
            yield {"params": [p for p in learnt if id(p) in slow], "scale": PRETRAINED_RATE}

    def _one_step(self) -> dict[str, float]:
        config = self.config
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, config) * group["scale"]
        # Dropout draws from the running generator; sown anew, a step is the same after a resume.
        torch.manual_seed(int(np.random.SeedSequence((config.seed, self.step)).generate_state(1)[0]))
        self.optimiser.zero_grad(set_to_none=True)
        values: dict[str, float] = {}
        for scene in range(config.scenes_per_step):
            drawn = draw_step(self.clips, self.step, config.seed, config.data, scene)
            terms = training_losses(self.model, drawn, config.loss, config.bfloat16)
            for name, value in terms.items():
                if not torch.isfinite(value):
                    raise TrainingError(f"step {self.step}: the {name} loss is {value.item()}; training stopped.")
                values[name] = values.get(name, 0.0) + value.item() / config.scenes_per_step
            torch.autograd.backward(total_loss(terms, config.loss) / config.scenes_per_step)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        self.optimiser.step()
        self._update_average()
        values["gradient_norm"] = norm.item()
        values["sharpness"] = math.exp(10 * self.model.log_sharpness.item())
        return values

    @torch.no_grad()
    def _update_average(self) -> None:
        # A short memory at first, so that the average does not drag the random start along.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        mine: dict[str, Tensor] = self.model.state_dict()
        for name, value in self.average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(mine[name], 1 - decay)
            else:  # what batch norm counts
                value.copy_(mine[name])

    def _log(self, path: Path, terms: dict[str, float]) -> None:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": self.step, **{k: round(v, 6) for k, v in terms.items()}}) + "\n")

    def _save(self, path: Path) -> None:
        part = path.with_suffix(".part")
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
        }
        torch.save(state, part)
        part.replace(path)

    def _resume(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]
