# SPDX-License-Identifier: Apache-2.0
"""Families of networks: which class a configuration stands for."""

from __future__ import annotations

from typing import TypeAlias

from selfocc_ros.geometry.voxels import OCC3D_CLASSES
from selfocc_ros.model.config import ModelConfig
from selfocc_ros.model.planes.config import PlaneConfig
from selfocc_ros.model.planes.selfocc import PlaneSelfOcc
from selfocc_ros.model.selfocc import SelfOcc, build_model

AnyConfig: TypeAlias = ModelConfig | PlaneConfig
Network: TypeAlias = SelfOcc | PlaneSelfOcc


def class_labels(config: AnyConfig) -> tuple[int, ...]:
    """Label of each class channel; several channels may bear one label. Empty for a network without classes."""
    if isinstance(config, PlaneConfig):
        return config.head.classes
    return tuple(range(len(config.head.classes)))


def label_names(config: AnyConfig) -> tuple[str, ...]:
    """Name of each label, by its index; plane networks know their labels by Occ3D's numbers."""
    if isinstance(config, PlaneConfig):
        return OCC3D_CLASSES if config.head.classes else ()
    return config.head.classes


def class_names(config: AnyConfig) -> tuple[str, ...]:
    """Name of each class channel."""
    names = label_names(config)
    return tuple(names[label] for label in class_labels(config))


def build_network(config: AnyConfig) -> Network:
    """Network with random weights.

    Raises:
        ConfigError: if the sizes do not fit together, or a package is missing that the family needs.
    """
    if isinstance(config, PlaneConfig):
        return PlaneSelfOcc(config)
    return build_model(config)
