"""recon3d bag: make a rosbag2 of images or a video, or say what is in one."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from recon3d_ros.bags.reader import BagReader
from recon3d_ros.bags.writer import STORAGES
from recon3d_ros.core.ring import is_ring
from recon3d_ros.tools.bag_make import make_bag
from recon3d_ros.tools.inputs import InputOptions, add_input_arguments, input_options
from recon3d_ros.tools.ring_bag import make_ring_bag


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `bag make` and `bag info`."""
    commands = parser.add_subparsers(dest="bag_command", required=True, metavar="make | info")
    make = commands.add_parser("make", help="turn a folder of images, a video or a camera ring into a rosbag2")
    make.add_argument("input", type=Path, metavar="IMAGES|VIDEO")
    make.add_argument("-o", "--output", type=Path, required=True, metavar="BAG", help="folder to make")
    add_input_arguments(make)
    make.add_argument("--camera", default=InputOptions.camera_name, metavar="NAME", help="namespace of the topics")
    make.add_argument("--compressed", action="store_true", help="CompressedImage: JPEG and PNG files unchanged")
    make.add_argument("--storage", choices=list(STORAGES), default="mcap")
    make.add_argument(
        "--start-stamp", type=float, metavar="SECONDS", default=InputOptions.start_stamp_ns / 1e9,
        help="stamp of the first frame (default: %(default).0f)",
    )  # fmt: skip
    make.add_argument(
        "--repeat", type=int, metavar="N", default=1,
        help="of a camera ring, which is one moment: how often it comes, twice a second (default: 1)",
    )  # fmt: skip
    info = commands.add_parser("info", help="topics, types, counts and rates of a bag, and whether it is damaged")
    info.add_argument("bag", type=Path, metavar="BAG")


def main(args: argparse.Namespace) -> int:
    """Runs `bag make` or `bag info`; returns 1 where something was lost."""
    return _make(args) if args.bag_command == "make" else _info(args)


def _make(args: argparse.Namespace) -> int:
    if is_ring(args.input):
        counts = make_ring_bag(
            args.input, args.output, repeat=args.repeat, compressed=args.compressed, storage=args.storage
        )
        print(f"{args.output}: " + ", ".join(f"{count} on {topic}" for topic, count in counts.items()))
        return 0
    options = replace(input_options(args), camera_name=args.camera, start_stamp_ns=round(args.start_stamp * 1e9))
    source, counts = make_bag(args.input, args.output, options, compressed=args.compressed, storage=args.storage)
    for note in source.notes:
        print(f"note: {note}")
    print(f"{args.output}: " + ", ".join(f"{count} on {topic}" for topic, count in counts.items()))
    for reason, count in source.skipped.items():
        print(f"skipped: {count} x {reason}")
    for sentence in source.damage:
        print(f"incomplete: {sentence}")
    return 1 if source.skipped or source.damage else 0


def _info(args: argparse.Namespace) -> int:
    with BagReader(args.bag) as reader:
        read = {name: 0 for name in reader.topics}
        for message in reader.messages():
            read[message.topic] += 1
        duration_s = (reader.end_ns - reader.start_ns) / 1e9
        total, start_s = sum(read.values()), reader.start_ns / 1e9
        print(f"{args.bag}: {total} messages in {duration_s:.3f} s, from {start_s:.3f} s")
        width = max(len(name) for name in reader.topics)
        for name, topic in reader.topics.items():
            rate = f"{(read[name] - 1) / duration_s:8.2f} Hz" if read[name] > 1 and duration_s > 0 else " " * 11
            print(f"  {name:<{width}} {read[name]:7d} {rate}  {topic.type}")
        for sentence in reader.damage:
            print(f"damaged: {sentence}")
        return 1 if reader.damage else 0
