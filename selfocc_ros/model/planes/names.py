# SPDX-License-Identifier: Apache-2.0
"""Names of the published SelfOcc checkpoints' entries, and ours.

Lifter, encoder and field bear the published names below their own prefix. The backbone is another implementation of
the same network, so its parts are renamed one by one.
"""

from __future__ import annotations

import re

NOT_USED = {
    "head.model.device_indicator_param": "holds no value; it tells the published code its device",
}
"""Official entries that no entry of ours corresponds to, and why."""

NEVER_READ = {
    "head.model.field_background": "a background that the published renderer never asks for",
}
"""Official entries that are kept, so that nothing of a checkpoint is lost, but that no computation reads."""

_STAGE = "backbone.model.encoder.stages.<stage>.layers.<block>"
_RULES = (
    ("img_backbone.conv1.<value>", "backbone.model.embedder.embedder.convolution.<value>"),
    ("img_backbone.bn1.<value>", "backbone.model.embedder.embedder.normalization.<value>"),
    ("img_backbone.layer<stage>.<block>.conv<part>.<value>", f"{_STAGE}.layer.<part>.convolution.<value>"),
    ("img_backbone.layer<stage>.<block>.bn<part>.<value>", f"{_STAGE}.layer.<part>.normalization.<value>"),
    ("img_backbone.layer<stage>.<block>.downsample.0.<value>", f"{_STAGE}.shortcut.convolution.<value>"),
    ("img_backbone.layer<stage>.<block>.downsample.1.<value>", f"{_STAGE}.shortcut.normalization.<value>"),
    ("img_neck.lateral_convs.<level>.conv.<value>", "neck.lateral.<level>.<value>"),
    ("img_neck.fpn_convs.<level>.conv.<value>", "neck.smooth.<level>.<value>"),
    ("lifter.<rest>", "lifter.<rest>"),
    ("encoder.<rest>", "encoder.<rest>"),
    ("head.model.field.<rest>", "field.<rest>"),
    ("head.model.field_background", "field_background"),
)
"""(official, ours); what stands in angle brackets is the same in both."""

_FROM_ONE = ("stage", "part")
"""Numbers that the official names count from one, and ours from zero."""

_KINDS = {"value": r"\w+", "rest": r".+"}
"""Regular expressions of what stands in angle brackets; all others are numbers."""


def own_name(official: str) -> str | None:
    """Our name of an official entry; None for those in ``NOT_USED``.

    Raises:
        KeyError: a name that no published configuration has.
    """
    if official in NOT_USED:
        return None
    return _translate(official, list(_RULES), -1)


def official_name(own: str) -> str:
    """Official name of an entry of ours.

    Raises:
        KeyError: a name that no network of these families has.
    """
    return _translate(own, [(source, target) for target, source in _RULES], +1)


def _translate(name: str, rules: list[tuple[str, str]], shift: int) -> str:
    for source, target in rules:
        match = re.fullmatch(_pattern(source), name)
        if match is None:
            continue
        for key, text in match.groupdict().items():
            target = target.replace(f"<{key}>", str(int(text) + shift) if key in _FROM_ONE else text)
        return target
    raise KeyError(name)


def _pattern(template: str) -> str:
    """Regular expression of a name; numbers and last parts have no dots in them, a rest has."""
    pattern = re.escape(template)
    for key in re.findall(r"<(\w+)>", template):
        pattern = pattern.replace(f"<{key}>", f"(?P<{key}>{_KINDS.get(key, '[0-9]+')})")
    return pattern
