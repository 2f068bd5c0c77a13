# SPDX-License-Identifier: Apache-2.0
"""One of the processes of `test_ddp`: trains in double precision on a clip from a file; torchrun starts it."""

from __future__ import annotations

import sys
from pathlib import Path

from torch import nn

from selfocc_ros.model.families import build_network
from selfocc_training import trainer
from selfocc_training.config import load_train_config
from selfocc_training.fit.processes import Processes, end_processes, start_processes
from selfocc_training.town_clips import load_clip


def train(config: str, clip: str, out: str, processes: Processes | None = None) -> None:
    """20 steps with batch norms that only normalise: what they measure depends on who sees which scene."""
    learner = trainer.Trainer(load_train_config(config), [load_clip(Path(clip))], Path(out), processes)
    for module in learner.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    learner.run(20)


if __name__ == "__main__":
    trainer.build_network = lambda config: build_network(config).double()
    started = start_processes("cpu")
    train(*sys.argv[1:], processes=started)
    end_processes(started)
