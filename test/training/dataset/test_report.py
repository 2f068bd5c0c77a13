# SPDX-License-Identifier: Apache-2.0
"""The report tells what is wrong with a recording, in words and on one page with pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from recorded_drives import START

from selfocc_training.dataset.dataset import Dataset
from selfocc_training.dataset.prepare import prepare

Rewrite = Callable[..., Path]


def test_gaps_drops_and_jumps_are_told(bag: Path, rewrite: Rewrite, tmp_path: Path) -> None:
    def spoil(topic: str, at: int, msg: Any) -> tuple[str, Any] | None:
        seconds = (at - START) * 1e-9
        if topic == "/tf" and 1.0 < seconds < 1.7:
            return None
        if topic == "/camera/left/image/compressed" and 2.0 < seconds < 2.35:
            return None
        if topic == "/tf" and seconds > 2.6:
            msg.transforms[0].transform.translation.y += 5.0
        return topic, msg

    prepare([rewrite(bag, tmp_path / "spoilt", spoil)], tmp_path / "dataset")
    text = (tmp_path / "dataset" / "report.txt").read_text()
    assert "gaps in transform odom -> base_link: 1 (0.7" in text
    assert "odometry has 1 jump (5.0 m at 2.6" in text
    left = text.split("camera left: /camera/left")[1].split("\n")[1]
    assert "dropped 3" in left
    assert "offset to reference (5/50/95 %) +12.0/+12.0/+12.0 ms" in left
    dataset = Dataset.open(tmp_path / "dataset")
    after = int(np.flatnonzero(dataset.stamps_ns > START + 2_600_000_000)[0])
    assert dataset.neighbours(after, "front", 0.1, 20.0).before == ()


def test_dark_and_saturated_images_are_told(bag: Path, rewrite: Rewrite, tmp_path: Path) -> None:
    levels = {"back": 3, "left": 255}

    def paint(topic: str, _: int, msg: Any) -> tuple[str, Any]:
        name = topic.split("/")[2] if topic.endswith("compressed") else ""
        if name in levels:
            image = np.full((36, 64, 3), levels[name], np.uint8)
            msg.data = cv2.imencode(".jpg", image)[1].reshape(-1)
        return topic, msg

    prepare([rewrite(bag, tmp_path / "painted", paint)], tmp_path / "dataset")
    text = (tmp_path / "dataset" / "report.txt").read_text()
    assert "camera back: its images are dark" in text
    assert "camera left: 100% of its pixels are saturated" in text


def test_the_page_needs_no_other_file(prepared: Path) -> None:
    page = (prepared / "report.html").read_text()
    assert page.count("src='data:image/jpeg;base64,") == 12
    assert "src='http" not in page
    assert "<polyline" in page
    assert "too short to be split" in page
