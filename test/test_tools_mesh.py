"""`recon3d mesh` on recordings of a ball of known place and size: folders, bags, and through a network."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import cv2
import drives
import numpy as np
import pytest
from onnx_models import METRES_PER_FOCAL_PX, METRES_PER_GREY, write_model
from posed_scenes import CENTER, COLOR, HEIGHT, RADIUS, WIDTH, open3d_or_skip, write_depth_bag, write_recording

from recon3d_ros.tools import mesh as mesh_tool
from recon3d_ros.tools.cli import main

open3d_or_skip()
trimesh = pytest.importorskip("trimesh", reason="mesh files need trimesh")


def distances(path: Path) -> np.ndarray:
    """Returns how far a mesh's vertices are outside of the ball, metres."""
    return np.linalg.norm(trimesh.load_mesh(path).vertices - CENTER, axis=1) - RADIUS


@pytest.mark.parametrize("layout", ["drive", "scenes"])
def test_a_folder_becomes_a_mesh_of_the_true_surface(
    tmp_path: Path, layout: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.joinpath("in").mkdir()
    folder = write_recording(tmp_path / "in", layout=layout)
    assert (
        main(["mesh", str(folder), "-o", str(tmp_path / "ball.ply"), "--cloud", str(tmp_path / "cloud.ply")]) == 0
    )
    assert np.percentile(np.abs(distances(tmp_path / "ball.ply")), 95) < 0.01
    mesh = trimesh.load_mesh(tmp_path / "ball.ply")
    assert (mesh.visual.vertex_colors[:, :3] == COLOR).all()
    cloud = trimesh.load(tmp_path / "cloud.ply")
    np.testing.assert_allclose(cloud.vertices, mesh.vertices)
    printed = capsys.readouterr().out
    assert "voxel 0.01 m" in printed and "MB, at most 2048, on cpu" in printed and "unit m" in printed
    assert "24 frames of recorded depth" in printed


def test_stl_is_closed_in_millimetres_with_the_unit_in_its_header(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "in")
    file = tmp_path / "ball.stl"
    assert main(["mesh", str(folder), "-o", str(file), "--watertight", "--min-views", "1"]) == 0
    assert b"unit=mm" in file.read_bytes()[:80]
    mesh = trimesh.load_mesh(file)
    assert mesh.is_watertight
    np.testing.assert_allclose(mesh.extents, 2000 * RADIUS, rtol=0.02)
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * (1000 * RADIUS) ** 3, rel=0.03)


def half(folder: Path) -> Path:
    """Keeps the poses of the ball's upper half, so that its surface is open."""
    rows = np.loadtxt(folder / "poses.txt")
    for index, row in enumerate(rows):
        if row[11] < CENTER[2] + 0.5:
            for name in (f"image/{index:06d}.png", f"depth/{index:06d}.png"):
                (folder / name).unlink()
    np.savetxt(folder / "poses.txt", rows[rows[:, 11] >= CENTER[2] + 0.5])
    return folder


def test_an_open_surface_becomes_a_closed_solid_for_printing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = half(write_recording(tmp_path / "in", 40))
    assert main(["mesh", str(folder), "-o", str(tmp_path / "half.stl")]) == 0
    assert "written as a solid, 0.04 m thick" in capsys.readouterr().out
    assert trimesh.load_mesh(tmp_path / "half.stl").is_watertight


def test_an_open_surface_is_written_on_request_with_its_free_edges_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = half(write_recording(tmp_path / "in", 40))
    assert main(["mesh", str(folder), "-o", str(tmp_path / "half.stl"), "--no-solid"]) == 1
    free = int(capsys.readouterr().err.split("not closed: ")[1].split()[0])
    # trimesh merges the vertices that STL repeats; an edge of one triangle is a free one.
    judge = trimesh.load_mesh(tmp_path / "half.stl")
    assert free == len(trimesh.grouping.group_rows(judge.edges_sorted, require_count=1))


def test_watertight_refuses_an_open_surface_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = half(write_recording(tmp_path / "in", 40))
    assert main(["mesh", str(folder), "-o", str(tmp_path / "half.ply"), "--watertight"]) == 2
    assert "free edges" in capsys.readouterr().err
    assert not (tmp_path / "half.ply").exists()


def test_glb_is_a_whole_gltf_2_file_with_colours_and_y_up(tmp_path: Path) -> None:
    file = tmp_path / "ball.glb"
    assert main(["mesh", str(write_recording(tmp_path / "in")), "-o", str(file)]) == 0
    content = file.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", content)
    assert (magic, version, length) == (b"glTF", 2, len(content))
    json_length, json_kind = struct.unpack_from("<I4s", content, 12)
    tree = json.loads(content[20 : 20 + json_length])
    binary_length, binary_kind = struct.unpack_from("<I4s", content, 20 + json_length)
    assert (json_kind, binary_kind) == (b"JSON", b"BIN\0")
    assert tree["buffers"] == [{"byteLength": binary_length}]
    (primitive,) = tree["meshes"][0]["primitives"]
    assert {"POSITION", "NORMAL", "COLOR_0"} <= set(primitive["attributes"])
    assert tree["materials"][primitive["material"]]["pbrMetallicRoughness"]["metallicFactor"] == 0
    position = tree["accessors"][primitive["attributes"]["POSITION"]]
    middle = (np.array(position["min"]) + position["max"]) / 2
    x, y, z = CENTER  # the world's z is up: glTF's y
    np.testing.assert_allclose(middle, [x, z, -y], atol=0.02)
    assert tree["accessors"][primitive["indices"]]["max"] == [position["count"] - 1]


def test_obj_holds_the_mesh_in_the_world_frame(tmp_path: Path) -> None:
    assert main(["mesh", str(write_recording(tmp_path / "in")), "-o", str(tmp_path / "ball.obj")]) == 0
    assert np.percentile(np.abs(distances(tmp_path / "ball.obj")), 95) < 0.01


def test_poses_in_millimetres_are_refused_and_read_with_their_scale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_recording(tmp_path / "in")
    rows = np.loadtxt(folder / "poses.txt")
    rows[:, [3, 7, 11]] *= 1000
    np.savetxt(folder / "poses.txt", rows)
    command = ["mesh", str(folder), "-o", str(tmp_path / "ball.ply")]
    assert main(command) == 2
    assert "--pose-scale 0.001" in capsys.readouterr().err
    assert main([*command, "--pose-scale", "0.001"]) == 0
    assert np.percentile(np.abs(distances(tmp_path / "ball.ply")), 95) < 0.01


def test_a_scaled_pose_is_refused_by_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.joinpath("in").mkdir()
    folder = write_recording(tmp_path / "in", layout="scenes")
    pose = np.loadtxt(folder / "000000.pose.txt")
    pose[:3, :3] *= 1.2
    np.savetxt(folder / "000000.pose.txt", pose)
    assert main(["mesh", str(folder), "-o", str(tmp_path / "ball.ply")]) == 2
    assert "000000.pose.txt: is not rigid: its upper left 3x3 has determinant 1.7280" in capsys.readouterr().err


def test_frames_whose_tracking_was_lost_or_whose_file_is_damaged_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.joinpath("in").mkdir()
    folder = write_recording(tmp_path / "in", layout="scenes")
    np.savetxt(folder / "000003.pose.txt", np.full((4, 4), -np.inf))
    (folder / "000004.depth.png").write_bytes(b"no picture")
    assert main(["mesh", str(folder), "-o", str(tmp_path / "ball.ply")]) == 1
    printed = capsys.readouterr()
    assert "22 frames" in printed.out
    assert "skipped: 1 x no pose: the tracking was lost" in printed.err and "000004.depth.png" in printed.err


def test_a_volume_that_does_not_fit_is_refused_before_it_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("fusion was started")

    monkeypatch.setattr(mesh_tool, "_fuse", fail)
    folder = write_recording(tmp_path / "in")
    command = ["mesh", str(folder), "-o", str(tmp_path / "b.ply"), "--voxel", "0.001", "--memory", "20"]
    assert main(command) == 2
    assert "at a voxel of 0.001 m the volume takes" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["nowhere", "-o", "a.ply"], "does not exist"),
        ([".", "-o", "a.fbx"], "a mesh is written as .ply, .glb, .obj, .stl"),
        ([".", "-o", "a.ply"], "has no poses.txt"),
    ],
)
def test_what_cannot_be_read_or_written_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["mesh", *arguments]) == 2
    assert reason in capsys.readouterr().err


def test_poses_must_be_as_many_as_the_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_recording(tmp_path / "in")
    np.savetxt(folder / "poses.txt", np.loadtxt(folder / "poses.txt")[:-1])
    assert main(["mesh", str(folder), "-o", str(tmp_path / "ball.ply")]) == 2
    assert "has 23 poses, the folder 24 images" in capsys.readouterr().err


# --- bags ---


@pytest.mark.parametrize("encoding, unit", [("16UC1", 1000.0), ("32FC1", 1.0)])
def test_a_depth_cameras_bag_becomes_a_mesh_in_its_odometrys_frame(
    tmp_path: Path, encoding: str, unit: float
) -> None:
    bag = write_depth_bag(tmp_path / "bag", encoding=encoding, unit=unit)
    assert main(["mesh", str(bag), "-o", str(tmp_path / "ball.ply")]) == 0
    assert np.percentile(np.abs(distances(tmp_path / "ball.ply")), 95) < 0.01


def test_floating_point_depth_in_millimetres_is_refused_and_read_with_its_scale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = write_depth_bag(tmp_path / "bag", encoding="32FC1", unit=1000.0)
    command = ["mesh", str(bag), "-o", str(tmp_path / "ball.ply")]
    assert main(command) == 2
    assert "--depth-scale 0.001" in capsys.readouterr().err
    assert main([*command, "--depth-scale", "0.001"]) == 0
    assert np.percentile(np.abs(distances(tmp_path / "ball.ply")), 95) < 0.01


def test_depth_of_another_shape_than_its_camera_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = write_depth_bag(tmp_path / "bag", info_height=HEIGHT * 3 // 4)  # as after a change of the camera's size
    assert main(["mesh", str(bag), "-o", str(tmp_path / "ball.ply")]) == 2
    assert (
        f"depth is {WIDTH}x{HEIGHT}, its camera {WIDTH}x{HEIGHT * 3 // 4}: of another" in capsys.readouterr().err
    )


def test_frames_that_tf_does_not_cover_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = write_depth_bag(tmp_path / "bag", tf_from=6)
    assert main(["mesh", str(bag), "-o", str(tmp_path / "ball.ply")]) == 1
    assert (
        "skipped: 5 x no pose: TF or odometry cover only 1700000000.60 to 1700000002.30 s"
        in capsys.readouterr().err
    )


def test_a_bag_that_does_not_say_how_the_camera_moved_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = write_depth_bag(tmp_path / "bag", has_tf=False)
    assert main(["mesh", str(bag), "-o", str(tmp_path / "ball.ply")]) == 2
    assert "does not say how 'camera_optical_frame' moved" in capsys.readouterr().err


def test_a_bag_whose_tf_covers_no_image_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = write_depth_bag(tmp_path / "bag", tf_late=100)
    assert main(["mesh", str(bag), "-o", str(tmp_path / "b.ply")]) == 2
    assert "no frame can be used: no pose: TF or odometry cover only 1700000010.00" in capsys.readouterr().err


# --- the network ---


def write_wall_drive(folder: Path) -> Path:
    """Writes images of a wall 4.75 m before the first camera, each 0.1 m nearer, as grey for the model."""
    (folder / "image").mkdir(parents=True)
    poses = np.repeat(np.eye(4)[None], 6, axis=0)
    poses[:, 2, 3] = 0.1 * np.arange(6)
    for index in range(6):
        depth = 4.75 - 0.1 * index
        grey = round((depth - METRES_PER_FOCAL_PX * drives.K[0][0] / 2) / METRES_PER_GREY)
        pixels = np.full((drives.HEIGHT, drives.WIDTH, 3), grey, np.uint8)
        assert cv2.imwrite(str(folder / "image" / f"{index:06d}.png"), pixels)
    np.savetxt(folder / "poses.txt", poses[:, :3].reshape(6, 12))
    calibration = {"width": drives.WIDTH, "height": drives.HEIGHT, "K": drives.K}
    (folder / "calibration.json").write_text(json.dumps(calibration))
    return folder


@pytest.mark.parametrize("has_confidence", [False, True])
def test_a_drive_through_the_network_becomes_a_mesh(
    tmp_path: Path, has_confidence: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "tiny.onnx", height=24, width=40, has_confidence=has_confidence)
    folder = write_wall_drive(tmp_path / "in")
    command = ["mesh", str(folder), "-o", str(tmp_path / "wall.ply"), "--model", str(model)]
    assert main([*command, "--voxel", "0.1"]) == 0
    assert "6 images through tiny 1.0" in capsys.readouterr().out
    vertices = trimesh.load_mesh(tmp_path / "wall.ply").vertices
    assert np.abs(vertices[:, 2] - 4.75).max() < 0.03
    assert np.ptp(vertices[:, 0]) > 4


def test_the_networks_depth_is_scaled_by_the_cameras_height_only_where_it_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "tiny.onnx", height=24, width=40)
    command = ["mesh", str(write_wall_drive(tmp_path / "in")), "-o", str(tmp_path / "wall.ply")]
    assert main([*command, "--model", str(model), "--scale", "ground"]) == 2
    assert "give --camera-height M" in capsys.readouterr().err


def test_a_model_without_scale_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_model(tmp_path / "tiny.onnx", height=24, width=40, metadata={"is_metric": "false"})
    command = ["mesh", str(write_wall_drive(tmp_path / "in")), "-o", str(tmp_path / "wall.ply")]
    assert main([*command, "--model", str(model)]) == 2
    assert "is not metric" in capsys.readouterr().err
