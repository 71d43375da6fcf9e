"""The report of an adaptation: errors before and after, by range, and pictures of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from recon3d_ros.core.atomic_file import open_atomically, write_json
from recon3d_ros.core.error_picture import error_picture
from recon3d_ros.core.evaluation import FrameScore, JudgedPixels, Score, frame_score, judged_pixels, mean_score
from recon3d_ros.core.metrics import WHOLE_RANGE, RangeTable, range_name
from recon3d_ros.core.pipeline import DepthFrame, DepthPipeline
from recon3d_ros.core.truth import TrueFrame
from training.models.depth_network import DepthNetwork
from training.torch_engine import TorchEngine

WHOLE = range_name(WHOLE_RANGE)
COLUMNS = ("abs_rel", "sq_rel", "rmse", "silog", "delta1", "delta2", "delta3")


@dataclass(frozen=True, eq=False)
class Judgement:
    """What a network says of some frames, and how far off it is.

    Attributes:
        scores: Of each frame.
        mean: Over all of them.
        look: Returns the depth of a frame, by its number, and where the truth of it is known: anew, for the frames
            of a long drive do not fit into memory.
    """

    scores: list[FrameScore]
    mean: Score
    look: Callable[[int], tuple[DepthFrame, JudgedPixels]]


def judge(network: DepthNetwork, frames: Sequence[TrueFrame], *, height: int, width: int) -> Judgement:
    """Returns the error of a network through the pipeline that the vehicle runs, as `recon3d eval` tells it.

    Args:
        network: What to judge.
        frames: With LiDAR.
        height, width: Of its input, as it was trained; pixels, multiples of 32.

    Raises:
        ValueError: No frame has a return within 1-80 m.
    """
    pipeline = DepthPipeline(TorchEngine(network, height=height, width=width), network_pixels=0)

    def look(index: int) -> tuple[DepthFrame, JudgedPixels]:
        frame = frames[index]
        [depth] = pipeline([frame.image], [frame.camera])
        return depth, judged_pixels(depth, frame.points)

    scores = []
    for index in range(len(frames)):
        _, pixels = look(index)
        scores.append(frame_score(pixels.prediction, pixels.target, pixels.confidence))
    return Judgement(scores, mean_score(scores), look)


def write_report(
    folder: Path, names: list[str], before: Judgement, after: Judgement, *, title: str, facts: list[str]
) -> Path:
    """Writes report.md, report.json and the pictures of the best, the middle and the worst frame.

    Args:
        folder: Where to.
        names: Of the held-out frames.
        before, after: The network before and after adaptation on these frames.
        title: Of the report.
        facts: Sentences on how it was made.

    Returns:
        The path of report.md.
    """
    order = np.argsort([score.metric[WHOLE]["abs_rel"] if score.metric else np.inf for score in after.scores])
    chosen = dict(zip(("best", "middle", "worst"), order[[0, len(order) // 2, -1]].tolist(), strict=True))
    lines = [f"# {title}", "", *(f"- {fact}" for fact in facts), ""]
    lines += _table("all", before.mean.metric, after.mean.metric)
    lines += _table("scaled to each frame's median", before.mean.median_scaled, after.mean.median_scaled)
    lines += ["Pictures of the best, the middle and the worst held-out frame after adaptation:", ""]
    for label, index in chosen.items():
        for when, judgement in (("before", before), ("after", after)):
            file = f"{label}_{when}.jpg"
            caption = f"{label} frame ({names[index]}), {when} adaptation"
            picture = error_picture(*judgement.look(index), judgement.scores[index].metric, caption)
            content = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()
            with open_atomically(folder / file) as stream:
                stream.write(content)
            lines.append(f"![{label}, {when}]({file})")
    figures = {
        "facts": facts,
        "before": before.mean,
        "after": after.mean,
        "frames": {
            name: {"before": b.metric, "after": a.metric}
            for name, b, a in zip(names, before.scores, after.scores, strict=True)
        },
    }
    write_json(folder / "report.json", figures)
    with open_atomically(folder / "report.md") as stream:
        stream.write(("\n".join(lines) + "\n").encode())
    return folder / "report.md"


def _table(name: str, before: RangeTable, after: RangeTable) -> list[str]:
    lines = [f"| {name} | " + " | ".join(COLUMNS) + " |", "|---|" + "---|" * len(COLUMNS)]
    for limits in after:
        for when, table in (("before", before), ("after", after)):
            cells = [f"{table[limits][column]:.3f}" if limits in table else "-" for column in COLUMNS]
            lines.append(f"| {limits}, {when} | " + " | ".join(cells) + " |")
    return [*lines, ""]
