"""A model's self-test images: a few that travel inside its file, on which every engine made of it is proved."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraError, CameraModel
from recon3d_ros.core.drive import load_drive
from recon3d_ros.core.model import ModelError, ModelInfo, read_metadata
from recon3d_ros.core.preprocess import RawImage, Rectifier

METADATA_KEY = "self_test"
COUNT = 4
JPEG_QUALITY = 90


@dataclass(frozen=True)
class SelfTest:
    """Images to prove an engine on.

    Attributes:
        images: (K, h, w, 3) uint8 RGB at a size that the model takes.
        focals: (K,) float32, fx of each in pixels at that size.
        source: where they come from, for reports.
    """

    images: npt.NDArray[np.uint8]
    focals: npt.NDArray[np.float32]
    source: str

    def at_size(self, size: tuple[int, int] | None) -> SelfTest:
        """Returns the middle of the images at a (height, width), with its focal lengths; None keeps the size.

        Raises:
            ModelError: if a focal length is none that a lens has.
        """
        _, h, w, _ = self.images.shape
        height, width = size or (h, w)
        if (height, width) == (h, w):
            return self
        images, focals = [], []
        for image, focal in zip(self.images, map(float, self.focals), strict=True):
            try:
                camera = CameraModel(w, h, focal, focal, (w - 1) / 2, (h - 1) / 2)
            except CameraError as error:
                raise ModelError(f"a self-test image of {self.source} cannot be resized: {error}") from error
            rectifier = Rectifier(camera, height=height, width=width)
            images.append(rectifier(RawImage(image, "rgb")))
            focals.append(rectifier.camera.fx)
        return SelfTest(np.stack(images), np.array(focals, np.float32), self.source)


def drive_self_test(*, height: int, width: int) -> SelfTest:
    """Returns frames of the bundled (rendered) drive at a model's size, evenly spread over it."""
    with resources.as_file(resources.files("recon3d_ros") / "demo_drive") as folder:
        drive = load_drive(folder)
        if drive.calibration is None:
            raise ModelError(f"{folder}: has no calibration.json; the package is incomplete, install it again")
        rectifier = Rectifier(drive.calibration.camera, width=width, height=height, crop_position=0.5)
        chosen = np.linspace(0, len(drive.images) - 1, COUNT).astype(int)
        files = [str(drive.images[index]) for index in chosen]
        images = [rectifier(RawImage(np.asarray(cv2.imread(file), np.uint8), "bgr")) for file in files]
    # A wide and a long lens beside the drive's own: an engine must follow the focal length too.
    focals = rectifier.camera.fx * np.array([1.0, 1.0, 0.6, 1.6], np.float32)
    return SelfTest(np.stack(images), focals.astype(np.float32), "the bundled drive")


def made_self_test(*, height: int, width: int) -> SelfTest:
    """Returns made images, for models without their own: they show rounding, and nothing of streets."""
    images = np.stack([street_like_image(seed, height=height, width=width) for seed in range(COUNT)])
    focals = np.linspace(250.0, 700.0, COUNT, dtype=np.float32)
    return SelfTest(images, focals, "made images, since the model file has no self-test images")


def street_like_image(seed: int, *, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Returns a (height, width, 3) image with a photograph's spectrum: light above, detail at all scales."""
    rng = np.random.default_rng(seed)
    image = np.linspace(220, 90, height, dtype=np.float32)[:, None, None].repeat(width, 1).repeat(3, 2)
    for cells in (4, 8, 16, 32, 64, 128):
        noise = rng.normal(0, 160 / cells**0.5, size=(cells, 3 * cells, 3)).astype(np.float32)
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(image, 0, 255).astype(np.uint8)


def self_test_metadata(test: SelfTest) -> dict[str, str]:
    """Returns the entry of a model file's metadata_props that holds the images, as JPEG."""
    jpegs = []
    for image in test.images:
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        jpegs.append(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes())
    entry = {
        "source": test.source,
        "focals": [float(focal) for focal in test.focals],
        "jpegs": [base64.b64encode(jpeg).decode() for jpeg in jpegs],
    }
    return {METADATA_KEY: json.dumps(entry)}


def read_self_test(path: Path | str, info: ModelInfo, size: tuple[int, int] | None = None) -> SelfTest:
    """Returns the images that a model file carries, or made ones where it carries none; `source` says which.

    Args:
        path, info: the model.
        size: (height, width) to give them in, where the model leaves it free; None takes its own or default.

    Raises:
        ModelError: if the file cannot be read, or its entry is damaged or not of the model's size.
    """
    text = read_metadata(path).get(METADATA_KEY)
    if text is None:
        return made_self_test(height=info.height, width=info.width).at_size(size)
    try:
        entry = json.loads(text)
        images = [_decoded(base64.b64decode(jpeg, validate=True)) for jpeg in entry["jpegs"]]
        focals = np.array(entry["focals"], np.float32)
        source = str(entry["source"])
    except (binascii.Error, KeyError, TypeError, ValueError, cv2.error) as error:
        raise ModelError(f"{path}: its self-test images are damaged ({error}); export it again") from error
    expected = (*info.size, 3)
    if not images or len(images) != len(focals) or any(image.shape != expected for image in images):
        found = [list(image.shape) for image in images]
        raise ModelError(
            f"{path}: its self-test images are {found} with {len(focals)} focal lengths, expected "
            f"{list(expected)} and one each; export it again"
        )
    return SelfTest(np.stack(images), focals, source).at_size(size)


def _decoded(jpeg: bytes) -> npt.NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("an image is no JPEG")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
