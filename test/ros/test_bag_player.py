# SPDX-License-Identifier: Apache-2.0
"""The bag player as a process of its own: what a listener gets."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rosbags.rosbag1 import Writer as Writer1
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage
from tf2_msgs.msg import TFMessage

from selfocc_ros.logs.reader import Bag
from selfocc_ros.ros import qos
from selfocc_ros.ros.domain import environment, own_domain
from selfocc_ros.ros.processes import Processes

FRONT = "/camera/front/image/compressed"


class Listener:
    """Hears what a player sends, and says on /diagnostics that it is ready, as the node does."""

    def __init__(self, folder: Path, processes: Processes, domain: int) -> None:
        self.folder, self.processes = folder, processes
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = Node("listener", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.diagnostics = self.node.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)

    def hear(self, kind: Any, topic: str, profile: Any) -> list[Any]:
        heard: list[Any] = []
        self.node.create_subscription(kind, topic, heard.append, profile)
        return heard

    def play(self, bag: Path, topic: str, *options: str) -> str:
        """What the player says, which waits until the subscription to `topic` is matched."""
        command = [str(bag), "--wait-for-node", "listener", *options]
        self.processes.start_module("player", "selfocc_ros.ros.bag_player", *command)
        values = [KeyValue(key="state", value="ready"), KeyValue(key="image_topics", value=topic)]
        ready = DiagnosticArray(status=[DiagnosticStatus(name="listener: state", message="ready", values=values)])

        def ended() -> bool:
            self.diagnostics.publish(ready)
            return "player" in self.processes.ended()

        self.until(ended, "the player ended")
        said = self.processes.log("player").read_text()
        assert self.processes.ended()["player"] == 0, said
        return said

    def until(self, condition: Callable[[], Any], what: str) -> None:
        deadline = time.monotonic() + 60.0
        while not condition():
            assert time.monotonic() < deadline, what
            self.executor.spin_once(timeout_sec=0.05)


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listener]:
    folder = tmp_path_factory.mktemp("player")
    with own_domain() as domain, Processes(folder, environment(domain)) as processes:
        out = Listener(folder, processes, domain)
        yield out
        out.node.destroy_node()
        out.context.shutdown()


def nanoseconds(stamp: Any) -> int:
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def test_two_loops_with_a_clock_and_static_transforms(listener: Listener, make_bag: Any):
    path = make_bag(listener.folder / "loops", seconds=1.2)
    clocks = listener.hear(Clock, "/clock", qos.profile(2000))
    images = listener.hear(CompressedImage, FRONT, qos.profile(100))
    statics = listener.hear(TFMessage, "/tf_static", qos.TF_STATIC)
    log = listener.folder / "published.jsonl"
    said = listener.play(path, FRONT, "--loop", "2", "--publish-log", str(log))
    assert said.splitlines()[-1] == "done"
    assert "starting again from the front (pass 2), time jumps back" in said
    with Bag(path) as bag:
        recorded = [m.msg for m in bag.messages([FRONT])]
        start_ns, end_ns = bag.start_ns, bag.end_ns
    listener.until(lambda: len(images) == 2 * len(recorded) and len(statics) == 2, "all images, /tf_static twice")
    for played, original in zip(images, recorded * 2, strict=True):
        assert bytes(played.data) == bytes(original.data)
        assert nanoseconds(played.header.stamp) == nanoseconds(original.header.stamp)
        assert (played.header.frame_id, played.format) == (original.header.frame_id, original.format)
    assert {t.child_frame_id for t in statics[0].transforms} == {"front_optical", "left_optical", "right_optical"}
    times = [nanoseconds(clock.clock) for clock in clocks]
    assert min(times) == start_ns  # of the second loop at least
    assert max(times) == pytest.approx(end_ns, abs=2_000_000)
    assert (np.diff(times) < 0).sum() == 1  # the loop
    assert len(times) > 100 * 1.2  # 100 per second of the recording, unless the machine has other things to do
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(rows) == 6 * len(recorded)
    assert [row["stamp_ns"] for row in rows if row["topic"] == FRONT] == [
        nanoseconds(m.header.stamp) for m in recorded * 2
    ]
    assert all(a["wall_ns"] <= b["wall_ns"] for a, b in itertools.pairwise(rows))


def test_a_later_start_still_sends_static_transforms(listener: Listener, make_bag: Any):
    path = make_bag(listener.folder / "later", seconds=1.2)
    statics = listener.hear(TFMessage, "/tf_static", qos.TF_STATIC)
    images = listener.hear(CompressedImage, FRONT, qos.profile(100))
    listener.play(path, FRONT, "--start", "0.7", "--rate", "2")
    listener.until(lambda: len(images) == 2 and statics, "the last images and the static transforms")
    assert len(statics[-1].transforms) == 3


def test_a_ros1_recording_with_a_type_that_is_not_installed(listener: Listener):
    """ROS 1 messages come out in ROS 2 form; what cannot be played is named and left out."""
    store = get_typestore(Stores.ROS1_NOETIC)
    store.register(get_types_from_msg("float64 pressure", "wheel_msgs/msg/Tyre"))
    types = store.types
    path = listener.folder / "old.bag"
    with Writer1(path) as bag:
        image = bag.add_connection("/front/image/compressed", "sensor_msgs/msg/CompressedImage", typestore=store)
        tyre = bag.add_connection("/tyre", "wheel_msgs/msg/Tyre", typestore=store)
        for k in range(3):
            stamp_ns = 1_600_000_000_000_000_000 + k * 100_000_000
            header = types["std_msgs/msg/Header"](
                seq=k, stamp=types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9)), frame_id="front_optical"
            )
            data = np.arange(200, dtype=np.uint8)
            message = types["sensor_msgs/msg/CompressedImage"](header=header, format="jpeg", data=data)
            bag.write(image, stamp_ns, store.serialize_ros1(message, image.msgtype))
            bag.write(tyre, stamp_ns, store.serialize_ros1(types["wheel_msgs/msg/Tyre"](pressure=2.2), tyre.msgtype))
    images = listener.hear(CompressedImage, "/front/image/compressed", qos.profile(100))
    said = listener.play(path, "/front/image/compressed")
    assert said.count("/tyre is left out: message type wheel_msgs/msg/Tyre is not installed here") == 1
    listener.until(lambda: len(images) == 3, "the images")
    assert [nanoseconds(m.header.stamp) % 10**9 for m in images] == [0, 100_000_000, 200_000_000]
    assert (images[0].header.frame_id, images[0].format, bytes(images[0].data)) == (
        "front_optical", "jpeg", bytes(range(200)),
    )  # fmt: skip


@pytest.mark.fault
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "bag_player: nowhere does not exist"),
        (["{bag}", "--start", "99"], "bag_player: --start 99 lies outside {bag}, which lasts "),
    ],
)
def test_what_cannot_be_played_is_one_sentence(
    listener: Listener, make_bag: Any, arguments: list[str], sentence: str, tmp_path: Path
):
    bag = str(make_bag(tmp_path / "bag", seconds=0.4))
    listener.processes.start_module(
        "player", "selfocc_ros.ros.bag_player", *(argument.replace("{bag}", bag) for argument in arguments)
    )
    listener.until(lambda: "player" in listener.processes.ended(), "the player ended")
    assert listener.processes.ended()["player"] == 2
    assert listener.processes.last_line("player").startswith(sentence.replace("{bag}", bag))
