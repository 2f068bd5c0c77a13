# SPDX-License-Identifier: Apache-2.0
"""Wrong classes come in patches, as many as asked for, the same from the same seed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from selfocc_ros.town.class_noise import noisy_classes


def scene() -> np.ndarray:
    classes = np.full((216, 384), 17, np.uint8)
    classes[100:] = 11
    classes[80:140, 50:120] = 4
    classes[:10, :10] = 255
    return classes


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
def test_the_share_is_wrong_in_patches(share: float) -> None:
    classes = scene()
    noisy = noisy_classes(classes, share, np.random.default_rng(3))
    wrong = noisy != classes
    assert wrong.mean() == pytest.approx(share, abs=0.005)
    assert (noisy[classes == 255] == 255).all()
    assert noisy[classes != 255].max() <= 17
    if share:
        sizes = cv2.connectedComponentsWithStats(wrong.astype(np.uint8))[2][1:, cv2.CC_STAT_AREA]
        assert len(sizes) > 3
        assert np.average(sizes, weights=sizes) > 300  # pixels: nothing like salt and pepper


def test_a_patch_mistakes_each_class_as_a_whole() -> None:
    classes = scene()
    noisy = noisy_classes(classes, 0.2, np.random.default_rng(0))
    _, patches = cv2.connectedComponents((noisy != classes).astype(np.uint8), connectivity=4)
    for patch in range(1, int(patches.max()) + 1):
        for label in (4, 11, 17):
            assert len(np.unique(noisy[(patches == patch) & (classes == label)])) <= 1


def test_it_follows_from_the_seed() -> None:
    first, again, other = (noisy_classes(scene(), 0.1, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.fault
def test_fault_a_share_beyond_one() -> None:
    with pytest.raises(ValueError, match="must be from 0 to 1, found 1"):
        noisy_classes(scene(), 1.5, np.random.default_rng(0))
