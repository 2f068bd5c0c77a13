# SPDX-License-Identifier: Apache-2.0
"""The processes that train together: Lightning Fabric's, or this one alone."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from selfocc_ros.runtime.predictor import DeviceError, choose_device


class Processes(Protocol):
    """What the trainer asks of ``lightning.fabric.Fabric``, in its words."""

    @property
    def device(self) -> torch.device:
        """Where this process computes."""

    @property
    def global_rank(self) -> int:
        """Number of this process."""

    @property
    def local_rank(self) -> int:
        """Number of this process on its machine."""

    @property
    def world_size(self) -> int:
        """Number of processes."""

    def setup_module(self, module: nn.Module) -> Callable[..., dict[str, Tensor]]:
        """The module on the device, whose gradients are averaged over the processes."""

    def no_backward_sync(self, module: Any, enabled: bool = True) -> AbstractContextManager[Any]:
        """Gradients are only added up within."""

    def backward(self, tensor: Tensor) -> None:
        """Backward pass."""

    def all_reduce(self, data: Tensor) -> Any:
        """Mean over the processes."""


class OneProcess:
    """This process alone, on one device: what training needs where Lightning is not installed."""

    global_rank = local_rank = 0
    world_size = 1

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)

    def setup_module(self, module: nn.Module) -> nn.Module:
        """The module on the device."""
        return module.to(self.device)

    def no_backward_sync(self, _module: nn.Module, enabled: bool = True) -> AbstractContextManager[None]:  # noqa: ARG002
        """Nothing: there is nobody to average with."""
        return nullcontext()

    def backward(self, tensor: Tensor) -> None:
        """Backward pass."""
        torch.autograd.backward(tensor)

    def all_reduce(self, data: Tensor) -> Tensor:
        """The data itself."""
        return data


def start_processes(device: str = "auto", devices: int = 1, nodes: int = 1) -> Processes:
    """Start, or join, the processes that train together.

    Under ``torchrun`` their number is known and ``devices`` and ``nodes`` are not looked at. Otherwise this process
    starts those of its own machine, as copies of its own command.

    Args:
        device: ``auto``, ``cuda`` or ``cpu``.
        devices: processes per machine, each with a GPU of its own or with a share of the cores.
        nodes: machines.

    Raises:
        DeviceError: there are not so many GPUs, or several processes are asked for and Lightning is not installed.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    kind = choose_device(device).type
    if devices < 1 or nodes < 1:
        raise DeviceError(f"training takes at least one device and one node, found {devices} and {nodes}.")
    if kind == "cuda" and devices > torch.cuda.device_count():
        raise DeviceError(f"{devices} devices were asked for, but torch finds {torch.cuda.device_count()} GPUs.")
    if importlib.util.find_spec("lightning") is None:
        if devices * nodes > 1:
            raise DeviceError(
                f"training in {devices * nodes} processes needs Lightning: pip install 'selfocc_ros[train]'."
            )
        return OneProcess(kind)
    from lightning.fabric import Fabric
    from lightning.fabric.strategies import DDPStrategy

    # Which parameters a step reaches depends on the losses that it has; SelfOcc's encoders leave some out for good.
    several = DDPStrategy(find_unused_parameters=True, process_group_backend="nccl" if kind == "cuda" else "gloo")
    fabric = Fabric(
        accelerator=kind, devices=devices, num_nodes=nodes, strategy=several if devices * nodes > 1 else "auto"
    )
    fabric.launch()
    started: Processes = fabric
    return started


def end_processes(processes: Processes) -> None:
    """Leave the others in good order."""
    if processes.world_size > 1:
        torch.distributed.destroy_process_group()


def gathered(processes: Processes, text: str) -> list[str]:
    """What every process has to say, for all to know."""
    if processes.world_size == 1:
        return [text]
    texts: list[Any] = [None] * processes.world_size
    torch.distributed.all_gather_object(texts, text)
    return texts
