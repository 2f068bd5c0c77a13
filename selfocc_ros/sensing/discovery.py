# SPDX-License-Identifier: Apache-2.0
"""`cameras: auto`: which topics are cameras, from names and types alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class CameraTopics:
    """Where a camera publishes.

    Attributes:
        image: topic of the images.
        info: topic of their CameraInfo; empty where none is asked for.
        compressed: whether images are CompressedImage.
    """

    image: str
    info: str
    compressed: bool

    @property
    def rectified(self) -> bool:
        """Whether the name says that images are rectified (image_rect...), so that CameraInfo's P holds for them."""
        name = _base(self.image).rpartition("/")[2]
        return not {"rect", "rectified"}.isdisjoint(name.lower().split("_"))


# Of several images of one camera (image_proc publishes five), the one that says most about it.
_PREFERRED = ("image_raw", "image", "image_color", "raw", "image_rect_color", "image_rect")


def find_cameras(topics: Mapping[str, str], calibrated: Collection[str] = ()) -> dict[str, CameraTopics]:
    """Every image topic that has a CameraInfo beside it, or whose camera is one of `calibrated`.

    Beside it means, for `/front/image_raw` or `/front/image_raw/compressed`, `/front/camera_info`; `camera_info`
    below the image topic itself is taken too. One CameraInfo is one camera: where several images share it, the raw
    one goes before the rectified, and CompressedImage before Image of the same base name. Depth and disparity images
    are not cameras.

    Args:
        topics: types ('sensor_msgs/msg/Image' or 'sensor_msgs/Image') by topic name.
        calibrated: names of cameras that need no CameraInfo. An image without one is that of the camera which the end
            of its namespace names, with as few parts as will do.

    Returns:
        topics by camera name, sorted by topic. The name is the end of the namespace, with as many parts as it takes
        to tell all cameras apart: `/camera/front/image` is `front`; `/left/rgb/image` and `/right/rgb/image` are
        `left_rgb` and `right_rgb`.
    """
    kinds = {name: kind.replace("/msg/", "/") for name, kind in topics.items()}
    infos = {name for name, kind in kinds.items() if kind == "sensor_msgs/CameraInfo"}
    best: dict[str, tuple[tuple[int, bool, str], CameraTopics]] = {}
    for name, kind in kinds.items():
        if kind not in ("sensor_msgs/Image", "sensor_msgs/CompressedImage") or _is_depth(name):
            continue
        compressed = kind == "sensor_msgs/CompressedImage"
        info = info_beside(name, infos) or _place_of_info(name, calibrated)
        if info is None:
            continue
        last = _base(name).rpartition("/")[2].removesuffix("_compressed")
        preference = _PREFERRED.index(last) if last in _PREFERRED else len(_PREFERRED)
        candidate = (preference, not compressed, name), CameraTopics(name, info, compressed)
        if info not in best or candidate[0] < best[info][0]:
            best[info] = candidate
    chosen = sorted((camera for _, camera in best.values()), key=lambda camera: camera.image)
    named = {_calibrated_name(camera.info, calibrated): camera for camera in chosen if camera.info not in infos}
    own = [camera for camera in chosen if camera.info in infos]
    names = _names([camera.info for camera in own])
    out = dict(zip(names, own, strict=True)) | {
        name: replace(camera, info="") for name, camera in named.items() if name is not None and name not in names
    }
    return dict(sorted(out.items(), key=lambda item: item[1].image))


def choose_cameras(
    found: Mapping[str, CameraTopics], wanted: Sequence[str]
) -> tuple[dict[str, CameraTopics], tuple[str, ...]]:
    """The cameras that `wanted` means, in its order, and the entries that mean none of those found.

    An entry is a camera's name, its image topic (with or without /compressed) or its namespace.
    """
    chosen: dict[str, CameraTopics] = {}
    missing = []
    for entry in wanted:
        match = next((name for name, topics in found.items() if _means(entry, name, topics)), None)
        if match is None:
            missing.append(entry)
        else:
            chosen[match] = found[match]
    return chosen, tuple(missing)


def _means(entry: str, name: str, topics: CameraTopics) -> bool:
    image = _base(topics.image)
    bases = {topics.image, image, image.rpartition("/")[0], (topics.info or image).rpartition("/")[0]}
    return entry == name or "/" + entry.strip("/") in bases


def info_beside(image: str, infos: Collection[str]) -> str | None:
    """The topic of the CameraInfo that belongs to an image topic, of the topics `infos`; None without one."""
    base = _base(image)
    for namespace in (base.rpartition("/")[0], image.rpartition("/")[0], base):
        if f"{namespace}/camera_info" in infos:
            return f"{namespace}/camera_info"
    return None


def _place_of_info(image: str, calibrated: Collection[str]) -> str | None:
    """Where the CameraInfo of a calibrated camera's image would be."""
    info = f"{_base(image).rpartition('/')[0]}/camera_info"
    return info if _calibrated_name(info, calibrated) is not None else None


def _calibrated_name(info: str, calibrated: Collection[str]) -> str | None:
    parts = [part for part in info.split("/")[:-1] if part] or ["camera"]
    names = ["_".join(parts[-length:]) for length in range(1, len(parts) + 1)]
    return next((name for name in names if name in calibrated), None)


def _base(image: str) -> str:
    return image.removesuffix("/compressed")


def _is_depth(name: str) -> bool:
    return any("depth" in part or "disparity" in part for part in name.lower().split("/"))


def _names(infos: list[str]) -> list[str]:
    parts = [info.split("/")[:-1] for info in infos]
    parts = [[part for part in namespace if part] or ["camera"] for namespace in parts]
    for length in range(1, max(map(len, parts), default=0) + 1):
        names = ["_".join(namespace[-length:]) for namespace in parts]
        if len(set(names)) == len(names):
            return names
    return [info.removesuffix("/camera_info") or "/" for info in infos]  # only slashes tell them apart
