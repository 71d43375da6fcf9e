"""`recon3d run`: every frame's depth, cloud and messages, and nothing half done."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from drives import HEIGHT, WIDTH, camera_messages, cut, image_message, make_image, read_bag, write_bag, write_drive
from onnx_models import METRES_PER_FOCAL_PX, METRES_PER_GREY, write_model

from recon3d_ros.tools import cli, run

trimesh = pytest.importorskip("trimesh", reason="trimesh reads the clouds back")
PointCloud = pytest.importorskip("pypcd4", reason="pypcd4 reads the clouds back").PointCloud

# The model's input: the 80 x 48 images are cropped by nothing and halved.
MODEL_HEIGHT, MODEL_WIDTH = 24, 40


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    return write_model(path, height=MODEL_HEIGHT, width=MODEL_WIDTH)


def start(source: Path, output: Path, model: Path, *options: str) -> int:
    return cli.main(["run", str(source), "-o", str(output), "--model", str(model), *options])


def read_cloud(path: Path) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Returns the (N, 3) points and RGB colours of a file, read by libraries that know nothing of ours."""
    if path.suffix == ".pcd":
        cloud = PointCloud.from_path(path)
        return cloud.numpy(("x", "y", "z")), PointCloud.decode_rgb(cloud.numpy(("rgb",))[:, 0])
    mesh = trimesh.load(path)
    return np.asarray(mesh.vertices), np.asarray(mesh.colors)[:, :3]


def expected_depth(index: int) -> np.ndarray:  # type: ignore[type-arg]
    """What the tiny model says of an image: halved, that is each 2 x 2 block's mean, at fx = 30."""
    blocks = make_image(index).astype(float).reshape(MODEL_HEIGHT, 2, MODEL_WIDTH, 2, 3)
    return METRES_PER_GREY * blocks.mean(axis=(1, 3, 4)) + METRES_PER_FOCAL_PX * 30.0


def test_a_bag_becomes_depth_clouds_a_bag_and_a_preview(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = write_bag(tmp_path / "bag", camera_messages(4))
    assert start(bag, tmp_path / "out", model) == 0
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "calibration.json", "clouds", "depth", "output", "preview.png", "summary.json",
    ]  # fmt: skip
    for index in range(4):
        depth_mm = cv2.imread(str(out / "depth" / f"{index:06d}.png"), cv2.IMREAD_UNCHANGED)
        assert depth_mm.dtype == np.uint16
        # A grey level of rounding in the remap is 20 mm in this model.
        np.testing.assert_allclose(depth_mm, 1000 * expected_depth(index), atol=21)
    assert json.loads((out / "summary.json").read_text())["frames"] == 4
    printed = capsys.readouterr().out
    assert "4 frames in" in printed and "the recording's own 10.0/s" in printed and "infer" in printed


def test_the_output_bag_has_the_inputs_stamps_and_frames(tmp_path: Path, model: Path) -> None:
    start(write_drive(tmp_path / "drive", 3), tmp_path / "out", model)
    topics = read_bag(tmp_path / "out" / "output")
    outputs = {f"/camera/{name}" for name in ("depth/camera_info", "depth/image_rect", "image_rect", "points")}
    assert set(topics) == {*outputs, "/tf_static"}
    assert (tmp_path / "out" / "output" / "output.mcap").exists()
    for name, messages in topics.items():
        if name != "/tf_static":
            stamps = [message.header.stamp.sec * 10**9 + message.header.stamp.nanosec for message in messages]
            assert stamps == [1_700_000_000_000_000_000 + 50_000_000 * index for index in range(3)]
            assert {message.header.frame_id for message in messages} == {"camera_optical_frame"}
    depth, info, cloud = (
        topics[f"/camera/{name}"][1] for name in ("depth/image_rect", "depth/camera_info", "points")
    )
    metres = depth.data.view("<f4").reshape(MODEL_HEIGHT, MODEL_WIDTH)
    assert depth.encoding == "32FC1"
    np.testing.assert_allclose(metres, expected_depth(1), atol=0.021)
    np.testing.assert_allclose(info.k, [30, 0, 18.5, 0, 31, 9.875, 0, 0, 1])
    points = cloud.data.view("<f4").reshape(MODEL_HEIGHT, MODEL_WIDTH, 8)[..., :3]
    assert (cloud.height, cloud.width, cloud.is_dense) == (MODEL_HEIGHT, MODEL_WIDTH, False)
    row, column = 20, 33
    z = metres[row, column]
    np.testing.assert_allclose(points[row, column], [(33 - 18.5) * z / 30, (20 - 9.875) * z / 31, z], rtol=1e-5)


@pytest.mark.parametrize("cloud", ["ply", "pcd"])
def test_cloud_files_open_in_another_library_with_their_colours(tmp_path: Path, model: Path, cloud: str) -> None:
    start(write_drive(tmp_path / "drive", 1), tmp_path / "out", model, "--cloud", cloud, "--stride", "2")
    points, colors = read_cloud(tmp_path / "out" / "clouds" / f"000000.{cloud}")
    z = expected_depth(0)[::2, ::2]
    rows, columns = np.mgrid[:MODEL_HEIGHT:2, :MODEL_WIDTH:2]
    expected = np.stack([(columns - 18.5) * z / 30, (rows - 9.875) * z / 31, z], axis=-1).reshape(-1, 3)
    np.testing.assert_allclose(points, expected, atol=0.02)
    blocks = make_image(0)[..., ::-1].astype(float).reshape(MODEL_HEIGHT, 2, MODEL_WIDTH, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(colors, blocks[::2, ::2].reshape(-1, 3), atol=1.01)


def test_range_limits_leave_zeros_in_the_depth_and_no_points(tmp_path: Path, model: Path) -> None:
    options = ("--min-range", "3", "--max-range", "4")
    start(write_drive(tmp_path / "drive", 1), tmp_path / "out", model, *options)
    depth_mm = cv2.imread(str(tmp_path / "out" / "depth" / "000000.png"), cv2.IMREAD_UNCHANGED)
    truth = expected_depth(0)
    assert (depth_mm[(truth < 2.97) | (truth > 4.03)] == 0).all()
    assert (depth_mm[(truth > 3.03) & (truth < 3.97)] > 0).all()
    points, _ = read_cloud(tmp_path / "out" / "clouds" / "000000.ply")
    assert len(points) == np.count_nonzero(depth_mm)


def test_without_clouds_there_is_no_folder_for_them(tmp_path: Path, model: Path) -> None:
    start(write_drive(tmp_path / "drive", 1), tmp_path / "out", model, "--cloud", "none")
    assert not (tmp_path / "out" / "clouds").exists()


def test_several_cameras_go_to_folders_of_their_own(tmp_path: Path, model: Path) -> None:
    messages = camera_messages(2, namespace="/left") + camera_messages(3, namespace="/rear/wide")
    bag = write_bag(tmp_path / "bag", messages)
    topics = ("--image-topic", "/left/image_raw", "--image-topic", "/rear/wide/image_raw")
    assert start(bag, tmp_path / "out", model, *topics) == 0
    assert len(list((tmp_path / "out" / "left" / "depth").iterdir())) == 2
    assert len(list((tmp_path / "out" / "rear_wide" / "depth").iterdir())) == 3
    assert len(read_bag(tmp_path / "out" / "output")["/rear/wide/points"]) == 3


def test_a_cut_off_bag_is_used_up_to_the_cut_and_the_exit_code_says_so(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = write_bag(tmp_path / "bag", camera_messages(60))
    cut(bag, 0.5)
    assert start(bag, tmp_path / "out", model) == 1
    depths = sorted(path.name for path in (tmp_path / "out" / "depth").iterdir())
    assert 25 <= len(depths) <= 31
    assert depths == [f"{index:06d}.png" for index in range(len(depths))]
    assert "incomplete: " in capsys.readouterr().out


def test_unusable_frames_are_counted_and_keep_their_numbers_free(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    messages = camera_messages(3)
    messages[2] = ("/camera/image_raw", image_message(make_image(0), 5, encoding="x8"), messages[2][2])
    assert start(write_bag(tmp_path / "bag", messages), tmp_path / "out", model) == 1
    assert "skipped: 1 x /camera/image_raw: encoding is 'x8'" in capsys.readouterr().out
    assert sorted(path.stem for path in (tmp_path / "out" / "depth").iterdir()) == ["000000", "000002"]


def test_a_crash_leaves_no_output_that_looks_whole(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive = write_drive(tmp_path / "drive", 3)
    write = run.CameraOutput.write

    def fail_at_the_second(self: run.CameraOutput, source: run.CameraFrame, frame: object) -> None:
        if source.index == 1:
            raise KeyError("bug")
        write(self, source, frame)  # type: ignore[arg-type]

    monkeypatch.setattr(run.CameraOutput, "write", fail_at_the_second)
    with pytest.raises(KeyError):
        start(drive, tmp_path / "results" / "out", model)
    assert list((tmp_path / "results").iterdir()) == []


def test_only_the_output_of_an_earlier_run_is_overwritten(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drive = write_drive(tmp_path / "drive", 1)
    assert start(drive, tmp_path / "out", model) == 0
    assert start(drive, tmp_path / "out", model) == 2
    assert "exists already; give another folder, or --overwrite" in capsys.readouterr().err
    assert start(drive, tmp_path / "out", model, "--overwrite") == 0
    assert start(drive, drive, model, "--overwrite") == 2
    assert "is not the output of an earlier run" in capsys.readouterr().err
    assert (drive / "image").exists()


def test_a_recording_without_a_usable_image_is_refused(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drive = write_drive(tmp_path / "drive", 1)
    (drive / "image" / "000000.png").write_bytes(b"no picture")
    assert start(drive, tmp_path / "out", model) == 2
    assert "no image can be used" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_result_is_a_drive_whose_depth_has_its_calibration(tmp_path: Path, model: Path) -> None:
    start(write_drive(tmp_path / "drive", 1), tmp_path / "out", model)
    calibration = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert (calibration["width"], calibration["height"]) == (MODEL_WIDTH, MODEL_HEIGHT)
    assert (WIDTH, HEIGHT) == (2 * MODEL_WIDTH, 2 * MODEL_HEIGHT)
    np.testing.assert_allclose(calibration["K"], [[30, 0, 18.5], [0, 31, 9.875], [0, 0, 1]])


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        # 80 x 48 at 122,880 pixels: 271.5 rows, 256; 256 * 80 / 48 = 426.7 columns, with 1 % more 430.9, 416.
        ((), (256, 416)),
        (("--network-pixels", "10000"), (64, 96)),
        (("--network-pixels", "0"), (32, 64)),
    ],
)
def test_a_model_of_free_size_sees_the_shape_of_the_camera_in_the_pixels_given(
    tmp_path: Path, options, shape
) -> None:
    free = write_model(tmp_path / "free.onnx", has_free_size=True)
    assert start(write_drive(tmp_path / "drive", 1), tmp_path / "out", free, *options, "--cloud", "none") == 0
    depth_mm = cv2.imread(str(tmp_path / "out" / "depth" / "000000.png"), cv2.IMREAD_UNCHANGED)
    assert depth_mm.shape == shape


@pytest.mark.parametrize("pixels", ["-1", "4000001", "1000000000"])
def test_a_number_of_pixels_that_no_network_has_is_refused(
    tmp_path: Path, model: Path, capsys, pixels: str
) -> None:
    assert start(write_drive(tmp_path / "drive", 1), tmp_path / "out", model, "--network-pixels", pixels) == 2
    assert f"--network-pixels is {pixels}, expected 0 to 4000000" in capsys.readouterr().err
