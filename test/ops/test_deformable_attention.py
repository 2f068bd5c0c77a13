# SPDX-License-Identifier: Apache-2.0
"""Deformable attention: the reference against values found by hand, the fast implementations against the reference."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from selfocc_ros.ops import deformable_attention as module
from selfocc_ros.ops.deformable_attention import deformable_attention

ROOT = Path(__file__).resolve().parents[2]
# Odd sizes: the only locations of few binary digits on a pixel centre, where gradients jump, are then halves.
LEVELS = [((3, 5),), ((7, 3), (1, 5), (1, 1))]
# The largest deviation, as a part of the largest number: sums are in float32, then rounded to the inputs' type.
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


def inputs(
    shapes: Sequence[tuple[int, int]],
    channels: int = 5,
    queries: int = 7,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> tuple[Tensor, Tensor, Tensor]:
    """Values, locations (a third of them partly or wholly outside) and weights; the first query is far outside."""
    generator = torch.Generator().manual_seed(channels)
    tokens = sum(height * width for height, width in shapes)
    values = torch.randn(2, tokens, 3, channels, generator=generator)
    locations = torch.rand(2, queries, 3, len(shapes), 4, 2, generator=generator) * 1.6 - 0.3
    locations[:, :1] = 1e4
    weights = torch.rand(2, queries, 3, len(shapes), 4, generator=generator)
    values, locations, weights = (tensor.to(device, dtype) for tensor in (values, locations, weights))
    return values, torch.where(locations == 0.5, 0.375, locations), weights


def run(implementation: str, shapes: Sequence[tuple[int, int]], *tensors: Tensor) -> list[Tensor]:
    """The output, and the gradients of a sum of it that tells its elements apart."""
    values, locations, weights = (tensor.detach().clone().requires_grad_() for tensor in tensors)
    out = deformable_attention(values, shapes, locations, weights, implementation)
    upstream = torch.linspace(-1, 1, out.numel(), device=out.device).view_as(out).to(out.dtype)
    return [out.detach(), *torch.autograd.grad(out, (values, locations, weights), upstream)]


def assert_close(found: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float) -> None:
    for what, one, other in zip(("out", "values", "locations", "weights"), found, expected, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        error = (one.float() - other.float()).abs().max() / other.float().abs().max()
        assert float(error) <= tolerance, what


def assert_triton_equals_reference(device: str) -> None:
    for shapes, channels in zip(LEVELS, (5, 16), strict=True):
        for dtype, tolerance in TOLERANCES.items():
            tensors = inputs(shapes, channels, dtype=dtype, device=device)
            assert_close(run("triton", shapes, *tensors), run("reference", shapes, *tensors), tolerance)
    values, locations, weights = inputs(LEVELS[0], queries=0, device=device)
    assert deformable_attention(values, LEVELS[0], locations, weights, "triton").shape == (2, 0, 15)


@pytest.mark.parametrize("implementation", ["reference", "gather"])
@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (0.5, 0.5, 3.5),  # the centre of the image: the mean of the two pixels beside it
        (2.5 / 3, 0.25, 3.0),  # the centre of the upper right pixel
        (0.0, 0.25, 0.5),  # the left border: half of the upper left pixel, half outside
        (0.0, 1.0, 1.0),  # a corner: a quarter
        (1 + 0.5 / 3, 0.5, 0.0),  # a pixel beyond the outermost centres
    ],
)
def test_bilinear_between_pixel_centres_zeros_outside(implementation: str, x: float, y: float, expected: float) -> None:
    values = torch.tensor([1.0, 2, 3, 4, 5, 6]).view(1, 6, 1, 1)
    locations = torch.tensor([x, y]).view(1, 1, 1, 1, 1, 2)
    out = deformable_attention(values, [(2, 3)], locations, torch.full((1, 1, 1, 1, 1), 2.0), implementation)
    assert out.item() == pytest.approx(2 * expected, abs=1e-6)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shapes", LEVELS)
def test_gather_equals_the_reference(shapes: Sequence[tuple[int, int]], dtype: torch.dtype) -> None:
    tensors = inputs(shapes, dtype=dtype)
    assert_close(run("gather", shapes, *tensors), run("reference", shapes, *tensors), TOLERANCES[dtype])


def test_gradients_of_the_gather_are_those_of_its_output() -> None:
    shapes = ((2, 3), (1, 2))
    values, locations, weights = inputs(shapes, channels=2, queries=2, dtype=torch.float64)
    tensors = [tensor[:1].requires_grad_() for tensor in (values, locations.clamp(-2, 2), weights)]
    assert torch.autograd.gradcheck(lambda v, s, w: deformable_attention(v, shapes, s, w, "gather"), tensors)


def test_slabs_and_the_memory_order_of_inputs_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = LEVELS[1]
    values, locations, weights = inputs(shapes)
    whole = run("auto", shapes, values, locations, weights)  # the gather, on a CPU
    monkeypatch.setattr(module, "_queries_at_a_time", lambda *_: 2)  # seven queries: the last slab is short
    permuted = [tensor.transpose(1, -1).contiguous().transpose(1, -1) for tensor in (values, locations, weights)]
    assert_close(run("gather", shapes, *permuted), whole, 1e-6)


@pytest.mark.parametrize("implementation", ["reference", "gather"])
def test_no_queries_at_all(implementation: str) -> None:
    out, by_values, *_ = run(implementation, LEVELS[0], *inputs(LEVELS[0], queries=0))
    assert out.shape == (2, 0, 15)
    assert not by_values.any()


def test_what_does_not_fit_is_refused() -> None:
    values, locations, weights = inputs(LEVELS[0])
    with pytest.raises(ValueError, match="'cuda' is unknown; deformable attention has auto, reference, gather, triton"):
        deformable_attention(values, LEVELS[0], locations, weights, "cuda")
    with pytest.raises(ValueError, match=r"15 tokens, but the levels .* have 12 pixels"):
        deformable_attention(values, [(3, 4)], locations, weights)
    with pytest.raises(ValueError, match="do not fit values"):
        deformable_attention(values, LEVELS[0], locations[..., :3, :], weights)


def test_triton_is_asked_for_only_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "selfocc_ros.ops.deformable_attention_triton", raising=False)
    values, locations, weights = inputs(LEVELS[0])
    deformable_attention(values, LEVELS[0], locations, weights)
    with pytest.raises(ImportError, match="triton"):
        deformable_attention(values, LEVELS[0], locations, weights, "triton")


@needs_triton
def test_kernels_want_a_cuda_device() -> None:
    values, locations, weights = inputs(LEVELS[0])
    with pytest.raises(ValueError, match="needs a CUDA device, but the values are on 'cpu'"):
        deformable_attention(values, LEVELS[0], locations, weights, "triton")


@needs_triton
@pytest.mark.slow
def test_interpreted_kernels_equal_the_reference() -> None:
    """In a process of its own: triton decides at its import whether it interprets."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_kernels_compile_without_a_device(dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter takes more Python than the compiler does."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from selfocc_ros.ops import deformable_attention_triton as kernels

    constants = {"HEADS": 6, "CHANNELS": 24, "LEVELS": 3, "POINTS": 12, "BLOCK_BAGS": 16, "BLOCK_CHANNELS": 32}
    special = {"bags": "i32", "tokens": "i32", "levels": "*i32", "by_values": "*fp32"}
    for kernel in (kernels._forward_kernel, kernels._backward_kernel):
        signature = {name: "constexpr" if name in constants else f"*{dtype}" for name in kernel.arg_names}
        signature |= {name: kind for name, kind in special.items() if name in signature}
        assert triton.compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 90, 32)).asm["ptx"]


@pytest.mark.gpu
def test_compiled_kernels_equal_the_reference() -> None:
    pytest.importorskip("triton")
    assert_triton_equals_reference("cuda")
    shapes = ((50, 50), (9, 50))
    tensors = inputs(shapes, channels=16, queries=3001, device="cuda")
    assert_close(run("auto", shapes, *tensors), run("reference", shapes, *tensors), 1e-4)


if __name__ == "__main__":
    assert_triton_equals_reference("cpu")
