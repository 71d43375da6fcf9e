"""The report of an evaluation: the network beside the baselines, in total, by camera and by surface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from recon3d_ros.core.baselines import best_cap, best_constant, ground_plane
from recon3d_ros.core.evaluation import FrameScore, JudgedPixels, Score, frame_score, mean_score
from recon3d_ros.core.judge import Judged
from recon3d_ros.core.metrics import Depths

NETWORK = "network"
GROUND_HEIGHT = 0.35  # metres; kerbs and what a slightly tilted camera makes of the road lie below


@dataclass(frozen=True)
class Report:
    """The error of a network on a recording.

    Attributes:
        seen_share: of the known points, how many lie in the crop of the images that the network sees.
        constant, cap: of the baselines fitted to these very frames, metres; cap is None without a camera height.
        methods: the network's and the baselines' scores over all frames.
        cameras: the same by camera, where there are several.
        surfaces: the network's score on the ground and above it, as a level camera at the known height tells them
            apart; empty without a camera height.
    """

    seen_share: float
    constant: float
    cap: float | None
    methods: dict[str, Score]
    cameras: dict[str, dict[str, Score]]
    surfaces: dict[str, Score]


def make_report(judged: Judged) -> Report:
    """Returns the scores of the network and of the baselines fitted to these very frames."""
    every = [frame for of_camera in judged.frames.values() for frame in of_camera]
    constant = best_constant(every)
    heights = sorted({frame.camera_height for frame in every if frame.camera_height is not None})
    cap = best_cap(every) if all(frame.camera_height is not None for frame in every) else None
    methods: dict[str, Callable[[JudgedPixels], Depths]] = {
        NETWORK: lambda frame: frame.prediction,
        f"best constant, {constant:.1f} m": lambda frame: np.full_like(frame.target, constant),
    }
    if cap is not None:
        below = " to ".join(f"{height:.2f}" for height in sorted({heights[0], heights[-1]}))
        methods[f"flat ground {below} m below, at most {cap:.1f} m"] = lambda frame: ground_plane(frame, cap=cap)

    def scores(frames: Sequence[JudgedPixels]) -> dict[str, Score]:
        return {
            name: mean_score(
                [frame_score(predict(f), f.target, f.confidence if name == NETWORK else None) for f in frames]
            )
            for name, predict in methods.items()
        }

    several = judged.frames if len(judged.frames) > 1 else {}
    cameras = {name: scores(of_camera) for name, of_camera in several.items()}
    return Report(judged.seen_share, constant, cap, scores(every), cameras, surface_scores(every))


def surface_scores(frames: Sequence[JudgedPixels]) -> dict[str, Score]:
    """Returns the network's score on the ground and above it, where the camera's height is known."""
    scores: dict[str, list[FrameScore]] = {}
    for frame in frames:
        if frame.camera_height is None:
            return {}
        below = (frame.row - frame.camera.cy) / frame.camera.fy * frame.target
        is_ground = frame.camera_height - below < GROUND_HEIGHT
        for name, mask in (("ground", is_ground), ("above the ground", ~is_ground)):
            scores.setdefault(name, []).append(frame_score(frame.prediction[mask], frame.target[mask]))
    means = {name: [score for score in of_surface if score.metric] for name, of_surface in scores.items()}
    return {name: mean_score(of_surface) for name, of_surface in means.items() if of_surface}
