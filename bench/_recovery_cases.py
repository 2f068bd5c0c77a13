# SPDX-License-Identifier: Apache-2.0
"""Each fault of time and each way to degrade: how it begins, what the node has to say, and how it ends.

The table in docs/node.md, section Faults, says the same for people.
"""

from __future__ import annotations

from dataclasses import dataclass

GOOD_SETS = 3
"""By this good set after a fault the node publishes again."""

CAMERAS = ("front", "left", "right")


def _all(command: str) -> tuple[str, ...]:
    return tuple(f"camera {name} {command}" for name in CAMERAS)


@dataclass(frozen=True)
class Case:
    """One fault.

    Attributes:
        name: in words.
        says: what /diagnostics has to say of it, one of these texts; in the entry `<node>: <entry>`.
        begin, end: commands of the rig (test/ros/rig_driver.py), of the network (`network raise`) and of the node
            (`set PARAMETER VALUE`); what a jump of time does stands in `end`, for all that follows is good data.
        entry: the entry of /diagnostics: `state` or `camera NAME`.
        goes_on: the node has to publish during the fault as well.
        silent: the node must not publish during the fault: there is nothing it could publish.
        logs: what the log has to say, exactly once; empty for nothing.
    """

    name: str
    says: tuple[str, ...]
    begin: tuple[str, ...] = ()
    end: tuple[str, ...] = ()
    entry: str = "state"
    goes_on: bool = False
    silent: bool = False
    logs: str = ""


BACK, FORWARD, UNMOVED = "time went back by ", "time went forward by ", "motion between the cameras' stamps is not"
LEFT = "camera left"

TIME = (
    Case("a recording starts again", (BACK,), end=("jump -30",), logs=f"{BACK}29."),
    Case("time goes back by less than a second", (BACK,), end=("jump -0.7",), logs=f"{BACK}0."),
    Case("a loop shorter than a second", (BACK,), begin=("loop 0.7",), end=("loop 0",), goes_on=True),
    Case("time goes forward by hours", (FORWARD,), end=("jump 7200",), logs=f"{FORWARD}720"),
    Case("time goes back by hours", (BACK,), end=("jump -7200",), logs=f"{BACK}71"),
    Case("the player dies and another starts in the middle", (BACK, FORWARD), begin=("rig kill",),
         end=("rig start 500",), silent=True),
    Case("use_sim_time is on and there is no /clock", ("use_sim_time is true, but nothing comes on /clock",),
         begin=("clock off", "set use_sim_time true"), end=("set use_sim_time false", "clock on"), goes_on=True),
    Case("use_sim_time is switched on late", ("use_sim_time=true",), begin=("set use_sim_time true",),
         goes_on=True),
    Case("/clock stands still", ("/clock stands still",), begin=("clock off",), end=("clock on",), goes_on=True,
         logs="/clock stands still"),
    Case("use_sim_time is switched off", ("use_sim_time=false",), begin=("set use_sim_time false",), goes_on=True),
    Case("all stamps are zero", ("parameter stamp",), begin=("stamps zero",), end=("stamps ok",), entry=LEFT,
         silent=True, logs="camera 'left' is left out: /camera/left/image/compressed: the headers have no stamp"),
    Case("all stamps stand still", ("the stamps do not go on",), begin=("stamps still",), end=("stamps ok",),
         entry=LEFT),
    Case("stamps are ahead of transforms", (UNMOVED,), begin=("lead 3",), end=("lead 0",), goes_on=True, logs=UNMOVED),
    Case("transforms are far behind", (UNMOVED,), begin=("tf lag 3",), end=("tf on",), goes_on=True),
    Case("transforms stop", (UNMOVED,), begin=("tf off",), end=("tf on",), goes_on=True),
)  # fmt: skip

CAMERA = (
    Case("a camera falls silent", ("no image on /camera/left/image/compressed for",), begin=("camera left silent",),
         end=("camera left ok",), entry=LEFT, goes_on=True),
    Case("a camera dies and returns", ("no image on /camera/left/image/compressed for",), begin=("camera left gone",),
         end=("camera left ok", "await"), entry=LEFT, goes_on=True),
    Case("the reference camera dies and returns", ("no image on /camera/front/image/compressed for",),
         begin=("camera front gone",), end=("camera front ok", "await"), entry="camera front", goes_on=True),
    Case("all cameras die and return", ("no camera has sent an image for",), begin=_all("gone"),
         end=(*_all("ok"), "await"), silent=True),
    Case("a camera sends garbage", ("have no header of a JPEG",), begin=("camera left garbage",),
         end=("camera left ok",), entry=LEFT, goes_on=True, logs="have no header of a JPEG"),
    Case("all cameras send garbage", ("have no header of a JPEG",), begin=_all("garbage"), end=_all("ok"),
         silent=True),
    Case("a camera and its CameraInfo change size", ("96x72",), begin=("camera left size 96 72",),
         end=("camera left ok",), entry=LEFT, goes_on=True),
    Case("a camera changes size, its CameraInfo does not", ("calibration is for 64x48",),
         begin=("camera left resize 96 72",), end=("camera left ok",), entry=LEFT, goes_on=True),
    Case("a camera has no transform", ("frame 'adrift' is unknown",), begin=("camera left frame adrift",),
         end=("camera left ok",), entry=LEFT, goes_on=True),
)  # fmt: skip

NETWORK = (
    Case("the device is out of memory", ("the next try is in 0.8 s: the device is out of memory",),
         begin=("network memory",), end=("network ",), silent=True, logs="skipped: the device is out of memory"),
    Case("the network raises", ("ZeroDivisionError: a bug of the network",), begin=("network raise",),
         end=("network ",), silent=True, logs="skipped: ZeroDivisionError"),
    Case("the network is slower than the input", ("more than diagnostics.warn_latency (0.3 s)",),
         begin=("set diagnostics.warn_latency 0.3", "network slow 0.5"),
         end=("network ", "set diagnostics.warn_latency 1.0"), goes_on=True),
)  # fmt: skip

CASES = (*TIME, *CAMERA, *NETWORK)
