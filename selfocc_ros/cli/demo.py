# SPDX-License-Identifier: Apache-2.0
"""`selfocc demo`: from a recording over ROS 2 to occupancy, a score and a picture."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfocc_ros.cli.node_options import add_node_options, node_values

if TYPE_CHECKING:
    from selfocc_ros.cli.live_scores import LiveScores
    from selfocc_ros.ros.session import SessionResult

HELP = """Render a drive through a town that the network has not been trained on, write it as a rosbag, play it over DDS
to the node in a process of its own, record what the node publishes, and score that against the exact truth. With --bag,
take any other recording; it is scored where a town.json lies beside it. --params has frames and cameras of another
vehicle. Everything stays on loopback. Leaves in --out:
metrics.json, demo.png, and the recorded output as a bag."""

SECONDS, SHORT_SECONDS = 10.0, 4.0
SCORED, SHORT_SCORED = 25, 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `selfocc demo`."""
    parser.add_argument("--bag", help="play this recording instead of a rendered drive")
    add_node_options(parser, "checkpoint")
    parser.add_argument("--out", default="out/demo", help="folder for everything (default: out/demo)")
    parser.add_argument("--seed", type=int, default=9000, help="town to drive through; training uses those below 1000")
    parser.add_argument("--seconds", type=float, help=f"length of the drive (default: {SECONDS:g})")
    parser.add_argument(
        "--rate", type=float, help="speed of play (default: 1, and 0.5 with --bag, so that two cores see most of it)"
    )
    parser.add_argument("--rig", default="surround6", help="name of a rig in config/rigs, or a YAML file")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_SECONDS:g} s, and fewer samples scored")
    parser.add_argument("--json", help="write the metrics to this file too ('-': standard output)")


def run(args: argparse.Namespace) -> int:
    """Do it all; returns 0, or 1 if the node published nothing."""
    import sys

    from selfocc_ros.cli.live_scores import Published, live_scores
    from selfocc_ros.cli.output import make_folder, write_json
    from selfocc_ros.cli.progress import Progress
    from selfocc_ros.cli.tables import finite
    from selfocc_ros.errors import SelfOccError
    from selfocc_ros.logs.check import check_bag
    from selfocc_ros.logs.samples import SampleReader
    from selfocc_ros.node_parameters import NodeParameters
    from selfocc_ros.ros.session import POINTS_TOPIC, play_through_node
    from selfocc_ros.runtime.predictor import Predictor
    from selfocc_ros.sensing.rig_source import RigSource

    started = time.monotonic()
    say = sys.stderr if args.json == "-" else sys.stdout
    require_ros()
    out = make_folder(Path(args.out), "--out")
    values = node_values(args, "checkpoint")
    source = RigSource.of(NodeParameters.of(values))
    node = source.parameters
    # A bad file is told before anything is rendered.
    predictor = Predictor.from_checkpoint(node.checkpoint or "default", device=node.device, ground_z=node.ground_z)
    if args.bag:
        bag, truth = find_recording(Path(args.bag))
    else:
        bag, truth = rendered_drive(args, out)
    report = check_bag(bag, source)
    if not report.ok:
        raise SelfOccError(f"{report.verdict} `selfocc check {bag}` tells more.")
    print(f"drive: {report.duration_s:.1f} s, {len(report.cameras)} cameras, {report.sets} sets of images", file=say)

    playing = Progress("playing")
    rate = args.rate if args.rate is not None else 0.5 if args.bag else 1.0
    if not rate > 0:
        raise SelfOccError(f"--rate must be above 0, found {rate:g}")
    result = play_through_node(
        bag, out / "session", node.checkpoint, rate=rate, extra_params=values, progress=playing.tell
    )
    playing.close()
    print(describe_session(result), file=say)

    output = take_over(result.output_bag, out / "output")
    published = Published(output, POINTS_TOPIC, predictor.config.grid.shifted(node.ground_z))
    limit = SHORT_SCORED if args.short else SCORED
    reader = SampleReader(bag, source)
    scores = live_scores(reader, published, predictor, truth, limit, progress=Progress("comparing", "stamps"))
    metrics = collect(result, scores, report.sets)
    info = predictor.info
    metrics |= {
        "play_rate": rate,
        "checkpoint": info.config.name if info else None,
        "town": truth.town.seed if truth else None,
        "took_s": round(time.monotonic() - started, 1),
    }
    write_json(str(out / "metrics.json"), finite(metrics))
    picture = paint(out / "demo.png", scores, metrics, node.ground_z)
    print(describe_scores(metrics), file=say)
    print(f"written to {args.out}: metrics.json, {'demo.png, ' if picture else ''}output (a bag)", file=say)
    if args.json:
        write_json(args.json, finite(metrics))
    if not result.frames_out:
        raise SelfOccError(f"the node published nothing; its log is {result.node_log}")
    return 0


def require_ros() -> None:
    """Raises SelfOccError, one sentence, where ROS 2's Python packages cannot be found."""
    import importlib.util

    from selfocc_ros.errors import SelfOccError

    for name, hint in (
        ("rclpy", "source an installed ROS 2, or run `make demo`, which installs it from wheels"),
        ("tf2_msgs", "source an installed ROS 2, or build it with `python tools/build_underlay.py`"),
    ):
        if importlib.util.find_spec(name) is None:
            raise SelfOccError(f"the demo needs ROS 2, and {name} is not installed here: {hint}")


def find_recording(path: Path) -> tuple[Path, Any]:
    """The recording that was asked for, and its truth if it is a town's: (bag, TownTruth or None).

    `path` may be the folder that `selfocc town` wrote, the bag in it, or any other recording.
    """
    from selfocc_ros.town.truth import TownTruth

    if (path / "town.json").is_file() and (path / "bag").is_dir():
        path = path / "bag"
    description = path.parent / "town.json"
    return path, TownTruth.load(description) if path.name == "bag" and description.is_file() else None


def rendered_drive(args: argparse.Namespace, out: Path) -> tuple[Path, Any]:
    """The rendered drive, taken from an earlier run if it is there: (bag, TownTruth)."""
    import shutil

    from selfocc_ros.cli.progress import Progress
    from selfocc_ros.errors import SelfOccError
    from selfocc_ros.town.rigs import load_rig
    from selfocc_ros.town.truth import TownTruth
    from selfocc_ros.town.write import write_drive

    seconds = args.seconds if args.seconds is not None else SHORT_SECONDS if args.short else SECONDS
    if args.seed < 0 or not seconds >= 1.0:
        raise SelfOccError(f"--seed must not be negative and --seconds at least 1, found {args.seed} and {seconds:g}")
    rig = load_rig(args.rig)
    folder = out / f"drive_{args.seed}_{seconds:g}s_{fingerprint(rig)}"
    if not (folder / "town.json").is_file():
        # town.json is written last: without it an earlier run was stopped half way. Drives of older code go too.
        for stale in out.glob(f"drive_{args.seed}_{seconds:g}s_*"):
            shutil.rmtree(stale, ignore_errors=True)
        write_drive(args.seed, seconds, rig, folder, progress=Progress("rendering", "frames"))
    return folder / "bag", TownTruth.load(folder)


def fingerprint(rig: Any) -> str:
    """What the drive depends on besides seed and length: the rig and the town's code."""
    import hashlib
    import json

    import selfocc_ros.town as town

    digest = hashlib.sha256(json.dumps(rig.to_dict(), sort_keys=True).encode())
    for file in sorted(Path(next(iter(town.__path__))).glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:8]


def take_over(recorded: Path, to: Path) -> Path:
    """Move the recorded output to where the user looks for it, in place of that of an earlier run."""
    import shutil

    if to.is_dir() and (to / "metadata.yaml").is_file():
        shutil.rmtree(to)
    recorded.rename(to)
    return to


def collect(result: SessionResult, scores: LiveScores, sets: int) -> dict[str, Any]:
    """Everything that metrics.json tells."""
    values: dict[str, Any] = dict(scores.tally.figures()) if scores.tally is not None else {}
    values |= {
        "frames_in": result.frames_in,
        "frames_out": result.frames_out,
        "frames_missed_at_start": result.frames_missed_at_start,
        "latency_ms_p50": result.latency_ms(0.5),
        "latency_ms_p95": result.latency_ms(0.95),
        "rate_hz": result.rate_hz,
        "live_equals_offline_differ": scores.comparison.share,
        "live_equals_offline_differ_worst": scores.comparison.worst,
        "compared": scores.comparison.samples,
        "not_in_recording": len(scores.comparison.absent),
        "scored": scores.scored,
        "sets_in_recording": sets,
    }
    if scores.tally is not None:
        values["details"] = scores.tally.details()
    return values


def describe_session(result: SessionResult) -> str:
    """One line about what went in and came out."""
    return (
        f"played: {result.frames_in} sets in, {result.frames_out} out ({result.frames_missed_at_start} missed at the "
        f"start), {result.rate_hz:.1f} Hz, latency {result.latency_ms(0.5):.0f} ms at the median, "
        f"{result.latency_ms(0.95):.0f} ms at the 95th percentile"
    )


def describe_scores(metrics: dict[str, Any]) -> str:
    """The table, and whether live equals offline."""
    from selfocc_ros.cli.tables import score_table

    lines = []
    if metrics["scored"]:
        lines += [f"scored against the exact truth, {metrics['scored']} of {metrics['frames_out']} published stamps:"]
        lines += [score_table(metrics)]
    share, worst = metrics["live_equals_offline_differ"] * 100, metrics["live_equals_offline_differ_worst"] * 100
    verdict = "live equals offline" if share <= 0.1 and not metrics["not_in_recording"] else "live DIFFERS from offline"
    lines.append(
        f"{verdict}: {share:.3f} % of occupied voxels differ in {metrics['compared']} stamps (at most {worst:.3f} %)"
    )
    if metrics["not_in_recording"]:
        lines.append(f"{metrics['not_in_recording']} published stamps are not in the recording")
    return "\n".join(lines)


def paint(path: Path, scores: LiveScores, metrics: dict[str, Any], ground_z: float) -> bool:
    """Draw the picture; False where nothing was published."""
    from selfocc_ros.geometry.voxels import UNKNOWN
    from selfocc_ros.viz.scenes import camera_images
    from selfocc_ros.viz.sheet import save, scene_sheet

    if scores.sample is None or scores.predicted is None:
        path.unlink(missing_ok=True)
        return False
    volumes = {"predicted": scores.predicted}
    unseen = None
    caption = "occupancy published by the node, seen from above; forward is up"
    if scores.truth is not None:
        volumes = {"predicted (pale: not seen)": scores.predicted, "true, where cameras see": scores.truth}
        unseen = (scores.truth.state == UNKNOWN).all(axis=2)
        caption += (
            f"; IoU {metrics['iou']:.2f}, above ground {metrics['iou_above_ground']:.2f}, "
            f"AbsRel {metrics['abs_rel']:.2f}"
        )
    images, rig = camera_images(scores.sample), scores.sample.rig
    save(str(path), scene_sheet(images, rig, volumes, caption, ground_z=ground_z, fade=unseen))
    return True
