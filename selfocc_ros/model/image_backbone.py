# SPDX-License-Identifier: Apache-2.0
"""Image backbone: a network of Hugging Face ``transformers`` that gives feature maps at four strides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from selfocc_ros.configuration import ConfigError
from selfocc_ros.model.config import ImageBackboneConfig

STRIDES = (4, 8, 16, 32)

SAFE_CHANNELS = 16
"""oneDNN's block of input channels with AVX-512. Its backward of a 1x1 convolution with a stride, which is the shortcut
of a ResNet, writes past its workspace where there are fewer (https://github.com/uxlfoundation/oneDNN/issues/6035,
reproduced with PyTorch 2.13): crashes, or wrong gradients."""


class ImageBackbone(nn.Module):
    """ResNet (He et al. 2016) that shrinks in the 3x3 convolution of a bottleneck, as torchvision's does.

    It starts with random weights; ``load_pretrained`` is for the start of training. Frozen parts have no gradients and
    their batch norms keep their statistics.
    """

    def __init__(self, config: ImageBackboneConfig) -> None:
        super().__init__()
        self.config = config
        check_image_backbone(config)
        transformers = _transformers()
        options = {"depths": list(config.depths), "hidden_sizes": list(config.channels)}
        stages = [f"stage{i + 1}" for i in range(len(STRIDES))]
        try:
            described = transformers.AutoConfig.for_model(config.name, out_features=stages, **options)
            self.model = transformers.AutoBackbone.from_config(described)
        except ValueError as error:
            raise ConfigError(f"backbone {config.name!r} cannot be built ({_first_line(error)}).") from error
        for module in self._frozen():
            module.requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Normalised images (N, 3, H, W) to maps (N, C, H / s, W / s) for s in ``STRIDES``, sizes rounded up."""
        maps: tuple[Tensor, ...] = self.model(images).feature_maps
        return maps

    def train(self, mode: bool = True) -> ImageBackbone:
        """As for any module, but what is frozen stays in evaluation mode."""
        super().train(mode)
        for module in self._frozen():
            module.eval()
        return self

    def load_pretrained(self) -> None:
        """Take over the weights that the configuration names; random weights stay where it names none.

        Raises:
            ConfigError: the weights are not to be had, or are those of another network.
        """
        name = self.config.weights
        if not name:
            return
        # transformers replaces torch.linspace while it loads. torch lists its constructors when a device context is
        # used for the first time; were that during loading, such contexts would overlook linspace from then on.
        with torch.device("meta"):
            torch.empty(0)
        try:
            # Not through AutoBackbone, which takes no local folders.
            loaded, report = self.model.from_pretrained(name, output_loading_info=True)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"backbone.weights {name!r} cannot be had ({_first_line(error)}). Without network, download the model "
                "elsewhere and name its folder, or leave backbone.weights empty to start with random weights."
            ) from error
        state, own = loaded.state_dict(), self.model.state_dict()
        wrong = sorted({*report["missing_keys"], *(state.keys() ^ own.keys())})
        wrong += sorted(entry for entry in state.keys() & own.keys() if state[entry].shape != own[entry].shape)
        if wrong:
            raise ConfigError(
                f"backbone.weights {name!r} are of another network than configured: {wrong[0]} does not fit "
                f"({len(wrong)} such entries)."
            )
        self.model.load_state_dict(state)

    def _frozen(self) -> Iterator[nn.Module]:
        if self.config.frozen_stages >= 0:
            yield self.model.get_submodule("embedder")
        for stage in range(self.config.frozen_stages):
            yield self.model.get_submodule(f"encoder.stages.{stage}")


def check_image_backbone(config: ImageBackboneConfig) -> None:
    """Raises:
    ConfigError: the sizes are not those of a ResNet with four stages, or a CPU could not train them safely.
    """
    for name, values in (("depths", config.depths), ("channels", config.channels)):
        if len(values) != len(STRIDES) or min(values) < 1:
            raise ConfigError(
                f"backbone.{name} must hold {len(STRIDES)} numbers above 0, one for each stage of {config.name!r}, "
                f"found {list(values)}."
            )
    if min(config.channels) < SAFE_CHANNELS:
        raise ConfigError(
            f"backbone.channels must be at least {SAFE_CHANNELS}, found {list(config.channels)}: with fewer, "
            "training on a CPU overwrites foreign memory (oneDNN issue 6035)."
        )
    if not -1 <= config.frozen_stages <= len(STRIDES):
        raise ConfigError(f"backbone.frozen_stages must be -1 to {len(STRIDES)}, found {config.frozen_stages}.")


def _transformers() -> Any:
    """The library, imported where it is needed: other families of networks do without it."""
    try:
        import transformers
    except ImportError as error:
        raise ConfigError(
            f"this network's backbone needs the Python package transformers ({error}): pip install transformers."
        ) from error
    return transformers


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")
