"""Fixed transforms: their text, their chains, and the trees that are none."""

from __future__ import annotations

import numpy as np
import pytest

from recon3d_ros.core.transforms import TransformError, parse_transforms

# A camera 1.7 m ahead of the base and 1.5 m up that looks ahead: optical z is the base's x, optical x its -y.
FRONT = "base_link front 1.7 0 1.5 -0.5 0.5 -0.5 0.5"


def test_a_point_on_the_optical_axis_lies_ahead_of_the_vehicle():
    T_base_front = parse_transforms(FRONT).lookup("base_link", "front")
    np.testing.assert_allclose(T_base_front @ (0, 0, 10, 1), (11.7, 0, 1.5, 1), atol=1e-12)
    np.testing.assert_allclose(T_base_front @ (2, 1, 10, 1), (11.7, -2, 0.5, 1), atol=1e-12)


def test_two_sensors_are_chained_through_the_base_they_share():
    tree = parse_transforms(FRONT + "; base_link roof 0,0,2,0,0,0,1; roof lidar 1 0 0 0 0 0 1;")
    # The LiDAR's origin is at (1, 0, 2) in the base: 0.7 m behind the camera and 0.5 m above it.
    np.testing.assert_allclose(tree.lookup("front", "lidar")[:3, 3], (0, -0.5, -0.7), atol=1e-12)
    assert tree.connects("front", "lidar")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a b 0 0 0 0 0 0 1; b c 0 0 0 0 0 0 1; c a 0 0 0 0 0 0 1", "circle"),
        ("a a 0 0 0 0 0 0 1", "circle"),
        ("a c 0 0 0 0 0 0 1; b c 0 0 0 0 0 0 1", "two parents, 'a' and 'b'"),
        ("a b 0 0 0 0 0 1", "qx qy qz qw"),
        ("a b 0 0 0 0 0 0 2", "unit quaternion"),
        ("a b 0 0 zero 0 0 0 1", "zero"),
        ("a b 0 0 nan 0 0 0 1", "not finite"),
        ("a", "qx qy qz qw"),
    ],
    ids=lambda value: value[:24],
)
def test_transforms_that_make_no_tree_are_refused_with_the_reason(text, words):
    with pytest.raises(TransformError, match=words):
        parse_transforms(text)


def test_a_missing_link_names_both_frames_and_what_is_known():
    with pytest.raises(TransformError, match="'rear' and 'base_link'; known are base_link -> front"):
        parse_transforms(FRONT).lookup("base_link", "rear")
