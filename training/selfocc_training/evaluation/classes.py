# SPDX-License-Identifier: Apache-2.0
"""Classes are matched by their names: those of a network and of a dataset's labels to those of a benchmark."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.errors import SelfOccError

NO_CLASS = -1
"""Of a class whose name the benchmark does not know."""


class ProtocolError(SelfOccError, ValueError):
    """A dataset, a network or an option that does not go with a protocol."""


def matches(names: Sequence[str], benchmark: Sequence[str]) -> NDArray[np.int64]:
    """(C,) place of each name in the benchmark's list, NO_CLASS where there is none; case and joints do not matter."""
    places = {_plain(name): place for place, name in enumerate(benchmark)}
    return np.array([places.get(_plain(name), NO_CLASS) for name in names], np.int64)


def common(network: Sequence[str], dataset: Sequence[str], benchmark: Sequence[str]) -> set[int]:
    """Classes of the benchmark that both the network and the dataset tell.

    Raises:
        ProtocolError: both have classes and none in common.
    """
    both = set(matches(network, benchmark).tolist()) & set(matches(dataset, benchmark).tolist()) - {NO_CLASS}
    if network and not both:
        raise ProtocolError(
            f"the network's classes ({_listed(network)}) and the dataset's ({_listed(dataset)}) have no name in common "
            f"among those of the protocol ({_listed(benchmark)})"
        )
    return both


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).lower()


def _listed(names: Sequence[str], most: int = 6) -> str:
    unique = list(dict.fromkeys(names))
    return ", ".join(unique[:most]) + (f" and {len(unique) - most} more" if len(unique) > most else "") or "none"
