# SPDX-License-Identifier: Apache-2.0
"""Voxels that SelfOcc empties before it scores: the upper layers and a rim, where its networks see little."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Trim:
    """How many cells along x, y and z are emptied at the lower end and at the upper end of a grid."""

    low: tuple[int, int, int] = (0, 0, 0)
    high: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        if min(*self.low, *self.high) < 0:
            raise ValueError(f"a trim takes away no fewer than 0 cells, found low {self.low} and high {self.high}")

    def kept(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """(X,Y,Z) voxels that stay what they are."""
        inside = np.zeros(shape, np.bool_)
        spans = zip(self.low, shape, self.high, strict=True)
        inside[tuple(slice(low, max(size - high, 0)) for low, size, high in spans)] = True
        return inside


NO_TRIM = Trim()

SELFOCC_OCC3D_TRIM = Trim(low=(6, 6, 0), high=(6, 6, 4))
"""On Occ3D's 200 x 200 x 16 cells of 0.4 m: all above 3.8 m, and 2.4 m on every side."""

SELFOCC_SEMANTICKITTI_TRIM = Trim(low=(0, 6, 0), high=(6, 6, 4))
"""On SemanticKITTI's 256 x 256 x 32 cells of 0.2 m (forward, lateral, up): the upper 0.8 m, and 1.2 m ahead and
aside."""
