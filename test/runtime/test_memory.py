# SPDX-License-Identifier: Apache-2.0
"""Telling that memory has run out, and holding less then."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from small_networks import FAST

from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.poses import body_from_optical
from selfocc_ros.geometry.rig import CameraRig
from selfocc_ros.model.config import parse_model_config
from selfocc_ros.model.selfocc import build_model
from selfocc_ros.runtime.memory import free_memory, is_out_of_memory
from selfocc_ros.runtime.predictor import Predictor
from selfocc_ros.sensing.frames import CameraFrame, RigSample


def seen_sample() -> RigSample:
    camera = CameraModel(64, 48, np.array([[40.0, 0, 31.5], [0, 40.0, 23.5], [0, 0, 1]]))
    data = cv2.imencode(".png", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    rig = CameraRig(("front",), (camera,), body_from_optical()[None])
    return RigSample(5, rig, (CameraFrame("front", 5, "front_optical", "png", data),))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: out of memory"),
    ],
)
def test_memory_that_has_run_out_is_known_by_many_names(error: Exception):
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [ValueError("out of memory"), RuntimeError("shapes differ"), KeyError("memory")])
def test_other_failures_are_not_taken_for_it(error: Exception):
    assert not is_out_of_memory(error)


@pytest.mark.fault
def test_a_predictor_that_runs_out_of_memory_holds_less_and_works_again(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    predictor = Predictor(build_model(parse_model_config(FAST, "small")), "cpu")
    before = predictor.predict(seen_sample())
    assert predictor._cache is not None

    def full(*_: Any) -> Any:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    with monkeypatch.context() as patch:
        patch.setattr(predictor.model, "encode", full)
        with pytest.raises(torch.cuda.OutOfMemoryError):
            predictor.predict(seen_sample())
    assert predictor._cache is None
    free_memory()
    assert (predictor.predict(seen_sample()).volume.state == before.volume.state).all()
