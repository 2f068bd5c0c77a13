# SPDX-License-Identifier: Apache-2.0
"""Write test/fixtures/parity.npz: what the published networks and losses compute on seeded numbers, very small.

To be run when a case is added, and only where test/golden passes without a skip: the fixture vouches for agreement
with the official implementation on machines that do not have its recordings. Says which results change, and by how
much; those of older cases should not.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Compute all cases and write them; returns 0."""
    sys.path[:0] = [str(ROOT), str(ROOT / "training"), str(ROOT / "test" / "parity")]
    cases = importlib.import_module("cases")
    before = cases.stored() if cases.FIXTURE.is_file() else {}
    now = {f"{case}/{name}": value for case in cases.CASES for name, value in cases.compute(case).items()}
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if new is None:
            print(f"{name}: gone")
        elif old is None:
            print(f"{name}: new, {new.dtype} {new.shape}")
        elif old.shape != new.shape:
            print(f"{name}: {old.shape} becomes {new.shape}")
        elif not np.array_equal(old, new):
            print(f"{name}: changes by up to {np.abs(old.astype(float) - new).max():.3g}")
    cases.FIXTURE.parent.mkdir(exist_ok=True)
    np.savez_compressed(cases.FIXTURE, **now)
    print(f"{cases.FIXTURE}: {len(now)} results of {len(cases.CASES)} cases, {cases.FIXTURE.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
