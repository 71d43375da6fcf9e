"""recon3d replay: play a rosbag2 through real ROS 2 topics, with /clock."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from recon3d_ros.tools.inputs import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `recon3d replay`."""
    parser.add_argument("bag", type=Path, metavar="BAG")
    parser.add_argument("--rate", type=float, default=1.0, help="times the bag's own pace (default: %(default)s)")
    parser.add_argument("--loop", action="store_true", help="start again at the end, until Ctrl-C")
    parser.add_argument("--topics", nargs="+", metavar="TOPIC", help="play only these")
    parser.add_argument("--remap", nargs="+", default=[], metavar="FROM:=TO", help="play topics under other names")
    parser.add_argument("--delay", type=float, default=1.0, metavar="SECONDS", help="before the first message")
    parser.add_argument(
        "--wait-for-subscribers", type=float, default=0.0, metavar="SECONDS",
        help="wait this long at most until somebody subscribes to an image topic",
    )  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Plays the bag; returns 1 if it is damaged."""
    if not 0 < args.rate < float("inf"):
        raise InputError(f"--rate is {args.rate:g}, expected a positive number")
    remap = _remap(args.remap)
    from recon3d_ros.ros.node_process import use_ros_environment

    # The writer's shared-memory segment counts: without the profile a best-effort node misses most images.
    use_ros_environment()
    # rclpy is imported only here, so that `recon3d --help` works without ROS.
    from recon3d_ros.ros.replay import open_replay

    with open_replay(args.bag, rate=args.rate, topics=args.topics, remap=remap) as replay:
        for topic, reason in replay.summary.skipped.items():
            print(f"skipped: {topic}: {reason}")
        if args.wait_for_subscribers and not replay.wait_for_subscribers(args.wait_for_subscribers):
            print(f"nobody subscribed to an image within {args.wait_for_subscribers:g} s; playing all the same")
        time.sleep(args.delay)
        summary = replay.run(loop=args.loop)
    for topic, count in summary.published.items():
        print(f"played: {count} on {remap.get(topic, topic)}")
    print(f"no message was later than {summary.max_lateness * 1e3:.0f} ms")
    for sentence in summary.damage:
        print(f"incomplete: {sentence}")
    return 1 if summary.damage else 0


def _remap(rules: list[str]) -> dict[str, str]:
    pairs = [rule.split(":=") for rule in rules]
    if any(len(pair) != 2 or not all(name.startswith("/") for name in pair) for pair in pairs):
        raise InputError(f"--remap is '{' '.join(rules)}', expected /from:=/to")
    return dict((source, target) for source, target in pairs)
