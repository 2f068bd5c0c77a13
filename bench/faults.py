# SPDX-License-Identifier: Apache-2.0
"""How soon the node publishes again after a fault of time, of cameras, transforms or the network.

    python bench/faults.py --json out/faults.json

The node is the real one with the small predictor of the tests, the rig sends three small cameras at 10 Hz; both are
processes of their own. For each case of `_recovery_cases.py`: seconds of wall time from the first good data to the
first message that was made of it. The goal is one second.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from _recovery import Recovery
from _recovery_cases import CASES

from selfocc_ros.cli.output import write_json
from selfocc_ros.errors import SelfOccError

GOAL_S = 1.0


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--only", default="", help="cases whose name has this text in it")
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON; - is standard output")
    args = parser.parse_args()
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="selfocc_faults_") as folder:
        try:
            with Recovery(Path(folder)) as recovery:
                for case in (case for case in CASES if args.only in case.name):
                    recovery.healthy()
                    recovery.begin(case)
                    seconds[case.name] = round(recovery.seconds_to_recover(case), 3)
                    print(f"{seconds[case.name]:6.2f} s  {case.name}", flush=True)
                    recovery.finish(case)
        except SelfOccError as error:
            print(f"faults: {error}", file=sys.stderr)
            return 2
    late = [name for name, taken in seconds.items() if taken > GOAL_S]
    print(f"{len(seconds) - len(late)} of {len(seconds)} within {GOAL_S:g} s")
    if args.json:
        write_json(args.json, {"goal_s": GOAL_S, "seconds": seconds, "late": late})
    return 0


if __name__ == "__main__":
    sys.exit(main())
