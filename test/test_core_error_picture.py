"""Pictures of errors: the colours say what they promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.colors import INVALID, RIGHT, TOO_FAR, TOO_NEAR, color_depth, color_ratio
from recon3d_ros.core.error_picture import error_picture
from recon3d_ros.core.evaluation import JudgedPixels, frame_score
from recon3d_ros.core.pipeline import DepthFrame
from recon3d_ros.core.worst_frames import WorstFrames

CAMERA = CameraModel(width=160, height=60, fx=80.0, fy=80.0, cx=70.0, cy=25.0)


def frame_and_pixels(target: list[float], prediction: float) -> tuple[DepthFrame, JudgedPixels]:
    depth = np.full((60, 160), prediction, dtype=np.float32)
    row = np.full(len(target), 40)
    column = 20 + np.arange(len(target))
    pixels = JudgedPixels(np.array(target), np.full(len(target), prediction), None, row, column, CAMERA)
    return DepthFrame(np.zeros((60, 160, 3), np.uint8), depth, None, CAMERA, {}), pixels


def test_the_ratio_is_blue_white_or_red_and_saturates_at_a_factor_of_two() -> None:
    colors = color_ratio(np.array([5.0, 10.0, 20.0, 1.0, np.inf, np.nan]), np.full(6, 10.0))
    expected = [TOO_NEAR, RIGHT, TOO_FAR, TOO_NEAR, TOO_FAR, INVALID]
    np.testing.assert_array_equal(colors, expected)


def test_a_picture_has_image_and_truth_above_prediction_and_ratio() -> None:
    frame, pixels = frame_and_pixels([10.0], 20.0)
    picture = error_picture(frame, pixels, frame_score(pixels.prediction, pixels.target).metric, "name")
    top = picture.shape[0] - 2 * 60 - 4
    assert picture.shape[1] == 2 * 160 + 4
    np.testing.assert_array_equal(picture[top + 40, 164 + 20], color_depth(np.array([[10.0]]))[0, 0])
    np.testing.assert_array_equal(picture[top + 64 + 40, 80], color_depth(np.array([[20.0]]))[0, 0])
    np.testing.assert_array_equal(picture[top + 64 + 40, 164 + 20], TOO_FAR)


def test_the_nearest_of_overlapping_dots_is_on_top() -> None:
    frame, pixels = frame_and_pixels([10.0, 40.0], 20.0)  # side by side, dots of 3x3
    picture = error_picture(frame, pixels, {}, "")
    dots = picture[-60 + 40, 164 + 19 : 164 + 23]
    np.testing.assert_array_equal(dots, [TOO_FAR, TOO_FAR, TOO_FAR, TOO_NEAR])


def test_only_the_worst_frames_are_kept(tmp_path: Path) -> None:
    worst = WorstFrames(tmp_path / "pictures", limit=2)
    for name, prediction in (("good", 10.0), ("bad", 40.0), ("fair", 15.0)):
        worst.add(name, *frame_and_pixels([10.0], prediction))
    worst.add("blind", *frame_and_pixels([10.0], np.nan))
    assert [path.name for path in worst.write()] == ["01_bad.jpg", "02_fair.jpg"]
    assert all(path.stat().st_size > 0 for path in (tmp_path / "pictures").iterdir())


def test_a_folder_with_other_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old.jpg").touch()
    with pytest.raises(FileExistsError, match="is not empty; give another folder"):
        WorstFrames(tmp_path)
