"""Images of a user's folder at a network's size: the right ones, whole, in the right colours."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from recon3d_ros.core.sample_images import MOST, SampleError, digest_of, read_samples, sample_files

RED, GREEN, BLUE = (0, 0, 255), (0, 255, 0), (255, 0, 0)  # as OpenCV writes them


def write_stripes(path: Path, *, height: int, width: int) -> Path:
    """Writes an image of three equal vertical stripes: red, green, blue."""
    image = np.empty((height, width, 3), np.uint8)
    for index, color in enumerate((RED, GREEN, BLUE)):
        image[:, index * width // 3 : (index + 1) * width // 3] = color
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def test_a_wide_image_is_cut_in_the_middle_and_its_colours_are_rgb(tmp_path) -> None:
    file = write_stripes(tmp_path / "a.png", height=60, width=180)
    [sample] = read_samples([file], height=20, width=20)  # the middle third of what is left: green alone
    assert (sample.shape, sample.dtype) == ((20, 20, 3), np.uint8)
    assert (sample == (0, 255, 0)).all()
    [sample] = read_samples([file], height=20, width=60)
    assert sample[10, 5].tolist() == [255, 0, 0]
    assert sample[10, 55].tolist() == [0, 0, 255]


@pytest.mark.parametrize(("height", "width"), [(19, 47), (200, 31), (7, 300)])
def test_any_image_fills_any_size(tmp_path, height, width) -> None:
    file = write_stripes(tmp_path / "a.png", height=height, width=width)
    [sample] = read_samples([file], height=32, width=48)
    assert (sample.max(axis=2) > 100).all()  # no black border


def test_a_large_folder_is_sampled_evenly_in_the_order_of_its_names(tmp_path) -> None:
    for index in range(3 * MOST):
        write_stripes(tmp_path / f"camera{index % 2}" / f"{index:03}.PNG", height=3, width=3)
    (tmp_path / "notes.txt").write_text("no image")
    files = sample_files(tmp_path)
    assert len(files) == len(set(files)) == MOST
    assert files == sorted(files)
    assert {file.parent.name for file in files} == {"camera0", "camera1"}
    assert (files[0].name, files[-1].name) == ("000.PNG", f"{3 * MOST - 1:03}.PNG")


def test_the_digest_follows_the_content_and_not_the_place(tmp_path) -> None:
    first = write_stripes(tmp_path / "a.png", height=3, width=3)
    same = write_stripes(tmp_path / "b" / "c.png", height=3, width=3)
    other = write_stripes(tmp_path / "d.png", height=3, width=6)
    assert digest_of([first]) == digest_of([same]) != digest_of([other])
    assert digest_of([first, other]) != digest_of([other, first])


def test_a_folder_without_images_and_a_file_that_is_none_are_named(tmp_path) -> None:
    with pytest.raises(SampleError, match=r"holds no image .*; give a folder of camera images"):
        sample_files(tmp_path)
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(SampleError, match=r"a\.png: is no image that can be read"):
        read_samples(sample_files(tmp_path), height=8, width=8)
