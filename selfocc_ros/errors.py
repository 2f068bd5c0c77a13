# SPDX-License-Identifier: Apache-2.0
"""The root of the project's own exceptions: what a user did or gave, told in one sentence."""

from __future__ import annotations


class SelfOccError(Exception):
    """Bad input, told in one sentence that names what was found and what was expected.

    The command line prints the sentence and exits with 2; the node reports it and goes on.
    """
