"""Adapters of data sets on the disk: points at known places come out at their hand-worked pixels and depths."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from drives import write_drive
from recordings import DRIVE, HEIGHT, WIDTH, write_image, write_kitti, write_nuscenes

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")

from recon3d_ros.core.camera import CameraError, CameraModel  # noqa: E402
from recon3d_ros.core.drive import DriveError  # noqa: E402
from recon3d_ros.core.lidar import LidarError, depth_image  # noqa: E402
from recon3d_ros.core.preprocess import RawImage  # noqa: E402
from training.datasets import FrameSamples, crop_frame, flip_frame, lidar_frame, open_frames  # noqa: E402
from training.datasets.drive import DriveFrames  # noqa: E402
from training.datasets.files import DatasetError  # noqa: E402
from training.datasets.folder import DepthFolderFrames  # noqa: E402
from training.datasets.kitti import KittiFrames  # noqa: E402
from training.datasets.nuscenes import NuScenesFrames  # noqa: E402

CAMERA = CameraModel(WIDTH, HEIGHT, 60.0, 62.0, 37.5, 20.25)
# At u = 37.5 + 60 x / z, v = 20.25 + 62 y / z: pixels (38, 20), (50, 17) and (8, 26), and one behind the camera.
POINTS = np.array([[0.05, 0.0, 8.0], [2.5, -0.6, 12.0], [-9.9, 2.0, 20.0], [0.0, 0.0, -4.0]])
PIXELS = {(20, 38): 8.0, (17, 50): 12.0, (26, 8): 20.0}


def known(depth: np.ndarray) -> dict[tuple[int, int], float]:
    """Returns the pixels (row, column) that have a depth, to the millimetre."""
    return {
        (int(row), int(column)): round(float(depth[row, column]), 3) for row, column in np.argwhere(depth == depth)
    }


def test_kitti_sweeps_land_on_the_rectified_colour_camera(tmp_path: Path) -> None:
    frames = KittiFrames(tmp_path, write_kitti(tmp_path, POINTS))
    assert len(frames) == 2
    assert known(frames[0].depth) == PIXELS
    assert frames[1].camera == CAMERA
    expected = cv2.imread(str(tmp_path / DRIVE / "image_02" / "data" / "0000000006.png"))
    np.testing.assert_array_equal(frames[1].image, expected[..., ::-1])


def test_kittis_annotated_maps_are_taken_where_they_exist(tmp_path: Path) -> None:
    split = write_kitti(tmp_path, POINTS)
    steps = np.zeros((HEIGHT, WIDTH), dtype=np.uint16)
    steps[30, 7] = round(12.5 * 256)
    path = tmp_path / "data_depth_annotated" / "val" / Path(DRIVE).name / "proj_depth/groundtruth/image_02"
    path.mkdir(parents=True)
    cv2.imwrite(str(path / "0000000006.png"), steps)
    frames = open_frames(split)
    assert (len(frames), frames.missing) == (1, 1)
    assert known(frames[0].depth) == {(30, 7): 12.5}
    # A sparse map survives a crop to a third of its size: no pixel is passed over.
    crop = crop_frame(frames[0], left=0, top=12, crop_width=54, crop_height=36, width=18, height=12)
    assert known(crop.depth) == {(6, 2): 12.5}


def test_nuscenes_sweeps_are_moved_to_the_images_time(tmp_path: Path) -> None:
    # In the map; the camera stands at (12, 20, 1.5) and looks 0.1 rad to the left of the map's x axis.
    ahead, left = np.array([np.cos(0.1), np.sin(0.1), 0]), np.array([-np.sin(0.1), np.cos(0.1), 0])
    camera = np.array([12.0, 20.0, 1.5])
    points_map = np.array([camera + z * ahead - x * left - [0, 0, y] for x, y, z in POINTS])
    frames = NuScenesFrames(write_nuscenes(tmp_path, points_map))
    assert known(frames[0].depth) == PIXELS
    assert open_frames(tmp_path)[0].camera == CAMERA


def test_a_folder_of_images_and_depth_maps_keeps_both_together(tmp_path: Path) -> None:
    depth_mm = np.full((HEIGHT, WIDTH), 3000, dtype=np.uint16)
    depth_mm[5, 9], depth_mm[6, 9], depth_mm[7, 9] = 0, 65535, 4500
    write_image(tmp_path / "b.color.png")
    cv2.imwrite(str(tmp_path / "b.depth.png"), depth_mm)
    (tmp_path / "intrinsics.txt").write_text("60 0 37.5\n0 62 20.25\n0 0 1\n")
    frame = open_frames(tmp_path)[0]
    assert frame.camera == CAMERA
    assert frame.points is None
    assert np.isnan(frame.depth[5:7, 9]).all()
    assert frame.depth[7, 9] == pytest.approx(4.5)
    assert np.isnan(frame.depth).sum() == 2


def test_files_named_by_their_stamps_are_found(tmp_path: Path) -> None:
    write_image(tmp_path / "image" / "1305031102.175304.png")  # as TUM's RGB-D recordings name them
    (tmp_path / "depth").mkdir()
    depth_mm = np.full((HEIGHT, WIDTH), 3000, dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "depth" / "1305031102.175304.png"), depth_mm)
    (tmp_path / "intrinsics.txt").write_text("60 0 37.5\n0 62 20.25\n0 0 1\n")
    assert np.allclose(open_frames(tmp_path)[0].depth, 3.0)


def test_a_smaller_depth_map_brings_image_and_camera_to_its_size(tmp_path: Path) -> None:
    folder = write_drive(tmp_path / "drive", 2)
    frame = DepthFolderFrames(folder)[1]
    assert frame.image.shape == (24, 40, 3)
    assert frame.depth.shape == (24, 40)
    assert (frame.camera.fx, frame.camera.cx) == (30.0, 18.5)  # (37.5 + 0.5) / 2 - 0.5
    assert frame.depth[3, 5] == pytest.approx(7.0)


def test_the_recorded_room_is_read(shared_data: Path) -> None:
    frames = open_frames(shared_data / "rgbd_room")
    assert len(frames) == 100
    assert frames[3].image.shape == (480, 640, 3)
    assert 0.5 < np.nanmedian(frames[3].depth) < 5


def test_the_recorded_drive_is_read_and_loses_few_returns_in_a_crop(shared_data: Path) -> None:
    frames = open_frames(shared_data / "kitti_drive")
    assert len(frames) == 78
    frame = frames[4]
    assert frame.points is not None
    small = crop_frame(frame, left=0, top=0, crop_width=1242, crop_height=373, width=640, height=192)
    taken = ~np.isnan(frame.depth)[:373]
    # Twice as coarse: two returns may share a pixel, nearest-pixel sampling would keep a quarter.
    assert np.count_nonzero(~np.isnan(small.depth)) > 0.8 * taken.sum()
    assert np.nanmedian(small.depth) == pytest.approx(np.nanmedian(frame.depth), rel=0.05)


def test_a_distorted_image_is_rectified_and_returns_without_a_picture_are_left_out() -> None:
    lens = CameraModel(WIDTH, HEIGHT, 60.0, 62.0, 37.5, 20.25, "plumb_bob", (0.3, 0.0, 0.0, 0.0, 0.0))
    image = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    point = np.array([[1.6, 0.9, 4.0]])
    pixels, _ = cv2.projectPoints(point, np.zeros(3), np.zeros(3), lens.K, np.array(lens.distortion))
    column, row = np.rint(pixels[0, 0]).astype(int)
    image[row, column] = 255
    corner = np.array([[2.2, -1.28, 4.0]])  # the undistorted camera sees it, the lens does not
    frame = lidar_frame(RawImage(image, "rgb"), lens, np.vstack([point, corner]))
    [(v, u)] = known(frame.depth)
    assert (v, u) == (34, 62)  # 20.25 + 62 * 0.225, 37.5 + 60 * 0.4
    assert frame.image[v - 1 : v + 2, u - 1 : u + 2].max() > 60


def test_a_flipped_sparse_frame_projects_its_points_to_the_mirrored_pixels() -> None:
    image = RawImage(np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8), "rgb")
    frame = lidar_frame(image, CAMERA, POINTS)
    flipped = flip_frame(frame)
    np.testing.assert_array_equal(depth_image(flipped.points, flipped.camera), frame.depth[:, ::-1])
    np.testing.assert_array_equal(flipped.depth, frame.depth[:, ::-1])


def test_samples_of_fixed_frames_take_each_once_an_epoch_and_repeat_by_number(tmp_path: Path) -> None:
    frames = DriveFrames(write_drive(tmp_path / "drive", 3))
    taken: list[int] = []

    class Watched:
        def __len__(self) -> int:
            return len(frames)

        def __getitem__(self, index: int) -> object:
            taken.append(index)
            return frames[index]

    samples = FrameSamples(Watched(), width=64, height=32, seed=4)
    first = [samples[number] for number in range(6)]
    assert sorted(taken[:3]) == sorted(taken[3:]) == [0, 1, 2]
    assert torch.equal(samples[4]["image"], first[4]["image"])
    assert {(tuple(s["image"].shape), tuple(s["depth"].shape)) for s in first} == {((32, 64, 3), (32, 64))}
    assert all(s["valid_mask"].any() for s in first)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2011_09_26/drive 5", "line 2 is '2011_09_26/drive 5', expected 'DATE/DRIVE NUMBER SIDE'"),
        ("2011_09_26/drive five l", "expected 'DATE/DRIVE NUMBER SIDE'"),
        ("2011_09_26/drive 5 x", "expected 'DATE/DRIVE NUMBER SIDE'"),
    ],
)
def test_a_split_with_a_wrong_line_is_refused(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "split.txt"
    path.write_text(f"{DRIVE} 5 l\n{line}\n")
    with pytest.raises(DatasetError, match=message):
        KittiFrames(tmp_path, path)


def test_what_kitti_lacks_is_named(tmp_path: Path) -> None:
    split = write_kitti(tmp_path, POINTS)
    frames = KittiFrames(tmp_path, split)
    (tmp_path / DRIVE / "velodyne_points" / "data" / "0000000005.bin").write_bytes(b"123")
    with pytest.raises(DatasetError, match=r"0000000005\.bin: has 0 numbers"):
        frames[0]
    (tmp_path / DRIVE / "image_02" / "data" / "0000000006.png").unlink()
    with pytest.raises(DatasetError, match=r"0000000006: no such image, nor with \.jpg"):
        frames[1]
    (tmp_path / "depth").mkdir()
    with pytest.raises(DatasetError, match="has no annotated map of the 2 frames"):
        KittiFrames(tmp_path, split, depth_root=tmp_path / "depth")
    with pytest.raises(DatasetError, match=r"none\.txt: cannot be read"):
        KittiFrames(tmp_path, tmp_path / "none.txt")


def test_what_nuscenes_lacks_is_named(tmp_path: Path) -> None:
    root = write_nuscenes(tmp_path, np.array([[20.0, 20.0, 1.5]]))
    with pytest.raises(
        DatasetError, match="no key frame with both CAM_BACK and LIDAR_TOP; its channels are CAM_FRONT"
    ):
        NuScenesFrames(root, camera="CAM_BACK")
    with pytest.raises(DatasetError, match=r"v1\.0-trainval/sensor\.json: cannot be read"):
        NuScenesFrames(root, version="v1.0-trainval")
    (root / "v1.0-mini" / "ego_pose.json").write_text("[")
    with pytest.raises(DatasetError, match=r"ego_pose\.json: is no JSON"):
        NuScenesFrames(root)
    (root / "v1.0-mini" / "ego_pose.json").write_text("[]")
    with pytest.raises(DatasetError, match="no ego pose 'e-image'"):
        NuScenesFrames(root)[0]


def test_a_depth_map_without_depth_or_of_another_kind_is_named(tmp_path: Path) -> None:
    for name, pixels in {
        "empty": np.zeros((HEIGHT, WIDTH), dtype=np.uint16),
        "grey": np.zeros((HEIGHT, WIDTH), dtype=np.uint8),
        "square": np.full((40, 40), 1000, dtype=np.uint16),
    }.items():
        write_image(tmp_path / "image" / f"{name}.png")
        (tmp_path / "depth").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "depth" / f"{name}.png"), pixels)
    with pytest.raises(DatasetError, match=r"has neither calibration\.json nor intrinsics\.txt"):
        open_frames(tmp_path)
    (tmp_path / "intrinsics.txt").write_text("60 0 37.5\n0 62 20.25\n0 0 1\n")
    frames = open_frames(tmp_path)
    for index, message in enumerate(
        ["every pixel is 0 or 65535", r"is uint8\[48, 80\]", "depth is 40x40, the image 80x48"]
    ):
        with pytest.raises(DatasetError, match=message):
            frames[index]
    (tmp_path / "intrinsics.txt").write_text("60 0\n")
    with pytest.raises(CameraError, match="K has 2 numbers, expected 9"):
        open_frames(tmp_path)


def test_a_drive_without_sweeps_calibration_or_agreement_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is no recording with depth"):
        open_frames(tmp_path)
    folder = write_drive(tmp_path / "a", 2)
    for file in (folder / "lidar").iterdir():
        file.unlink()
    with pytest.raises(DriveError, match=r"none of its 2 images has a LiDAR sweep; expected lidar/000000\.npy"):
        DriveFrames(folder)
    folder = write_drive(tmp_path / "b", 2, T_camera_lidar=None)
    with pytest.raises(DriveError, match="T_camera_lidar"):
        DriveFrames(folder)
    content = json.loads((write_drive(tmp_path / "c", 2) / "calibration.json").read_text())
    inverse = np.linalg.inv(np.array(content["T_camera_lidar"])).tolist()
    folder = write_drive(tmp_path / "d", 2, T_camera_lidar=inverse)
    with pytest.raises(LidarError, match="inverted, or of another set-up"):
        DriveFrames(folder)
    folder = write_drive(tmp_path / "e", 2, width=96)
    with pytest.raises(CameraError, match="image is 80x48, its CameraInfo 96x48"):
        DriveFrames(folder)[0]


def test_returns_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    folder = write_drive(tmp_path / "drive", 1)
    sweep = np.load(folder / "lidar" / "000000.npy")
    broken = np.vstack(
        [sweep, np.full((3, 4), np.nan, dtype=np.float32), np.full((1, 4), np.inf, dtype=np.float32)]
    )
    expected = DriveFrames(folder)[0].depth
    np.save(folder / "lidar" / "000000.npy", broken.astype(np.float32))
    np.testing.assert_array_equal(DriveFrames(folder)[0].depth, expected)
