# SPDX-License-Identifier: Apache-2.0
"""The faults of the soak: what is done to a running node and its rig, and how it is undone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from _observer import BenchError, Observer
from _rig import RigProcess
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool, Trigger

from selfocc_ros.ros.session import NODE

CAMERAS = ("front", "left", "right")
PARAMETERS: dict[str, tuple[Any, ...]] = {
    "height_band": ([0.1, 1.0], [0.3, 2.0], [0.0, 2.2]),
    "tf_wait": (0.2, 0.5),
    "publish.occupancy_grid": (False, True),
    "publish.sdf_slice": (False, True),
    "surface_only": (False, True),
    "local_ground": (False, True),
    "fusion.enabled": (True, True, False),
}


@dataclass
class Scene:
    """The rig, which can be replaced, and the node's services."""

    observer: Observer
    start_rig: Callable[[], RigProcess]
    dice: random.Random
    rig: RigProcess = field(init=False)

    def __post_init__(self) -> None:
        self.rig = self.start_rig()
        create = self.observer.node.create_client
        self._set = create(SetParameters, f"/{NODE}/set_parameters")
        self._enable = create(SetBool, f"/{NODE}/set_enabled")
        self._change = create(ChangeState, f"/{NODE}/change_state")
        self._triggers = {name: create(Trigger, f"/{NODE}/{name}") for name in ("load_checkpoint", "reset")}

    def ready(self) -> bool:
        """Whether all services are there."""
        return all(
            client.service_is_ready() for client in (self._set, self._enable, self._change, *self._triggers.values())
        )

    def set_parameter(self, name: str, value: Any) -> None:
        """Set one; refused or not, the node has to answer."""
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        self.observer.call(self._set, request)

    def enable(self, enabled: bool) -> None:
        """Call ~/set_enabled."""
        self.observer.call(self._enable, SetBool.Request(data=enabled))

    def change(self, *transitions: int) -> None:
        """Take the node through its lifecycle.

        Raises:
            BenchError: it refuses.
        """
        for number in transitions:
            answer, _ = self.observer.call(self._change, ChangeState.Request(transition=Transition(id=number)))
            if not answer.success:
                raise BenchError(f"the node refuses transition {number} of its lifecycle")

    def trigger(self, name: str) -> None:
        """Call a service without arguments."""
        self.observer.call(self._triggers[name], Trigger.Request())


@contextmanager
def _camera(scene: Scene, fault: str) -> Iterator[None]:
    name = scene.dice.choice(CAMERAS)
    scene.rig.tell(f"camera {name} {fault}")
    yield
    scene.rig.tell(f"camera {name} ok")


@contextmanager
def _told(scene: Scene, bad: str, good: str) -> Iterator[None]:
    scene.rig.tell(bad)
    yield
    scene.rig.tell(good)


@contextmanager
def _all_garbage(scene: Scene) -> Iterator[None]:
    for name in CAMERAS:
        scene.rig.tell(f"camera {name} garbage")
    yield
    for name in CAMERAS:
        scene.rig.tell(f"camera {name} ok")


@contextmanager
def _jump(scene: Scene) -> Iterator[None]:
    scene.rig.tell(f"jump {scene.dice.choice((-3600, -20, -3, 3, 20, 3600))}")
    yield


@contextmanager
def _killed(scene: Scene) -> Iterator[None]:
    scene.rig.kill()
    yield
    scene.rig = scene.start_rig()


@contextmanager
def _parameters(scene: Scene) -> Iterator[None]:
    for _ in range(20):
        name = scene.dice.choice(list(PARAMETERS))
        scene.set_parameter(name, scene.dice.choice(PARAMETERS[name]))
    yield


@contextmanager
def _triggered(scene: Scene, service: str) -> Iterator[None]:
    scene.trigger(service)
    yield


@contextmanager
def _disabled(scene: Scene) -> Iterator[None]:
    scene.enable(False)
    yield
    scene.enable(True)


@contextmanager
def _deactivated(scene: Scene) -> Iterator[None]:
    scene.change(Transition.TRANSITION_DEACTIVATE)
    yield
    scene.change(Transition.TRANSITION_ACTIVATE)


@contextmanager
def _cleaned_up(scene: Scene) -> Iterator[None]:
    scene.change(Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP)
    yield
    scene.change(Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE)


FAULTS: dict[str, tuple[Callable[[Scene], Any], bool]] = {
    "a camera killed and back": (lambda scene: _camera(scene, "gone"), True),
    "a camera silent": (lambda scene: _camera(scene, "silent"), True),
    "garbage from a camera": (lambda scene: _camera(scene, "garbage"), True),
    "a camera of another size": (lambda scene: _camera(scene, "size 96 72"), True),
    "garbage from all cameras": (_all_garbage, False),
    "a gap in /tf": (lambda scene: _told(scene, "tf off", "tf on"), False),
    "a jump in time": (_jump, True),
    "/clock stands still": (lambda scene: _told(scene, "clock off", "clock on"), True),
    "the player killed and back": (_killed, False),
    "parameters set": (_parameters, True),
    "the checkpoint loaded again": (lambda scene: _triggered(scene, "load_checkpoint"), True),
    "~/reset": (lambda scene: _triggered(scene, "reset"), True),
    "disabled and enabled": (_disabled, False),
    "deactivated and activated": (_deactivated, False),
    "cleaned up and configured": (_cleaned_up, False),
}
"""Each is a context: begun on entering, undone on leaving. True where the node has to go on publishing meanwhile."""
