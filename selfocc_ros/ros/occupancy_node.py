# SPDX-License-Identifier: Apache-2.0
"""The node `selfocc`: camera images and transforms in, occupancy out, as a managed (lifecycle) node.

configure loads the network, activate subscribes to cameras and transforms, deactivate and cleanup undo it; by itself it
does the first two when started. What it publishes is in `outputs`, its parameters in `parameters.py`, which cameras it
takes in `watch.py`.

Threads: one for all callbacks, which are short (`executor.py`); one that works on images (`pipeline.py`); one that
listens to transforms (`transforms.py`); and for a while those of transitions and services that take seconds.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from concurrent.futures import Future

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.logging import get_logger

from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.cameras import CameraModel
from selfocc_ros.geometry.transforms import TransformTree
from selfocc_ros.node_parameters import NodeParameters, ParameterError
from selfocc_ros.ros import qos
from selfocc_ros.ros.clock_watch import ClockWatch
from selfocc_ros.ros.complaints import Complaints
from selfocc_ros.ros.diagnostics import diagnostics
from selfocc_ros.ros.executor import NodeExecutor
from selfocc_ros.ros.inputs import CameraInputs, Sets
from selfocc_ros.ros.managed_node import AbandonedError, ManagedNode
from selfocc_ros.ros.mountings import MountingBroadcaster
from selfocc_ros.ros.optional import check_packages
from selfocc_ros.ros.outputs import Outputs
from selfocc_ros.ros.parameters import Parameters
from selfocc_ros.ros.pipeline import Pipeline, PredictorLike
from selfocc_ros.ros.services import Services
from selfocc_ros.ros.spin import ArgumentError, ask_to_end, init, shut_down, turn_until_signal
from selfocc_ros.ros.status import Status
from selfocc_ros.ros.time_watch import jump_sentence
from selfocc_ros.ros.transforms import TransformListener
from selfocc_ros.runtime.memory import free_memory
from selfocc_ros.sensing.rig_source import RigSource

LOOK_S = 0.5
POLL_S = 0.05
DIAGNOSE_S = 1.0
REPORT_S = 5.0
REPORT_IDLE_S = 30.0
STOP_S = 3.0
# Python's 5 ms are long for a thread that gives the interpreter away with every call into numpy or torch and waits to
# have it back. So a set is out a tenth sooner, and services answer a third sooner (bench/load.py, never_blocks.py).
SWITCH_S = 0.0005

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
        self._make_predictor = predictor_factory
        self.node = node = ManagedNode("selfocc", self)
        self.executor = NodeExecutor(node.context, self.survive)
        self.executor.add_node(node)
        self._log = node.get_logger()
        self._complain = Complaints(self._log.warning)
        self._parameters = Parameters(node)
        for warning in self._parameters.warnings:
            self._log.warning(warning)

        self._status = Status(limits=lambda: self._parameters.values.diagnostics)
        self._status.set_lifecycle("unconfigured")
        self._enabled = True
        self._ending = threading.Event()
        self._idle = True
        # From configure to cleanup:
        self._source = RigSource()
        self._tree = TransformTree()
        self._outputs: Outputs | None = None
        self._pipeline: Pipeline | None = None
        # While active:
        self._inputs: CameraInputs | None = None
        self._listener: TransformListener | None = None

        self._diagnostics = qos.offer(node, DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        self._mountings = MountingBroadcaster(node)
        self._services = Services(node, self)
        self._clock = ClockWatch(node, self._status, self._complain)
        # Steady time: with use_sim_time the node must look around and report also while /clock stands still.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(LOOK_S, self._look, clock=self._steady)
        node.create_timer(POLL_S, self._poll, clock=self._steady)
        node.create_timer(DIAGNOSE_S, self._diagnose, clock=self._steady)
        node.create_timer(1.0, self._report, clock=self._steady)
        self._told_state = ""
        self._told_line, self._told_s = "", self._now_s() - REPORT_S

    def run(self) -> None:
        """Serve until SIGINT, SIGTERM or a lifecycle shutdown."""
        if self._parameters.asked.autostart:
            self.executor.background(self.node.start)
        turn_until_signal(self.executor, self.survive)

    def close(self) -> bool:
        """Release everything; False if something is still busy after a few seconds, and may be for long."""
        self._ending.set()
        self.executor.end_spinning()
        if not self.executor.join(STOP_S):
            return False
        self.release()
        self.executor.remove_node(self.node)
        self.executor.shutdown(timeout_sec=0.0)
        self.node.destroy_node()
        return self._idle

    # Transitions; see `managed_node.Managed`. They run on a thread of their own.

    def configure(self) -> None:
        """Offer the outputs and load the network.

        Raises:
            SelfOccError: it cannot be loaded.
        """
        self._status.set_lifecycle("configuring")
        try:
            self._source = RigSource.of(self.executor.call(self._parameters.take))
            values = self._source.parameters
            check_packages(values)
            self._tree = TransformTree()
            self._outputs = outputs = self.executor.call(self._make_outputs)
            self._pipeline = pipeline = Pipeline(
                load=lambda: self._make_predictor(values),
                models=self._models,
                tree=self._tree,
                parameters=self._values,
                # One that was still at work when all was released has nowhere to publish to.
                publish=lambda prediction, sample: (
                    outputs.publish(prediction, sample) if self._inputs is not None and self._outputs is outputs else {}
                ),
                status=self._status,
                complain=self._complain,
                forget=outputs.forget,
            )
            pipeline.enabled = self._enabled
            self._log.info(f"the network: {self._await(pipeline.start())}")
        except Exception as error:
            if not isinstance(error, AbandonedError):
                self._status.model_failed(str(error) if isinstance(error, SelfOccError) else repr(error))
            self.release()
            raise
        self._status.set_lifecycle("inactive")

    def activate(self) -> None:
        """Subscribe to cameras and transforms."""
        self._tree.clear()
        try:
            self._listener = TransformListener(self.node, self._tree, self._log.warning)
            self.executor.call(self._begin_inputs)
        except Exception:
            self.deactivate()
            raise
        self._parameters.active = True
        self._status.set_lifecycle("active")

    def deactivate(self) -> None:
        """Take the subscriptions away and forget what came."""
        self._parameters.active = False
        self.executor.call(self._end_inputs)
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self._status.set_lifecycle("inactive")

    def release(self) -> None:
        """Give back all threads, topics and the network."""
        self.deactivate()
        if self._pipeline is not None:
            self._idle &= self._pipeline.stop(STOP_S)
            self._pipeline = None
        if self._outputs is not None:
            self.executor.call(self._outputs.close)
            self._outputs = None
        free_memory()
        self._status.set_lifecycle("unconfigured")

    def finalized(self) -> None:
        """The node has been shut down: so ends the process."""
        ask_to_end()

    def _make_outputs(self) -> Outputs:
        return Outputs(
            self.node,
            self._values,
            self._tree,
            self._complain,
            lambda: None if self._pipeline is None else self._pipeline.predictor,
        )

    def _begin_inputs(self) -> None:
        self._inputs = CameraInputs(
            self.node,
            self._source,
            self._status,
            self._complain,
            on_sets=self._offer,
            on_jump=self._start_afresh,
            tree=self._tree,
            on_mountings=self._mountings.tell,
        )

    def _end_inputs(self) -> None:
        if self._inputs is not None:
            self._inputs.close()
            self._inputs = None
            self._mountings.close()
            self._status.set_cameras({})
            self._status.set_waiting([])
        self._forget()

    def _await(self, future: Future[str]) -> str:
        """The result, unless the process is asked to end before it is there."""
        while not futures.wait([future], POLL_S).done:
            if self._ending.is_set():
                raise AbandonedError("the node is about to end")
        return future.result()

    # Services; see `services.Served`.

    def save_scene(self) -> str:
        """Write what was predicted last to `save_directory`."""
        _, outputs = self._configured()
        return outputs.save(self._values().save_directory)

    def load_checkpoint(self) -> str:
        """Go over to the network that `checkpoint` names now; the one in use stays where that fails."""
        pipeline, _ = self._configured()
        wanted = self._parameters.asked.checkpoint
        values = self._values().replace({"checkpoint": wanted})
        try:
            sentence = self._await(pipeline.replace(lambda: self._make_predictor(values)))
        except SelfOccError as error:
            in_use = _named(self._parameters.values.checkpoint)
            raise SelfOccError(f"{error}; {in_use} stays in use") from error
        self.executor.call(lambda: self._parameters.use_checkpoint(wanted))
        return f"{_named(wanted)} is in use: {sentence}"

    def reset(self) -> str:
        """Forget transforms, the set that waits and what the outputs gathered."""
        self._configured()
        self._tree.clear()
        if self._inputs is not None:
            self._inputs.reset()
        self._forget()
        return "transforms, images that wait and the local map are forgotten"

    def set_enabled(self, enabled: bool) -> str:
        """Work, or drop all sets unseen; also for later, where the node is not configured."""
        self._enabled = enabled
        if self._pipeline is not None:
            self._pipeline.enabled = enabled
        return "enabled" if enabled else "disabled: sets of images are dropped unseen"

    def _configured(self) -> tuple[Pipeline, Outputs]:
        if self._pipeline is None or self._outputs is None or self._pipeline.predictor is None:
            raise SelfOccError("the node has no network yet: configure it first")
        return self._pipeline, self._outputs

    # What happens while it runs, on the thread of the callbacks.

    def _models(self) -> dict[str, CameraModel]:
        inputs = self._inputs  # asked on another thread
        return {} if inputs is None else inputs.models()

    def _offer(self, sets: Sets) -> None:
        if self._pipeline is not None:
            self._pipeline.offer(sets)

    def _look(self) -> None:
        self._clock.look(self._now_s())
        if self._inputs is not None:
            self._inputs.look(self._now_s())

    def _forget(self) -> None:
        if self._pipeline is not None:
            self._pipeline.forget()

    def survive(self, error: Exception) -> None:
        """A callback failed: tell it, once per kind, and go on."""
        self._complain(("callback", type(error)), f"a message could not be used: {type(error).__name__}: {error}")

    def _values(self) -> NodeParameters:
        """The parameters as they are now, with those of the preset."""
        return self._source.refilled(self._parameters.values).parameters

    def _now_s(self) -> float:
        return float(self._steady.now().nanoseconds) * 1e-9

    def _start_afresh(self, seconds: float) -> None:
        """Time has jumped: drop the set that waits. Synchroniser and tree notice by themselves."""
        self._forget()
        self._log.info(jump_sentence(seconds))

    def _diagnose(self) -> None:
        snapshot = self._status.snapshot()
        self._told_state = snapshot.state
        self._diagnostics.publish(
            diagnostics(
                self.node.get_fully_qualified_name().strip("/"),
                snapshot,
                self.node.get_clock().now().to_msg(),
                self._parameters.values.diagnostics,
            )
        )

    def _poll(self) -> None:
        if self._inputs is not None:
            self._inputs.poll(POLL_S)
        # A change of state goes out at once: others wait for `ready`.
        snapshot = self._status.snapshot()
        if snapshot.state != self._told_state:
            if snapshot.state == "ready":
                self._log.info("ready")
            elif snapshot.state == "error" and self._inputs is not None:
                self._log.error(f"the node cannot work: {snapshot.reason}")
            self._diagnose()

    def _report(self) -> None:
        """The log line: every 5 s while there is something to tell, every 30 s while nothing changes."""
        snapshot = self._status.snapshot()
        for name in snapshot.stale:
            topic, age_s = snapshot.cameras[name].image_topic, self._parameters.values.diagnostics.warn_age
            self._complain(
                (name, "stale"), f"camera '{name}': no image on {topic} for {age_s:g} s; occupancy goes on without it"
            )
        line, age_s = snapshot.line(), self._now_s() - self._told_s
        patience_s = REPORT_IDLE_S if line == self._told_line else REPORT_S
        if age_s >= patience_s:
            self._log.info(line)
            self._told_line, self._told_s = line, self._now_s()


def _named(checkpoint: str) -> str:
    return f"checkpoint {checkpoint!r}" if checkpoint else "the checkpoint of the package"


def main(argv: Sequence[str] | None = None, predictor_factory: PredictorFactory = load_predictor) -> int:
    """Run the node until SIGINT, SIGTERM or a lifecycle shutdown; returns the exit status."""
    node: OccupancyNode | None = None
    idle = True
    sys.setswitchinterval(SWITCH_S)
    try:
        init(sys.argv if argv is None else argv)
        node = OccupancyNode(predictor_factory)
        node.run()
    except ParameterError as error:
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
