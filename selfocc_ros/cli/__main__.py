# SPDX-License-Identifier: Apache-2.0
"""`python -m selfocc_ros.cli`: the `selfocc` command where its script is not on the PATH."""

from __future__ import annotations

import sys

from selfocc_ros.cli import main

if __name__ == "__main__":
    sys.exit(main())
