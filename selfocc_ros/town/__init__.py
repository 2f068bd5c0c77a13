# SPDX-License-Identifier: Apache-2.0
"""Synthetic drives through procedural streets, with exact ground truth.

Everything follows from a seed: the streets, the traffic, the light and the drive.
"""

from __future__ import annotations
