# SPDX-License-Identifier: Apache-2.0
"""Deformable attention: the reference against the fast path of this machine's device, time and peak memory.

    python bench/deformable_attention.py --full --json out/deformable_attention.json

Each measurement has a process of its own, since only a fresh one tells its peak memory: what was allocated on the GPU,
or by how much resident memory grew, beyond the inputs. `forward` runs without gradients, `training` is a forward and a
backward pass, whose memory counts the gradients. Times are the best of `--repeats`, after one pass to warm up.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from selfocc_ros.cli.output import write_json
from selfocc_ros.errors import SelfOccError
from selfocc_ros.ops.deformable_attention import deformable_attention

SPREAD = 0.05
"""Standard deviation of a sample's distance from its query, in parts of the image: attention looks around itself."""


@dataclass(frozen=True)
class Case:
    """Sizes of one call; heads and channels are those of the published models."""

    name: str
    queries: int
    shapes: tuple[tuple[int, int], ...]
    points: int
    heads: int = 6
    channels: int = 16

    def inputs(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Values, locations and weights; queries in row-major order across the image, as planes have them.

        Made in place: what is allocated here and let go would hide as much of the peak that is measured later.
        """
        generator = torch.Generator(device).manual_seed(0)
        tokens = sum(height * width for height, width in self.shapes)
        per_query = (1, self.queries, self.heads, len(self.shapes), self.points)
        values = torch.randn(1, tokens, self.heads, self.channels, device=device, generator=generator)
        side = round(self.queries**0.5)
        query = torch.arange(self.queries, device=device)
        centres = torch.stack([(query % side) / side, query / self.queries], dim=-1)
        locations = torch.randn(*per_query, 2, device=device, generator=generator)
        locations.mul_(SPREAD).add_(centres.view(1, -1, 1, 1, 1, 2))
        weights = torch.rand(per_query, device=device, generator=generator)
        weights /= weights.sum(dim=(-2, -1), keepdim=True)
        return values, locations, weights


QUICK = (
    Case("self, planes 65x65x9", 65 * 65 + 2 * 9 * 65, ((65, 65), (9, 65), (65, 9)), points=12),
    Case("cross, plane hw, reduced", 1500, ((24, 50), (12, 25), (6, 13), (3, 7)), points=8),
)
# nuScenes. A plane's nodes are shared by six cameras: the cross-attention of one camera has about a sixth of them.
FULL = (
    Case("self, planes 257x257x25", 257 * 257 + 2 * 25 * 257, ((257, 257), (25, 257), (257, 25)), points=12),
    Case("cross, plane hw", 257 * 257 // 6, ((96, 200), (48, 100), (24, 50), (12, 25)), points=8),
    Case("cross, plane zh or wz", 257 * 25 // 6, ((96, 200), (48, 100), (24, 50), (12, 25)), points=48),
)


def best_ms(function: Callable[[], object], repeats: int, device: torch.device) -> float:
    """The shortest time of some calls, after one that is not counted."""
    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - begin)
    return 1e3 * min(times[1:])


def peak_mb(device: torch.device) -> float:
    """The most memory that this process has ever held, on the GPU or resident; Linux counts the latter in KiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure(case: Case, implementation: str, device_name: str, repeats: int) -> dict[str, float]:
    """Times and peak memory; to be run in a fresh process."""
    device = torch.device(device_name)
    passes(Case("small", 4, ((2, 2),), 1), implementation, device)[1]()  # loads its libraries
    forward, training = passes(case, implementation, device)
    start = peak_mb(device)
    with torch.no_grad():
        figures = {"forward_ms": best_ms(forward, repeats, device), "forward_mb": peak_mb(device) - start}
    figures["training_ms"] = best_ms(training, repeats, device)
    figures["training_mb"] = peak_mb(device) - start
    return figures


def passes(
    case: Case, implementation: str, device: torch.device
) -> tuple[Callable[[], Tensor], Callable[[], tuple[Tensor, ...]]]:
    """A forward pass, and one with its backward pass, of inputs made for them."""
    values, locations, weights = inputs = tuple(tensor.requires_grad_() for tensor in case.inputs(device))

    def forward() -> Tensor:
        return deformable_attention(values, case.shapes, locations, weights, implementation)

    def training() -> tuple[Tensor, ...]:
        return torch.autograd.grad(forward().sum(), inputs)

    return forward, training


def compare(case: Case, device_name: str, repeats: int) -> dict[str, Any]:
    """Both implementations, one after the other, and how many times less the fast one takes."""
    row: dict[str, Any] = asdict(case)
    for implementation in ("reference", "auto"):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            row[implementation] = pool.apply(measure, (case, implementation, device_name, repeats))
    row["ratio"] = {key: row["reference"][key] / max(value, 1e-3) for key, value in row["auto"].items()}
    return row


def show(row: Mapping[str, Any]) -> None:
    """Three lines of a case."""
    print(f"\n{row['name']}: {row['queries']} queries, {len(row['shapes'])} levels, {row['points']} points")
    for key in ("reference", "auto", "ratio"):
        cells = [f"{name.replace('_', ' ')} {value:9.1f}" for name, value in row[key].items()]
        print(f"  {key:10}" + "   ".join(cells), flush=True)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--full", action="store_true", help="the sizes of the nuScenes model, gigabytes on a CPU")
    parser.add_argument("--device", help="cpu or cuda; CUDA where there is some, if not given")
    parser.add_argument("--repeats", type=int, default=3, help="of which the shortest counts (3)")
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON; - is standard output")
    args = parser.parse_args()
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}, torch {torch.__version__}, float32")
    rows = []
    for case in FULL if args.full else QUICK:
        rows.append(compare(case, device, args.repeats))
        show(rows[-1])
    if args.json:
        try:
            write_json(args.json, {"device": name, "torch": torch.__version__, "cases": rows})
        except SelfOccError as error:
            print(f"deformable_attention: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
