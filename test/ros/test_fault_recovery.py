# SPDX-License-Identifier: Apache-2.0
"""Each fault of time and each way to degrade, over real DDS, with one node that has to bear them all.

For each: the node says in /diagnostics what is wrong, goes on with what it has, publishes again by the third good set,
and holds no more threads, files and subscriptions than before. Sets are sent one by one after a fault, so that a busy
machine changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from _recovery import Held, Recovery
from _recovery_cases import CASES, GOOD_SETS, Case

pytestmark = [pytest.mark.fault, pytest.mark.slow]


@pytest.fixture(scope="module")
def recovery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recovery]:
    with Recovery(tmp_path_factory.mktemp("recovery")) as out:
        yield out
    assert out.node_exit == 0
    assert "Traceback" not in out.log()


@pytest.fixture(scope="module")
def held(recovery: Recovery) -> Held:
    """What the node holds before any fault."""
    recovery.healthy()
    return recovery.held()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "_"))
def test_fault(recovery: Recovery, held: Held, case: Case):
    recovery.healthy()
    told = recovery.told(case.logs)
    recovery.begin(case)
    assert recovery.sets_to_recover(case) <= GOOD_SETS
    recovery.finish(case)
    if case.logs:
        assert recovery.told(case.logs) == told + 1
    now = recovery.held()
    assert now.subscriptions == held.subscriptions
    assert now.threads <= held.threads + 2  # DDS has threads of its own, by what it has found
    assert now.files <= held.files + 4
