"""A camera ring's one moment as a bag, and its transforms as the node takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drives import read_bag
from test_core_truth import write_ring

from recon3d_ros.core.ring import load_ring
from recon3d_ros.core.transforms import parse_transforms, transform_text
from recon3d_ros.tools import cli


@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "compressed"])
def test_a_ring_becomes_a_bag_of_all_its_cameras(tmp_path: Path, compressed: bool) -> None:
    ring = write_ring(tmp_path / "ring")
    options = ["--compressed"] if compressed else []
    assert cli.main(["bag", "make", str(ring), "-o", str(tmp_path / "bag"), "--repeat", "3", *options]) == 0
    messages = read_bag(tmp_path / "bag")
    suffix = "/compressed" if compressed else ""
    for camera in ("front", "left"):
        assert len(messages[f"/{camera}/image_raw{suffix}"]) == len(messages[f"/{camera}/camera_info"]) == 3
        infos = messages[f"/{camera}/camera_info"]
        stamps = [info.header.stamp.sec + info.header.stamp.nanosec * 1e-9 for info in infos]
        np.testing.assert_allclose(np.diff(stamps), 0.5)
        assert infos[0].header.frame_id == f"{camera}_optical_frame"
    (static,) = messages["/tf_static"]
    offsets = {t.child_frame_id: t.transform.translation for t in static.transforms}
    assert (offsets["left_optical_frame"].y, offsets["left_optical_frame"].z) == (0.5, 1.6)
    sweep, *_ = messages["/lidar/points"]
    first = np.frombuffer(sweep.data, dtype="<f4")[:3]
    # Written 12 m ahead of a LiDAR 2 m up; the vehicle was a metre further on when its front camera looked.
    assert sweep.header.frame_id == "base_link"
    np.testing.assert_allclose(first, (11, 0, 2), atol=1e-5)


def test_the_text_of_a_transform_is_read_back(tmp_path: Path) -> None:
    for camera in load_ring(write_ring(tmp_path / "ring")):
        tree = parse_transforms(transform_text("base_link", camera.name, camera.T_base_camera))
        np.testing.assert_allclose(tree.lookup("base_link", camera.name), camera.T_base_camera, atol=1e-8)
