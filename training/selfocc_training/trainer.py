# SPDX-License-Identifier: Apache-2.0
"""The training loop: draw a step, take the losses, update, average, log, save."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from selfocc_ros.configuration import ConfigError
from selfocc_ros.errors import SelfOccError
from selfocc_ros.model.config import load_model_config
from selfocc_ros.model.families import AnyConfig, Network, build_network
from selfocc_ros.model.image_backbone import ImageBackbone
from selfocc_ros.model.planes.config import CORRECTED, PlaneConfig
from selfocc_training.config import LossConfig, TrainConfig
from selfocc_training.fit.interruption import StopRequest, TrainingStopped, stop_requests
from selfocc_training.fit.loader import StepLoader, moved
from selfocc_training.fit.preview import preview
from selfocc_training.fit.processes import OneProcess, Processes, gathered
from selfocc_training.fit.record import Record
from selfocc_training.fit.same_run import check_same_run, run_identity
from selfocc_training.fit.state import StateError, load_state, save_state
from selfocc_training.fit.where import where
from selfocc_training.objective import total_loss, training_losses
from selfocc_training.start import load_start, with_start
from selfocc_training.steps import Step, draw_step
from selfocc_training.town_clips import Clip

STATE = "state.pt"
PRETRAINED_RATE = 0.1
"""Learning rate of a backbone that starts from pretrained weights, as a share of the others' (as in SelfOcc)."""


class TrainingError(SelfOccError, RuntimeError):
    """Training cannot go on; the sentence names the step, the term and the sample."""


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


class Objective(nn.Module):
    """The losses of one scene as a module, so that whatever averages gradients sees one call of the network."""

    def __init__(self, model: Network, config: LossConfig, bfloat16: bool) -> None:
        super().__init__()
        self.model, self._config, self._bfloat16 = model, config, bfloat16

    def forward(self, step: Step) -> dict[str, Tensor]:
        """The weighted sum of the terms as ``loss``, and the terms, unweighted."""
        terms = training_losses(self.model, step, self._config, self._bfloat16)
        return {"loss": total_loss(terms, self._config), **terms}


class Trainer:
    """Holds the network, its moving average and the optimiser; every step follows from (seed, step, scene).

    Several processes, each with ``scenes_per_step`` scenes of its own, do what one would do with as many scenes as they
    have together. The first of them alone writes.

    Attributes:
        model: the network that learns.
        average: moving average of its weights, which is what is kept in the end.
        optimiser: AdamW.
        step: steps that are done.
    """

    def __init__(
        self,
        config: TrainConfig,
        clips: Sequence[Clip],
        out: Path | None = None,
        processes: Processes | None = None,
        labels_by: str = "",
    ) -> None:
        """Begin, or go on from the state that lies in ``out``.

        Args:
            config: the run.
            clips: what steps are drawn from.
            out: folder of state, curve and TensorBoard files; None keeps nothing.
            processes: of ``start_processes``; None is this one on the CPU.
            labels_by: whoever labelled the clips' voxels, in words; empty for truth, and where there are none.

        Raises:
            ConfigError: the network cannot be trained as configured, or takes images of another size.
            StateError: the state in ``out`` is damaged or of another run.
        """
        torch.manual_seed(config.seed)
        self.config, self.clips, self.out = config, clips, out
        self._processes: Processes = processes or OneProcess()
        model_config = trained_config(config)
        # One clip stands for all, which are made of one size: others may not have been read yet.
        height, width = clips[0].images.shape[-2:]
        _check_size(model_config, width, height, "the clips are of")
        self._identity = run_identity(config, model_config, clips, labels_by)
        self.model = build_network(model_config)
        resumes = out is not None and (out / STATE).is_file()
        if not resumes and config.start:
            load_start(self.model, config.start)
        elif not resumes:
            self.model.load_pretrained()
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = build_network(model_config).to(self._processes.device).eval()
        self.average.load_state_dict(self.model.state_dict())
        self._objective = self._processes.setup_module(Objective(self.model, config.loss, config.bfloat16))
        self.optimiser = torch.optim.AdamW(
            list(self._parameter_groups()), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.step = 0
        if out is not None and resumes:
            self._resume(out / STATE)
        self._check_agreement()

    def run(self, until: int, progress: Callable[[int, dict[str, float], float], None] | None = None) -> Network:
        """Train up to step ``until``; returns the moving average of the weights, ready for use.

        Args:
            until: steps that are done in the end.
            progress: called after each step with its number, the terms (mean over the scenes of all processes) and the
                seconds left.

        Raises:
            TrainingError: a loss term or the gradient is not finite; what is saved is the state before.
            TrainingStopped: SIGINT or SIGTERM came, to this process or another; the state is saved.
        """
        record = self._record()
        loader = StepLoader(self._draw, self.step, until, self.config.steps_ahead)
        began, first = time.monotonic(), self.step
        try:
            with stop_requests(self.out is not None) as stop:
                while self.step < until:
                    terms, stopping = self._one_step(loader.take(), stop)
                    self.step += 1
                    if progress is not None:
                        pace = (time.monotonic() - began) / (self.step - first)
                        progress(self.step, terms, pace * (until - self.step))
                    if record is not None:
                        self._keep(record, terms, stopping or self.step == until)
                    if stopping and self.out is not None:
                        # Nobody leaves before the first has saved: whoever started it ends it when another is gone.
                        gathered(self._processes, "")
                        raise TrainingStopped(self.step, self.out / STATE, stop.signum)
        finally:
            loader.close()
            if record is not None:
                record.close()
        return self.average.eval()

    def _record(self) -> Record | None:
        if self.out is None or self._processes.global_rank != 0:
            return None
        self.out.mkdir(parents=True, exist_ok=True)
        return Record(self.out, self.step)

    def _keep(self, record: Record, terms: dict[str, float], last: bool) -> None:
        """Log, save and picture what is due after this step."""
        if self.step % self.config.log_every == 0:
            record.scalars(self.step, terms)
        if self.out is not None and (last or self.step % self.config.save_every == 0):
            self._save(self.out / STATE)
        if record.takes_pictures and self.config.picture_every and self.step % self.config.picture_every == 0:
            # The same moment each time, whole and as it was, so that pictures can be compared.
            data = dataclasses.replace(self.config.data, mirror=False, drop_cameras=0, anchor_views=0)
            step = draw_step(self.clips, 0, self.config.seed, data)
            record.pictures(self.step, preview(self.average, self._placed(step)))

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

    def _scenes(self) -> range:
        """Numbers of the scenes that this process draws of a step."""
        count = self.config.scenes_per_step
        return range(self._processes.global_rank * count, (self._processes.global_rank + 1) * count)

    def _draw(self, number: int) -> list[Step]:
        config, device = self.config, self._processes.device
        if device.index is not None:
            # The loader's thread would otherwise wake up the first GPU, which is another process's.
            torch.cuda.set_device(device)
        return [self._placed(draw_step(self.clips, number, config.seed, config.data, n)) for n in self._scenes()]

    def _placed(self, step: Step) -> Step:
        return moved(step, self._processes.device, self.model.log_sharpness.dtype)

    def _one_step(self, scenes: list[Step], stop: StopRequest) -> tuple[dict[str, float], bool]:
        """One update; returns the terms, and whether some process was asked to stop."""
        config, processes = self.config, self._processes
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, config) * group["scale"]
        self.optimiser.zero_grad(set_to_none=True)
        found: list[dict[str, Tensor]] = []
        for number, scene in zip(self._scenes(), scenes, strict=True):
            # Dropout draws from the running generator; sown anew, a scene is the same after a resume and anywhere.
            torch.manual_seed(_dropout_seed(config.seed, self.step, number))
            with processes.no_backward_sync(self._objective, enabled=scene is not scenes[-1]):
                terms = self._objective(scene)
                processes.backward(terms["loss"] / len(scenes))
            found.append({name: value.detach() for name, value in terms.items()})
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        means = [torch.stack([terms[name] for terms in found]).mean() for name in found[0]]
        asked = norm.new_tensor(float(bool(stop)))
        # One look at the device for all figures, and for all processes the same, so that they go on or stop together.
        *told, gradient, asks = processes.all_reduce(torch.stack([*(m.to(norm) for m in means), norm, asked])).tolist()
        values = dict(zip(found[0], told, strict=True))
        if not all(math.isfinite(value) for value in (*told, gradient)):
            raise TrainingError(self._broken(scenes, found))
        self.optimiser.step()
        self._update_average()
        values["gradient_norm"] = gradient
        values["sharpness"] = math.exp(10 * self.model.log_sharpness.item())
        return values, asks > 0

    def _broken(self, scenes: list[Step], found: list[dict[str, Tensor]]) -> str:
        """Which terms of which scenes are not finite, of all processes."""
        words = [
            f"the {name} loss is {value.item()} {where(self.clips, scene.sample)}"
            for scene, terms in zip(scenes, found, strict=True)
            for name, value in terms.items()
            if name != "loss" and not torch.isfinite(value)
        ]
        all_words = [text for text in gathered(self._processes, "; ".join(words)) if text]
        if not all_words:
            words = [where(self.clips, scene.sample) for scene in scenes]
            drawn = "; ".join(gathered(self._processes, "; ".join(words)))
            all_words = [f"the gradient is not finite, with all losses finite, {drawn}"]
        return f"step {self.step}: {'; '.join(all_words)}; training stopped, the last saved state is as it was."

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

    def _save(self, path: Path) -> None:
        save_state(
            path,
            {
                "model": self.model.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
                "run": self._identity,
            },
        )

    def _resume(self, path: Path) -> None:
        state = _state_of(path, self.config, self._identity)
        try:
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
        except (RuntimeError, ValueError, KeyError) as error:
            name = self.model.config.name
            raise StateError(f"{path} is of another network than {name}; choose another --out.") from error
        self.step = state["step"]

    def _check_agreement(self) -> None:
        """All processes must go on from one step: state is written by the first and read by all."""
        mine = torch.tensor(float(self.step), device=self._processes.device)
        if self._processes.all_reduce(mine).item() != self.step:
            raise StateError(
                f"processes found different states in {self.out}: process {self._processes.global_rank} goes on from "
                f"step {self.step}; the folder must be the same for all, on a file system that they share."
            )


def refuse_other_run(config: TrainConfig, out: Path) -> None:
    """Refuse a folder that holds the state of another run, before town drives are rendered for this one.

    Raises:
        StateError: the state in ``out`` is damaged or of another run. Who labelled the drives is not looked at.
    """
    if (out / STATE).is_file():
        identity = run_identity(config, trained_config(config), (), "")
        del identity["labels_by"]
        _state_of(out / STATE, config, identity)


def _state_of(path: Path, config: TrainConfig, identity: Mapping[str, Any]) -> dict[str, Any]:
    """What lies in ``path``, if it is of the run that ``identity`` tells."""
    state = load_state(path)
    # States of older versions tell their seed alone.
    told = state.get("run") or {"seed": state.get("seed", config.seed)}
    check_same_run(path, told, identity)
    if state["step"] > config.steps:
        raise StateError(
            f"{path} has done {state['step']} steps of another run, and this one has {config.steps}; choose another "
            "--out, or delete the file to begin anew."
        )
    return state


def _dropout_seed(seed: int, step: int, scene: int) -> int:
    entropy = (seed, step, scene) if scene else (seed, step)
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
