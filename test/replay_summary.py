"""What the live node makes of a recorded drive, as a few numbers a frame.

    python test/replay_summary.py            # compares all frames with the stored numbers
    python test/replay_summary.py --write    # stores them anew

kitti_drive is read in place; only these numbers are kept. They change with the network and with the filters: then
look at the outputs, and store them anew.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

SUMMARY = Path(__file__).with_name("replay_summary.json")
DRIVE = Path(__file__).resolve().parents[2] / "shared" / "data" / "kitti_drive"
TOPICS = ("points", "obstacles", "front/scan")
PARAMETERS = {
    "cameras": ["front"],
    "compressed": True,
    "edge_threshold": 0.15,
    "voxel_size": 0.1,
    "cloud_fields": "xyz",
    "diagnostics_period": 0.1,
}


def summaries(indices: Iterable[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the index and summary of frames of the drive, after each has gone through the live node."""
    from ros_harness import RosHarness
    from sensor_msgs.msg import CameraInfo, CompressedImage, LaserScan, PointCloud2
    from std_msgs.msg import Header

    from recon3d_ros.core.calibration import load_calibration
    from recon3d_ros.core.transforms import transform_text
    from recon3d_ros.ros.messages import camera_to_msg
    from recon3d_ros.tools.transforms import static_transforms

    calibration = load_calibration(DRIVE / "calibration.json")
    transforms = "; ".join(transform_text(*edge) for edge in static_transforms(calibration, "front_optical_frame"))
    harness = RosHarness(**PARAMETERS, static_transforms=transforms)
    try:
        images = harness.publisher("/front/image_raw/compressed", CompressedImage)
        infos = harness.publisher("/front/camera_info", CameraInfo)
        kinds = {"points": PointCloud2, "obstacles": PointCloud2, "front/scan": LaserScan}
        out = {topic: harness.collect(f"/{topic}", kinds[topic]) for topic in TOPICS}
        assert harness.node.start()
        harness.wait_until_connected([images, infos], [f"/{topic}" for topic in TOPICS])
        infos.publish(camera_to_msg(calibration.camera, Header(frame_id="front_optical_frame")))
        port = harness.node._ports["front"]
        harness.wait_for(lambda: port._calibration is not None, "the CameraInfo")
        for index in indices:
            message = CompressedImage(format="jpeg", data=(DRIVE / "image" / f"{index:06d}.jpg").read_bytes())
            message.header.frame_id = "front_optical_frame"
            message.header.stamp.sec, message.header.stamp.nanosec = 100 + index // 10, index % 10 * 100_000_000
            images.publish(message)
            harness.wait_for(lambda: all(out.values()), f"the outputs of frame {index}", 60.0)
            got = {topic: messages.pop() for topic, messages in out.items()}
            assert all(output.header.stamp == message.header.stamp for output in got.values())
            yield index, summary_of(got)
    finally:
        harness.close()


def summary_of(messages: dict[str, Any]) -> dict[str, Any]:
    """Returns the numbers that are kept of a frame's outputs."""
    from recon3d_ros.ros.messages import points_from_msg

    points, obstacles = (points_from_msg(messages[topic]) for topic in ("points", "obstacles"))
    ranges = np.array(messages["front/scan"].ranges)
    hits = ranges[np.isfinite(ranges)]
    return {
        "points": len(points),
        "point_step": messages["points"].point_step,
        "frame_id": messages["points"].header.frame_id,
        "x": np.percentile(points[:, 0], (5, 50, 95)).round(2).tolist(),
        "z": np.percentile(points[:, 2], (5, 50, 95)).round(2).tolist(),
        "obstacles": len(obstacles),
        "beams": len(ranges),
        "hits": len(hits),
        "free": int(np.isposinf(ranges).sum()),
        "hit_range": round(float(np.median(hits)), 2),
    }


def differences(got: dict[str, Any], stored: dict[str, Any]) -> list[str]:
    """Returns what differs by more than threads and CPUs make of a network's last digits."""
    found = []
    for name, value in stored.items():
        if isinstance(value, str) or name in ("point_step", "beams"):
            is_same = got[name] == value
        else:
            slack = 5.0 if isinstance(value, int) else 0.1
            is_same = np.allclose(got[name], value, rtol=0.02, atol=slack)
        if not is_same:
            found.append(f"{name} is {got[name]}, stored is {value}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="store the numbers anew")
    args = parser.parse_args()
    count = len(list((DRIVE / "image").glob("*.jpg")))
    rows = dict(summaries(range(count)))
    if args.write:
        lines = (f'"{index}": {json.dumps(row)}' for index, row in rows.items())
        SUMMARY.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        return 0
    stored = json.loads(SUMMARY.read_text())
    wrong = {index: found for index, row in rows.items() if (found := differences(row, stored[str(index)]))}
    print(f"{count} frames, {len(wrong)} of them differ from what is stored")
    for index, found in wrong.items():
        print(f"{index}: {'; '.join(found)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    import conftest  # noqa: F401 (a DDS domain of its own)

    sys.exit(main())
