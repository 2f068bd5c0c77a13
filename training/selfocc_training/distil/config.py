# SPDX-License-Identifier: Apache-2.0
"""Parameters of distillation; `selfocc distil --help` reads them, so that nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass

from selfocc_ros.configuration import ConfigError


@dataclass(frozen=True)
class FusionConfig:
    """How volumes are fused and when a voxel is known."""

    reach_m: float = 30.0
    """Travel before and after a sample within which viewpoints count."""
    spacing_m: float = 3.0
    """Travel between the viewpoints that are fused; a sample's own always is."""
    decay_m: float = 4.0
    """Distance from a viewpoint over which its weight falls to 1/e."""
    clamp_m: float = 1.2
    """Signed distances are clamped to plus and minus this."""
    disagreement_m: float = 0.4
    """A voxel is unknown where the weighted standard deviation of the clamped distances is above this."""
    trust_m: float = 15.0
    """Within this distance of the sample, a voxel is unknown that its own volume calls occupied and the others free."""

    def __post_init__(self) -> None:
        for name in ("decay_m", "clamp_m", "disagreement_m"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"fusion: {name} must be above 0, found {getattr(self, name)}.")
        for name in ("reach_m", "spacing_m", "trust_m"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"fusion: {name} must not be negative, found {getattr(self, name)}.")
