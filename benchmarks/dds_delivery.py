"""Delivery of large messages between two processes, with and without config/fastdds.xml and config/allocator.env.

    python -m benchmarks.dds_delivery [--messages 90] [--rate 15] [--reliable]

Latency runs from before the message is filled to the end of the receiver's conversion, on the host's monotonic
clock. Each process discovers the other on this host only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np
import numpy.typing as npt
import rclpy
from builtin_interfaces.msg import Time
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header

from recon3d_ros.ros import messages
from recon3d_ros.ros.node_process import ros_environment

PAYLOADS = {"image": "1280x720 rgb8 image, 2.8 MB", "cloud": "300,000 xyzrgb points, 9.6 MB"}
TOPIC = "payload"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=90)
    parser.add_argument("--rate", type=float, default=15.0, help="messages per second")
    parser.add_argument("--reliable", action="store_true")
    parser.add_argument("--role", choices=("send", "receive"), help=argparse.SUPPRESS)
    parser.add_argument("--payload", choices=PAYLOADS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    {"send": send, "receive": receive, None: compare}[args.role](args)


def compare(args: argparse.Namespace) -> None:
    """Prints a table of every payload under every combination of the two settings."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(os.getpid() % 100))
    shipped = ros_environment()
    for name in shipped:
        os.environ.pop(name, None)
    profile = {name: value for name, value in shipped.items() if name.endswith("_PROFILES_FILE")}
    allocator = {name: value for name, value in shipped.items() if name not in profile}
    print(f"{'Reliable' if args.reliable else 'Best effort'}, {args.rate:g} Hz.\n")
    print("| message | fastdds.xml | allocator.env | received | median ms | p95 ms |\n|---|---|---|---|---|---|")
    for payload, description in PAYLOADS.items():
        for variables in ({}, allocator, profile, {**profile, **allocator}):
            latencies = run(args, payload, variables)
            median, p95 = np.quantile(latencies, [0.5, 0.95]) * 1e3 if latencies else (np.nan, np.nan)
            has = ["yes" if part.items() <= variables.items() else "no" for part in (profile, allocator)]
            counts = f"{len(latencies)} of {args.messages}"
            print(f"| {description} | {has[0]} | {has[1]} | {counts} | {median:.1f} | {p95:.1f} |", flush=True)


def run(args: argparse.Namespace, payload: str, variables: dict[str, str]) -> list[float]:
    """Returns the latency, seconds, of each message that came from one new process to another."""
    options = ["--payload", payload, "--messages", str(args.messages), "--rate", str(args.rate)]
    command = [sys.executable, "-m", "benchmarks.dds_delivery", *options, *["--reliable"] * args.reliable]
    environment = {**os.environ, **variables}
    receiver = subprocess.Popen([*command, "--role", "receive"], env=environment, stdout=subprocess.PIPE)
    subprocess.run([*command, "--role", "send"], env=environment, check=True)
    output, _ = receiver.communicate()
    return json.loads(output.splitlines()[-1])  # Fast DDS writes its errors to stdout


def send(args: argparse.Namespace) -> None:
    """Publishes the payload at the rate, once somebody listens."""
    rclpy.init()
    message_type = Image if args.payload == "image" else PointCloud2
    publisher = rclpy.create_node("sender").create_publisher(message_type, TOPIC, qos_of(args))
    while publisher.get_subscription_count() == 0:
        time.sleep(0.05)
    time.sleep(1.0)  # until the receiver knows it too
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    points = rng.random((500, 600, 3), dtype=np.float32)
    start = time.monotonic()
    for index in range(args.messages):
        time.sleep(max(0.0, start + index / args.rate - time.monotonic()))
        publisher.publish(message_of(args.payload, image, points))
    time.sleep(1.0)  # until the last message is through
    rclpy.shutdown()


def message_of(payload: str, image: npt.NDArray[np.uint8], points: npt.NDArray[np.float32]) -> Image | PointCloud2:
    """Returns the message as the node would fill it, stamped with the monotonic time before."""
    seconds, nanoseconds = divmod(time.monotonic_ns(), 1_000_000_000)
    header = Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id="camera")
    if payload == "image":
        return messages.image_to_msg(image, header)
    return messages.points_to_msg(points, header, image[: points.shape[0], : points.shape[1]])


def receive(args: argparse.Namespace) -> None:
    """Prints the latencies, seconds, as JSON once the sender has gone."""
    rclpy.init()
    node = rclpy.create_node("receiver")
    latencies: list[float] = []

    def on_message(message: Image | PointCloud2) -> None:
        convert(message)
        stamp = message.header.stamp
        latencies.append(time.monotonic() - stamp.sec - stamp.nanosec * 1e-9)

    message_type, convert = (
        (Image, messages.image_from_msg) if args.payload == "image" else (PointCloud2, messages.points_from_msg)
    )
    node.create_subscription(message_type, TOPIC, on_message, qos_of(args))
    is_connected = False
    while not is_connected or node.count_publishers(TOPIC):
        is_connected = is_connected or bool(node.count_publishers(TOPIC))
        rclpy.spin_once(node, timeout_sec=0.05)
    print(json.dumps(latencies))
    rclpy.shutdown()


def qos_of(args: argparse.Namespace) -> QoSProfile:
    reliability = ReliabilityPolicy.RELIABLE if args.reliable else ReliabilityPolicy.BEST_EFFORT
    return QoSProfile(depth=5, reliability=reliability)


if __name__ == "__main__":
    main()
