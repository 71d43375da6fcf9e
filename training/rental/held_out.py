"""The shipped network and the new one side by side, on frames that neither was trained on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from recon3d_ros.core.atomic_file import open_atomically
from recon3d_ros.core.colors import Picture
from recon3d_ros.core.error_picture import error_picture
from recon3d_ros.core.evaluation import FrameScore, JudgedPixels, frame_score, judged_pixels, mean_score
from recon3d_ros.core.pipeline import DepthFrame, DepthPipeline
from recon3d_ros.core.preprocess import RawImage
from recon3d_ros.core.truth import TrueFrames
from recon3d_ros.engines import default_model_path
from training.checkpoints import load_network
from training.rental.folder import PICTURES
from training.rental.plan import Plan
from training.rental.processes import Note
from training.rental.settings import Start, make_start
from training.torch_engine import TorchEngine

# Scenes of training are numbered below 10**13 (shards) and from there on (live), drives from 10**15 on.
FIRST_SCENE = 9 * 10**14
SCENES = {"cuda": 24, "cpu": 6}
FRAMES_A_SCENE = 4
SHOWN = 2  # frames in a picture
JPEG_QUALITY = 88
DRIVE_SHARE = 0.4  # of the seconds; the rest is for rendered frames


@dataclass(frozen=True, eq=False)
class Known:
    """A frame whose depth is known: what a network is asked, and which of its pixels are judged."""

    name: str
    ask: Callable[[DepthPipeline], tuple[DepthFrame, JudgedPixels]]


def judge_held_out(note: Note, plan: Plan, weights: Path | None, seconds: float) -> None:
    """Judges on the bundled drive and on rendered frames; notes "drive" and "rendered", writes a picture of each.

    Frames come in a fixed order, so that the first of them are the same in every rental.

    Args:
        weights: The new network's; None judges the shipped one alone.
        seconds: For all of it.
    """
    start = make_start(plan)
    note(is_shipped=start.is_shipped)
    begun = time.monotonic()
    pipelines = {"shipped": _pipeline(default_model_path(), plan, start)}
    if weights is not None:
        pipelines["new"] = _pipeline(weights, plan, start)
    parts = {
        "drive": (drive_frames(), begun + DRIVE_SHARE * seconds),
        "rendered": (rendered_frames(start), begun + seconds),
    }
    for (part, (frames, deadline)), picture in zip(parts.items(), PICTURES, strict=True):
        try:
            figures = judge(frames, pipelines, deadline, plan.out / picture)
        except Exception as error:  # the other part may still work
            figures = {"fault": f"{type(error).__name__}: {error}"}
            print(figures, flush=True)
        note(**{part: figures})


def _pipeline(path: Path, plan: Plan, start: Start) -> DepthPipeline:
    network = load_network(path).to(torch.device(plan.device))
    height, width = start.config.height, start.config.width
    return DepthPipeline(TorchEngine(network, height=height, width=width), network_pixels=height * width)


def judge(
    frames: Iterable[Known], pipelines: dict[str, DepthPipeline], deadline: float, picture: Path
) -> dict[str, Any]:
    """Returns the errors of networks on the frames that the time is enough for.

    Args:
        frames: One at least is judged.
        pipelines: By the network's name.
        deadline: By time.monotonic().
        picture: Where the first frames are shown, the networks one above the other.

    Returns:
        "frames", how many; "seconds"; and for each network its metrics by range.
    """
    scores: dict[str, list[FrameScore]] = {name: [] for name in pipelines}
    shown: list[Picture] = []
    begun = time.monotonic()
    for number, frame in enumerate(frames):
        for name, pipeline in pipelines.items():
            depth, pixels = frame.ask(pipeline)
            score = frame_score(pixels.prediction, pixels.target, pixels.confidence)
            scores[name].append(score)
            if number < SHOWN:
                shown.append(error_picture(depth, pixels, score.metric, f"{frame.name}, {name} network"))
        if time.monotonic() > deadline:
            break
    if not shown:
        raise ValueError("there is no frame to judge on")
    _write_picture(picture, np.vstack(shown))
    return {
        "frames": len(next(iter(scores.values()))),
        "seconds": round(time.monotonic() - begun, 1),
        **{name: mean_score(of_network).metric for name, of_network in scores.items()},
    }


def drive_frames() -> Iterator[Known]:
    """Yields the frames of the bundled drive."""
    with resources.as_file(resources.files("recon3d_ros") / "demo_drive") as folder:
        for true in TrueFrames(folder):

            def ask(pipeline: DepthPipeline, true: Any = true) -> tuple[DepthFrame, JudgedPixels]:
                [depth] = pipeline([true.image], [true.camera])
                return depth, judged_pixels(depth, true.points)

            yield Known(true.name, ask)


def rendered_frames(start: Start) -> Iterator[Known]:
    """Yields rendered frames, few of each of many scenes, at the size of training."""
    from recon3d_ros.core.camera import CameraModel
    from training.render.frames import scene_frames

    height, width, device = start.config.height, start.config.width, start.config.device
    for scene in range(SCENES[device]):
        frames = scene_frames(
            FIRST_SCENE + scene, FRAMES_A_SCENE, width=width, height=height, renderer=start.config.renderer
        )
        for number, frame in enumerate(islice(frames, FRAMES_A_SCENE)):
            camera = CameraModel.from_calibration(width=width, height=height, K=frame.K)

            def ask(
                pipeline: DepthPipeline, frame: Any = frame, camera: CameraModel = camera
            ) -> tuple[DepthFrame, JudgedPixels]:
                [depth] = pipeline([RawImage(frame.image, "rgb")], [camera])
                return depth, dense_pixels(depth, frame.depth)

            yield Known(f"scene {scene}, view {number}", ask)


def dense_pixels(frame: DepthFrame, target: np.ndarray) -> JudgedPixels:
    """Returns all pixels of a frame with a known depth (H, W), metres, that is finite.

    Raises:
        ValueError: The network's depth has another size.
    """
    if frame.depth.shape != target.shape:
        raise ValueError(f"the depth is {frame.depth.shape}, expected {target.shape} as is known")
    row, column = np.nonzero(np.isfinite(target))
    confidence = None if frame.confidence is None else frame.confidence[row, column].astype(np.float64)
    return JudgedPixels(
        target[row, column].astype(np.float64),
        frame.depth[row, column].astype(np.float64),
        confidence,
        row,
        column,
        frame.camera,
    )


def _write_picture(path: Path, picture: Picture) -> None:
    content = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    with open_atomically(path) as file:
        file.write(content)
