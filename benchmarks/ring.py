"""A ring of cameras as a bag through the live node: its merged cloud against the LiDAR's sweep, from above.

    python -m benchmarks.ring ../shared/data/nuscenes_ring [--picture FILE.jpg] [--repeat 8]

The node runs in a process of its own and gets the bag's images over DDS. Compared is what a costmap is made of:
the nearest point between 0.3 and 2 m above the road, in each degree around the vehicle.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from recon3d_ros.core.lidar import transform
from recon3d_ros.core.merge import CameraCloud, kept_points
from recon3d_ros.core.preprocess import crop_to_aspect
from recon3d_ros.core.ring import RingCamera, load_ring
from recon3d_ros.core.transforms import move, transform_text
from recon3d_ros.tools.ring_bag import frame_of, make_ring_bag
from recon3d_ros.tools.transforms import BASE_FRAME

BAND = (0.3, 2.0)  # metres above the road
REACH = 30.0  # metres shown to each side
SIZE = 760  # pixels of a panel
WAIT_SECONDS = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ring", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--repeat", type=int, default=8, help="how often the moment comes, twice a second")
    args = parser.parse_args()
    cameras = load_ring(args.ring)
    with tempfile.TemporaryDirectory() as folder:
        bag = Path(folder) / "ring"
        make_ring_bag(args.ring, bag, repeat=args.repeat, compressed=True)
        clouds, statuses = play(bag, cameras, Path(folder) / "node.log")
    points, colors = clouds[-1]
    sweep = transform(cameras[0].points, cameras[0].T_base_camera)
    print(f"{len(clouds)} merged clouds of {args.repeat} moments; the last has {len(points)} points")
    for name, values in statuses.items():
        counts = ", ".join(f"{values[key]} {key}" for key in ("received", "published", "dropped", "rejected"))
        infer, publish = (values.get(f"latency.{stage}.median_ms", "-") for stage in ("infer", "publish"))
        print(f"{name}: {counts}; medians: infer {infer} ms a batch, publish {publish} ms")
    compare(points, sweep)
    time_merging(cameras)
    if args.picture:
        picture = np.hstack(
            [from_above(points, colors, "merged cloud of six cameras"), from_above(sweep, None, "LiDAR")]
        )
        cv2.imwrite(str(args.picture), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 55])


def play(
    bag: Path, cameras: list[RingCamera], log: Path
) -> tuple[list[tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]], dict[str, dict[str, str]]]:
    """Plays the bag through a live node; returns its merged clouds and the last diagnostics of each camera."""
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray
    from rclpy.executors import ExternalShutdownException
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import PointCloud2

    from recon3d_ros.ros.messages import points_from_msg
    from recon3d_ros.ros.node_process import NodeProcess, use_ros_environment
    from recon3d_ros.ros.replay import BagReplay

    use_ros_environment()
    parameters: dict[str, Any] = {
        "cameras": [camera.name for camera in cameras],
        "compressed": True,
        "static_transforms": "; ".join(transform_text(BASE_FRAME, frame_of(c), c.T_base_camera) for c in cameras),
        "cloud_stride": 2,
        "edge_threshold": 0.15,
        "diagnostics_period": 0.2,
    }
    clouds: list[PointCloud2] = []
    diagnostics: list[DiagnosticArray] = []
    rclpy.init()
    node = rclpy.create_node("ring_benchmark")
    node.create_subscription(PointCloud2, "/points", clouds.append, QoSProfile(depth=10))
    node.create_subscription(DiagnosticArray, "/diagnostics", diagnostics.append, 10)

    def spin() -> None:
        try:
            rclpy.spin(node)
        except ExternalShutdownException:
            return

    spinner = threading.Thread(target=spin, daemon=True)
    spinner.start()
    try:
        with BagReplay(node, bag) as replay, NodeProcess(parameters, log=log):
            deadline = time.monotonic() + WAIT_SECONDS
            while not (node.count_publishers("/points") and replay.wait_for_subscribers(0.1)):
                if time.monotonic() > deadline:
                    raise TimeoutError(log.read_text())
            replay.run()
            wait_until_quiet(clouds)
    finally:
        rclpy.try_shutdown()
        spinner.join()
    statuses = {
        status.name.removeprefix("recon3d_depth: "): {item.key: item.value for item in status.values}
        for status in diagnostics[-1].status
        if status.name.removeprefix("recon3d_depth: ") in parameters["cameras"]
    }
    return [(points_from_msg(cloud), colors_of(cloud)) for cloud in clouds], statuses


def wait_until_quiet(messages: list[Any], seconds: float = 3.0) -> None:
    count, since = len(messages), time.monotonic()
    while time.monotonic() - since < seconds:
        time.sleep(0.05)
        if len(messages) != count:
            count, since = len(messages), time.monotonic()


def colors_of(cloud: Any) -> npt.NDArray[np.uint8]:
    """Returns the (N, 3) uint8 RGB of a dense xyzrgb cloud."""
    rows = np.frombuffer(cloud.data, dtype=np.uint8).reshape(-1, cloud.point_step)
    return rows[:, 18:15:-1].copy()


def time_merging(cameras: list[RingCamera], rounds: int = 20) -> None:
    """Prints what it costs to take overlaps once, for every second pixel of a rough wall before each camera."""
    rng, clouds = np.random.default_rng(0), []
    for ring_camera in cameras:
        camera = crop_to_aspect(ring_camera.camera, width=640, height=192).resized(width=640, height=192)
        depth = 12 + 2 * rng.random((192, 640), dtype=np.float32)
        points = (camera.rays() * depth[..., None])[::2, ::2].reshape(-1, 3)
        T_base_camera = ring_camera.T_base_camera
        clouds.append(CameraCloud(move(points, T_base_camera), depth, camera, T_base_camera))
    seconds, kept = [], []
    for _ in range(rounds):
        start = time.process_time()
        kept = kept_points(clouds)
        seconds.append(time.process_time() - start)
    print(
        f"taking overlaps once: {1e3 * np.median(seconds):.1f} ms of CPU for {sum(map(len, kept))} points, "
        f"{100 * np.concatenate(kept).mean():.0f} % kept"
    )


def compare(points: npt.NDArray[np.floating], sweep: npt.NDArray[np.floating]) -> None:
    """Prints how far the nearest obstacles of cloud and sweep lie from each other."""
    ours, theirs = nearest(points), nearest(sweep)
    both = np.isfinite(ours) & np.isfinite(theirs)
    ratio = ours[both] / theirs[both]
    print(
        f"of 360 degrees the cloud has an obstacle within {REACH:g} m in {np.isfinite(ours).sum()}, the LiDAR in "
        f"{np.isfinite(theirs).sum()}, both in {both.sum()}; cloud / LiDAR: median {np.median(ratio):.2f}, "
        f"within 25 % in {100 * np.mean(np.abs(np.log(ratio)) < np.log(1.25)):.0f} %"
    )


def nearest(points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Returns the (360,) range of the nearest obstacle in each degree around the base; +Inf for none."""
    x, y, z = np.asarray(points, dtype=np.float64).T
    distance = np.hypot(x, y)
    used = (z > BAND[0]) & (z < BAND[1]) & (distance < REACH) & (distance > 2.5)  # not the vehicle itself
    ranges = np.full(360, np.inf)
    np.minimum.at(ranges, np.degrees(np.arctan2(y, x)[used]).astype(int) % 360, distance[used])
    return ranges


def from_above(
    points: npt.NDArray[np.floating], colors: npt.NDArray[np.uint8] | None, title: str
) -> npt.NDArray[np.uint8]:
    """Returns the (SIZE, SIZE, 3) RGB picture of points within reach, ahead up; by height without colours."""
    canvas = np.full((SIZE, SIZE, 3), 16, dtype=np.uint8)
    x, y, z = np.asarray(points, dtype=np.float64).T
    row = np.rint((REACH - x) / (2 * REACH) * (SIZE - 1)).astype(int)
    column = np.rint((REACH - y) / (2 * REACH) * (SIZE - 1)).astype(int)
    inside = (row >= 0) & (row < SIZE) & (column >= 0) & (column < SIZE) & (z < 3.0)
    order = np.flatnonzero(inside)[np.argsort(z[inside])]
    if colors is None:
        level = np.clip(0.3 + z[order] / 3.0, 0.3, 1)
        shades = cv2.applyColorMap((255 * level).astype(np.uint8), cv2.COLORMAP_TURBO).reshape(-1, 3)[:, ::-1]
    else:
        shades = np.maximum(colors[order], 70)
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):  # a point is as large as two pixels
        canvas[np.minimum(row[order] + down, SIZE - 1), np.minimum(column[order] + right, SIZE - 1)] = shades
    for metres in (10, 20):
        radius = round(metres / (2 * REACH) * SIZE)
        cv2.circle(canvas, (SIZE // 2, SIZE // 2), radius, (70, 70, 70), 1, cv2.LINE_AA)
        place = (SIZE // 2 + 4, SIZE // 2 - radius + 14)
        cv2.putText(canvas, f"{metres} m", place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (160, 160, 160), 1, cv2.LINE_AA)
    cv2.arrowedLine(canvas, (SIZE // 2, SIZE // 2), (SIZE // 2, SIZE // 2 - 25), (255, 80, 80), 2, cv2.LINE_AA)
    cv2.putText(canvas, title, (10, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 1, cv2.LINE_AA)
    return canvas


if __name__ == "__main__":
    main()
