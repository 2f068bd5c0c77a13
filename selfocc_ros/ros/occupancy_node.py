# SPDX-License-Identifier: Apache-2.0
"""The node `selfocc`: camera images and transforms in, occupancy out.

Publishes `~/occupancy_grid`, `~/occupied_points` and /diagnostics; parameters are described in `parameters.py`,
which cameras it takes in `watch.py`. Subscriptions only store; one thread of its own does the work (`pipeline.py`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.logging import get_logger
from rclpy.node import Node

from selfocc_ros.configuration import ConfigError
from selfocc_ros.geometry.transforms import TransformTree
from selfocc_ros.node_parameters import NodeParameters, ParameterError
from selfocc_ros.ros import qos
from selfocc_ros.ros.diagnostics import diagnostics
from selfocc_ros.ros.inputs import CameraInputs
from selfocc_ros.ros.outputs import Outputs
from selfocc_ros.ros.parameters import Parameters
from selfocc_ros.ros.pipeline import Pipeline, PredictorLike
from selfocc_ros.ros.spin import ArgumentError, init, shut_down, spin_until_signal
from selfocc_ros.ros.status import STALE_S, Complaints, Status
from selfocc_ros.ros.transforms import TransformListener
from selfocc_ros.sensing.rig_source import RigSource

LOOK_S = 0.5
POLL_S = 0.05
DIAGNOSE_S = 1.0
REPORT_S = 5.0
REPORT_IDLE_S = 30.0
STOP_S = 3.0

PredictorFactory = Callable[[NodeParameters], PredictorLike]


def load_predictor(parameters: NodeParameters) -> PredictorLike:
    """The trained network that the parameters name; imports torch, which takes seconds."""
    from selfocc_ros.runtime.predictor import Predictor

    return Predictor.from_checkpoint(
        parameters.checkpoint or "default", device=parameters.device, ground_z=parameters.ground_z
    )


class OccupancyNode:
    """Wires the parts together around a `node`, which it does not inherit from: rclpy's has many private attributes.

    Args:
        predictor_factory: makes what predicts; tests give a small one.

    Raises:
        ParameterError: a parameter has a value that cannot be used.
    """

    def __init__(self, predictor_factory: PredictorFactory = load_predictor) -> None:
        self.node = node = Node("selfocc")
        self._log = node.get_logger()
        self._parameters = Parameters(node)
        for warning in self._parameters.warnings:
            self._log.warning(warning)
        self._source = RigSource.of(self._parameters.values)
        values = self._source.parameters

        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)

        self._status = Status()
        self._complain = Complaints(self._log.warning)
        self._tree = TransformTree()
        self._outputs = Outputs(node, self._values, self._tree, self._complain, lambda: self._pipeline.predictor)
        self._inputs = CameraInputs(
            node,
            values,
            self._status,
            self._complain,
            on_sets=lambda sets: self._pipeline.offer(sets),
            on_jump=self._start_afresh,
            tree=self._tree,
        )
        self._pipeline = Pipeline(
            load=lambda: predictor_factory(values),
            models=self._inputs.models,
            tree=self._tree,
            parameters=self._values,
            publish=self._outputs.publish,
            status=self._status,
            complain=self._complain,
        )
        self._listener = TransformListener(node, self._tree, self._log.warning)

        # Steady time: with use_sim_time the node must look around and report also while /clock stands still.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(LOOK_S, lambda: self._inputs.look(self._now_s()), clock=self._steady)
        node.create_timer(POLL_S, self._poll, clock=self._steady)
        node.create_timer(DIAGNOSE_S, self._diagnose, clock=self._steady)
        node.create_timer(1.0, self._report, clock=self._steady)
        self._told_state = ""
        self._told_line, self._told_s = "", self._now_s() - REPORT_S
        self._pipeline.start()

    def close(self) -> bool:
        """End the threads, then the node; False if the working thread is still busy after `STOP_S`."""
        idle = self._pipeline.stop(STOP_S)
        self._listener.close()
        self.node.destroy_node()
        return idle

    def survive(self, error: Exception) -> None:
        """A callback failed: tell it, once per kind, and go on."""
        self._complain(("callback", type(error)), f"a message could not be used: {type(error).__name__}: {error}")

    def _values(self) -> NodeParameters:
        """The parameters as they are now, with those of the preset."""
        return self._source.refilled(self._parameters.values).parameters

    def _now_s(self) -> float:
        return float(self._steady.now().nanoseconds) * 1e-9

    def _start_afresh(self, seconds: float) -> None:
        """Image stamps have jumped back: drop the set that waits. Synchroniser and tree notice by themselves."""
        self._pipeline.forget()
        self._outputs.forget()
        self._log.info(f"time went back by {seconds:.1f} s (a recording that starts again?): starting afresh")

    def _diagnose(self) -> None:
        snapshot = self._status.snapshot()
        self._told_state = snapshot.state
        self._diagnostics.publish(
            diagnostics(self.node.get_fully_qualified_name().strip("/"), snapshot, self.node.get_clock().now().to_msg())
        )

    def _poll(self) -> None:
        self._inputs.poll(POLL_S)
        # A change of state goes out at once: others wait for `ready`.
        snapshot = self._status.snapshot()
        if snapshot.state != self._told_state:
            if snapshot.state == "ready":
                self._log.info("ready")
            elif snapshot.state == "error":
                self._log.error(f"the node cannot work: {snapshot.reason}")
            self._diagnose()

    def _report(self) -> None:
        """The log line: every 5 s while there is something to tell, every 30 s while nothing changes."""
        snapshot = self._status.snapshot()
        for name in snapshot.stale:
            topic = snapshot.cameras[name].image_topic
            self._complain(
                (name, "stale"), f"camera '{name}': no image on {topic} for {STALE_S:g} s; occupancy goes on without it"
            )
        line, age_s = snapshot.line(), self._now_s() - self._told_s
        patience_s = REPORT_IDLE_S if line == self._told_line else REPORT_S
        if age_s >= patience_s:
            self._log.info(line)
            self._told_line, self._told_s = line, self._now_s()


def main(argv: Sequence[str] | None = None, predictor_factory: PredictorFactory = load_predictor) -> int:
    """Run the node until SIGINT or SIGTERM; returns the exit status."""
    node: OccupancyNode | None = None
    idle = True
    try:
        init(sys.argv if argv is None else argv)
        node = OccupancyNode(predictor_factory)
        spin_until_signal(node.node, node.survive)
    except (ParameterError, ConfigError) as error:
        get_logger("selfocc").fatal(str(error))
        return 2
    except ArgumentError as error:
        sys.stderr.write(f"selfocc: {error}\n")
        return 2
    finally:
        if node is not None:
            idle = node.close()
        shut_down()
    if not idle:
        # It imports torch or computes, for many seconds on a busy machine. All is put in order, and an interpreter
        # that ends the usual way would wait for it, or crash where it goes on in libraries that are being unloaded.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
