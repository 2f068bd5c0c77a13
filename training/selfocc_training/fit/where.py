# SPDX-License-Identifier: Apache-2.0
"""The sample of a step in words, so that a user finds it in the recording."""

from __future__ import annotations

from collections.abc import Sequence

from selfocc_training.dataset.clips import DatasetClips
from selfocc_training.steps import Sample
from selfocc_training.town_clips import Clip


def where(clips: Sequence[Clip], sample: Sample) -> str:
    """Clip, frame and cameras of a sample; of a dataset the drive, the stamp and the cameras' names."""
    cameras, place = [str(camera) for camera in sample.cameras], ""
    if isinstance(clips, DatasetClips):
        indices, dataset = clips.indices[sample.clip], clips.dataset
        index = indices[sample.frame]
        names = dataset.cameras_of(indices)
        cameras = [names[camera] for camera in sample.cameras]
        place = f" (drive {dataset.drives[index]}, stamp {dataset.stamps_ns[index]} ns)"
    noun = "camera" if len(cameras) == 1 else "cameras"
    return f"in clip {sample.clip}, frame {sample.frame}{place}, {noun} {', '.join(cameras)}"
