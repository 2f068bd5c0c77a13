# SPDX-License-Identifier: Apache-2.0
"""A way to the cases beside this file, which importlib mode alone does not give."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
