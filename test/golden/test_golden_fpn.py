# SPDX-License-Identifier: Apache-2.0
"""The feature pyramid gives what the official one gives, on maps of odd sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from selfocc_ros.model.planes.fpn import FeaturePyramid
from selfocc_ros.model.planes.names import own_name


def test_pyramid(golden: Callable[[str], Any], close: Callable[..., None]) -> None:
    recorded = golden("fpn")
    pyramid = FeaturePyramid((256, 512, 1024, 2048), 24)
    state = {own_name(name): value for name, value in recorded.under("param.").items()}
    pyramid.load_state_dict({str(name).removeprefix("neck."): value for name, value in state.items()})
    with torch.no_grad():
        found = pyramid([recorded[f"in.c{level}"] for level in range(2, 6)])
    for level, value in zip(range(2, 6), found, strict=True):
        close(value, recorded[f"out.p{level}"], what=f"p{level}")
