# SPDX-License-Identifier: Apache-2.0
"""The node's services: they answer with one sentence, whether they could do what was asked or not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from selfocc_ros.errors import SelfOccError
from selfocc_ros.ros.executor import SlowGroup


class Served(Protocol):
    """What the services do; each returns its answer, and raises SelfOccError where it could not."""

    def save_scene(self) -> str:
        """Write what was predicted last to files; may take seconds."""

    def load_checkpoint(self) -> str:
        """Go over to the network that the parameter `checkpoint` names now; may take seconds."""

    def reset(self) -> str:
        """Forget what was gathered over time."""

    def set_enabled(self, enabled: bool) -> str:
        """Work, or rest until told otherwise."""


class Services:
    """`~/save_scene`, `~/load_checkpoint`, `~/reset` (std_srvs/Trigger) and `~/set_enabled` (std_srvs/SetBool).

    They are there in every state of the node. The slow ones do not keep the executor.
    """

    def __init__(self, node: Node, work: Served) -> None:
        self._log = node.get_logger()
        trigger: dict[str, tuple[Callable[[], str], CallbackGroup | None]] = {
            "save_scene": (work.save_scene, SlowGroup()),
            "load_checkpoint": (work.load_checkpoint, SlowGroup()),
            "reset": (work.reset, None),
        }
        for name, (do, group) in trigger.items():
            node.create_service(Trigger, f"~/{name}", partial(self._trigger, name, do), callback_group=group)
        node.create_service(SetBool, "~/set_enabled", partial(self._set_bool, "set_enabled", work.set_enabled))

    def _trigger(self, name: str, do: Callable[[], str], _request: Any, response: Any) -> Any:
        return self._answer(name, do, response)

    def _set_bool(self, name: str, do: Callable[[bool], str], request: Any, response: Any) -> Any:
        return self._answer(name, lambda: do(request.data), response)

    def _answer(self, name: str, do: Callable[[], str], response: Any) -> Any:
        try:
            response.message = do()
            response.success = True
            self._log.info(f"~/{name}: {response.message}")
        except SelfOccError as error:
            response.message = str(error)
            self._log.warning(f"~/{name}: {response.message}")
        except Exception as error:  # noqa: BLE001  who asked gets an answer, and the node goes on
            response.message = f"{type(error).__name__}: {error}"
            self._log.error(f"~/{name}: {response.message}")
        return response
