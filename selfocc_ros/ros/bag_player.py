# SPDX-License-Identifier: Apache-2.0
"""Plays a recording over DDS with /clock: `bag_player BAG [--rate R] [--loop [N]] [--wait-for-node selfocc]`.

Beside `ros2 bag play` it waits until a node listens, sends /tf_static before all else (also with --start and at the
start of each loop), keeps /clock from running ahead of messages not yet sent, reads ROS 1 recordings, and refuses to
play where another node publishes /clock, also where that is found or begins only later. Messages go out as they were
recorded, byte for byte.

All topics are offered reliable (images too: best effort loses most large messages), so that every subscription
matches: images with depth 10, all else with depth 1000, since a reliable writer forgets what exceeds its depth before
slow readers have it. Topics recorded as latched are offered transient_local.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.utilities import remove_ros_args
from rosgraph_msgs.msg import Clock

from selfocc_ros.errors import SelfOccError
from selfocc_ros.logs.reader import Bag
from selfocc_ros.logs.records import RawMessage, TopicInfo
from selfocc_ros.ros import qos
from selfocc_ros.ros.cdr import header_stamp_ns, message_class
from selfocc_ros.ros.diagnostics import LISTENING, node_of_state
from selfocc_ros.ros.spin import init, interrupt_once, shut_down
from selfocc_ros.ros.stamps import time_message

CLOCK_PERIOD_S = 0.01
CLOCK_STEP_NS = 1_000_000  # a message this soon after the last /clock needs none of its own
DISCOVERY_S = 2.0
CLOCK_CHECK_S = 0.5
BLOCKED_S = 10.0
CLOCK_DEPTH, IMAGE_DEPTH, DEPTH = 10, 10, 1000
IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


class PlayerError(SelfOccError):
    """The recording cannot be played here and now."""


class BagPlayer:
    """Publishes what a recording holds.

    Args:
        bag: an open recording.
        rate: seconds of the recording per second.
        start_s: where to start, in seconds from the start of the recording.
        publish_log: gets a JSON line for each image: topic, stamp_ns, receive_ns, wall_ns.
        out: gets what a person wants to know, line by line.
    """

    def __init__(
        self, bag: Bag, rate: float = 1.0, start_s: float = 0.0, publish_log: TextIO | None = None,
        out: TextIO = sys.stdout,
    ) -> None:  # fmt: skip
        self.node = Node("bag_player")
        self._bag = bag
        self._rate = rate
        self._start_ns = bag.start_ns + round(start_s * 1e9)
        self._log = publish_log
        self._out = out
        self._states: dict[str, tuple[str, str, list[str]]] = {}
        self._clock = self.node.create_publisher(Clock, "/clock", qos.profile(CLOCK_DEPTH))
        self._clock_ns = 0
        self._check_at = 0.0
        self._statics = [bytes(m.data) for m in bag.raw_messages(["/tf_static"])]
        self._topics = {t: info for t, info in bag.topics().items() if t != "/clock"}
        self._outputs = {
            topic: publisher
            for topic, info in self._topics.items()
            if (publisher := self._publisher(topic, info)) is not None
        }

    def check_clock(self) -> None:
        """Raise PlayerError if another node publishes /clock; call after some time for discovery."""
        others = [
            i.node_name for i in self.node.get_publishers_info_by_topic("/clock") if i.node_name != self.node.get_name()
        ]
        if others or self.node.count_publishers("/clock") > 1:
            raise PlayerError(
                f"/clock is published already, by {', '.join(others) or 'another bag_player'}: "
                "two clocks would send time to and fro; stop that one or use another ROS_DOMAIN_ID"
            )

    def wait(self, node: str | None, timeout_s: float) -> None:
        """Wait for discovery and, if a node is named, until it is ready and subscribed to its images here.

        Raises:
            PlayerError: it is not in time, cannot work at all, or another /clock is there.
        """
        begin = time.monotonic()
        told = ""
        listener = self.node.create_subscription(DiagnosticArray, "/diagnostics", self._note_state, qos.DIAGNOSTICS)
        while True:
            rclpy.spin_once(self.node, timeout_sec=0.1)
            waited_s = time.monotonic() - begin
            if waited_s < DISCOVERY_S:
                continue
            self.check_clock()
            obstacle = self._obstacle(node) if node else ""
            if not obstacle:
                break
            if waited_s > timeout_s:
                raise PlayerError(f"node {node} is not ready after {timeout_s:g} s: {obstacle}")
            if obstacle != told:
                self._say(f"waiting for node {node}: {obstacle}")
                told = obstacle
        self.node.destroy_subscription(listener)

    def play(self) -> None:
        """One pass through the recording, in its own time."""
        self._clock_ns = 0
        self._tell_time(self._start_ns)
        for data in self._statics:
            _publish(self._outputs["/tf_static"], data)
        time.sleep(5 * CLOCK_PERIOD_S)  # both are there before what relies on them
        begin, progress_s = time.monotonic(), 0.0
        self._check_at = begin + CLOCK_CHECK_S
        for message in self._messages():
            due = begin + (message.receive_ns - self._start_ns) * 1e-9 / self._rate
            self._pass_time(begin, due, message.receive_ns)
            self._send(message)
            elapsed_s = (message.receive_ns - self._start_ns) * 1e-9
            if elapsed_s - progress_s >= self._rate:
                progress_s = elapsed_s
                self._say(f"{elapsed_s:.1f} of {(self._bag.end_ns - self._start_ns) * 1e-9:.1f} s")

    def finish(self, timeout_s: float = 5.0) -> None:
        """Wait until the subscribers have the last messages."""
        deadline = time.monotonic() + timeout_s
        for publisher in self._outputs.values():
            publisher.wait_for_all_acked(Duration(seconds=max(0.0, deadline - time.monotonic())))

    def _publisher(self, topic: str, info: TopicInfo) -> Publisher | None:
        kind = message_class(info.type)
        if kind is None:
            self._say(f"{topic} is left out: message type {info.type} is not installed here")
            return None
        depth = IMAGE_DEPTH if info.type in IMAGES else DEPTH
        return self.node.create_publisher(kind, topic, qos.profile(depth, latched=info.latched))

    def _messages(self) -> Iterator[RawMessage]:
        topics = [topic for topic in self._outputs if topic != "/tf_static"]
        return (m for m in self._bag.raw_messages(topics) if m.receive_ns >= self._start_ns)

    def _pass_time(self, begin: float, due: float, until_ns: int) -> None:
        """Sleep until `due`, telling the time on the way, then tell the time of the message that is due."""
        while (left := due - time.monotonic()) > 0:
            if time.monotonic() >= self._check_at:
                self.check_clock()
                self._check_at = time.monotonic() + CLOCK_CHECK_S
            time.sleep(min(left, CLOCK_PERIOD_S))
            now_ns = self._start_ns + round((time.monotonic() - begin) * self._rate * 1e9)
            self._tell_time(min(now_ns, until_ns))
        if until_ns - self._clock_ns >= CLOCK_STEP_NS:
            self._tell_time(until_ns)

    def _tell_time(self, stamp_ns: int) -> None:
        if stamp_ns > self._clock_ns:
            self._clock_ns = stamp_ns
            _publish(self._clock, Clock(clock=time_message(stamp_ns)))

    def _send(self, message: RawMessage) -> None:
        data = bytes(message.data)
        if self._log is not None and message.type in IMAGES:
            row = {
                "topic": message.topic,
                "stamp_ns": header_stamp_ns(data),
                "receive_ns": message.receive_ns,
                "wall_ns": time.time_ns(),
            }
            self._log.write(json.dumps(row) + "\n")
        _publish(self._outputs[message.topic], data)

    def _note_state(self, message: Any) -> None:
        for status in message.status:
            node = node_of_state(status.name)
            values = {pair.key: pair.value for pair in status.values}
            if node is not None and "image_topics" in values:
                topics = [topic for topic in values["image_topics"].split(",") if topic]
                self._states[node] = (values["state"], status.message, topics)

    def _obstacle(self, node: str) -> str:
        """Why the node would miss messages sent now; empty if it would not. Raises PlayerError if it never will."""
        wanted = node.strip("/")
        # Without a namespace, the node of this name in any namespace is meant.
        state = next((s for name, s in self._states.items() if f"/{name}".endswith(f"/{wanted}")), None)
        return "nothing of it on /diagnostics yet" if state is None else self._obstacle_of(node, *state)

    def _obstacle_of(self, node: str, state: str, text: str, wanted: list[str]) -> str:
        if state == "error":
            raise PlayerError(f"node {node} cannot work: {text}")
        if state not in LISTENING:
            return text
        ours = [topic for topic in wanted if topic in self._outputs]
        if not ours:
            return f"it listens to {', '.join(wanted)}, none of which this recording has"
        unmatched = [topic for topic in ours if not self._outputs[topic].get_subscription_count()]
        return f"its subscription to {', '.join(unmatched)} is not matched yet" if unmatched else ""

    def _say(self, line: str) -> None:
        self._out.write(line + "\n")
        self._out.flush()


def _publish(publisher: Publisher, message: Any) -> None:
    """Publish, and again where DDS says that it cannot for now: its write gives up after 100 ms on a busy machine."""
    deadline = time.monotonic() + BLOCKED_S
    while True:
        try:
            publisher.publish(message)
            return
        except RuntimeError as error:  # rclpy's RCLError, which has no public name
            if time.monotonic() > deadline:
                raise PlayerError(f"{publisher.topic_name} cannot be published for {BLOCKED_S:g} s: {error}") from error
            time.sleep(CLOCK_PERIOD_S)


def run(args: argparse.Namespace) -> None:
    """Play as the command line asks."""
    with Bag(args.bag) as bag:
        if bag.damage:
            sys.stdout.write(bag.damage + "\n")
        if not 0 <= args.start <= bag.duration_s:
            raise PlayerError(f"--start {args.start:g} lies outside {args.bag}, which lasts {bag.duration_s:.1f} s")
        log = args.publish_log.open("w") if args.publish_log else None
        player = BagPlayer(bag, args.rate, args.start, log)
        try:
            player.wait(args.wait_for_node, args.timeout)
            passes = 0
            while passes == 0 or not args.loop or passes < args.loop:
                if passes:
                    sys.stdout.write(f"starting again from the front (pass {passes + 1}), time jumps back\n")
                player.play()
                passes += 1
            player.finish()
            sys.stdout.write("done\n")
        finally:
            player.node.destroy_node()
            if log is not None:
                log.close()


def parser() -> argparse.ArgumentParser:
    """The command line of `bag_player`."""
    out = argparse.ArgumentParser(prog="bag_player", description="Play a recording over DDS with /clock.")
    out.add_argument("bag", type=Path, help="rosbag2 directory, .mcap, .db3 or ROS 1 .bag")
    out.add_argument("--rate", type=float, default=1.0, help="seconds of the recording per second (1)")
    out.add_argument("--loop", type=int, nargs="?", const=0, default=1, metavar="N", help="again and again, or N times")
    out.add_argument("--start", type=float, default=0.0, metavar="S", help="start S seconds into the recording")
    out.add_argument("--wait-for-node", metavar="NAME", help="wait until this node is ready and subscribed")
    out.add_argument("--timeout", type=float, default=60.0, metavar="S", help="longest wait for the node (60)")
    out.add_argument("--publish-log", type=Path, metavar="FILE", help="JSON lines: when each image was published")
    return out


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    arguments = list(sys.argv if argv is None else argv)
    args = parser().parse_args(remove_ros_args(arguments)[1:])
    if args.rate <= 0:
        parser().error(f"--rate is {args.rate:g}, expected more than 0")
    if args.loop < 0:
        parser().error(f"--loop is {args.loop}, expected 1 or more, or no number for ever")
    try:
        init(arguments)
        interrupt_once()
        run(args)
    except SelfOccError as error:
        sys.stderr.write(f"bag_player: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 0
    finally:
        shut_down()
    return 0


if __name__ == "__main__":
    sys.exit(main())
