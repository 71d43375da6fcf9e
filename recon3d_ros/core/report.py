"""The report of an evaluation: the network beside the baselines, in total and by camera, as tables and JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from recon3d_ros.core.baselines import best_cap, best_constant, ground_plane
from recon3d_ros.core.confidence import TOLERANCE, ConfidenceScore
from recon3d_ros.core.evaluation import JudgedPixels, Score, frame_score, mean_score
from recon3d_ros.core.judge import Judged
from recon3d_ros.core.metrics import RANGES, WHOLE_RANGE, Depths, range_name

COLUMNS = ("abs_rel", "sq_rel", "rmse", "rmse_log", "silog", "log10", "delta1", "delta2", "delta3")
NETWORK = "network"


@dataclass(frozen=True)
class Report:
    """The error of a network on a recording.

    Attributes:
        seen_share: of the known points, how many lie in the crop of the images that the network sees.
        constant, cap: of the baselines fitted to these very frames, metres; cap is None without a camera height.
        methods: the network's and the baselines' scores over all frames.
        cameras: the same by camera, where there are several.
    """

    seen_share: float
    constant: float
    cap: float | None
    methods: dict[str, Score]
    cameras: dict[str, dict[str, Score]]


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

    cameras = {name: scores(of_camera) for name, of_camera in judged.frames.items()}
    return Report(judged.seen_share, constant, cap, scores(every), cameras if len(cameras) > 1 else {})


def report_markdown(report: Report) -> str:
    """Returns the report as tables."""
    crop = f"The network sees {100 * report.seen_share:.0f} % of the known points; the rest is cropped away."
    parts = (
        [score_markdown(report.methods)] if report.seen_share > 0.995 else [crop, score_markdown(report.methods)]
    )
    if report.cameras:
        parts.append(groups_markdown(report.cameras, "camera"))
    return "\n\n".join(parts)


def score_markdown(methods: Mapping[str, Score]) -> str:
    """Returns tables of all metrics, of abs_rel and delta1 by range, and of what the confidence is worth."""
    score = next(iter(methods.values()))
    whole = range_name(WHOLE_RANGE)
    ranges = [name for name in map(range_name, RANGES) if name in score.metric]
    rows = {}
    by_range = {"share of the pixels": [f"{score.pixels[r] / score.pixels[whole]:.3f}" for r in ranges]}
    for name, method in methods.items():
        for title, table in ((name, method.metric), (f"{name}, median scaled", method.median_scaled)):
            if name == NETWORK or table is method.metric:  # a scaled baseline would be another baseline
                rows[title] = [f"{table[whole][column]:.3f}" if whole in table else "-" for column in COLUMNS]
                by_range[title] = [_cell(table, r) for r in ranges]
    parts = [
        f"{score.frames} frames, {score.pixels[whole]} pixels with known depth, "
        f"{100 * score.invalid_share:.2f} % of them invalid in the prediction and left out.",
        _table(whole, COLUMNS, rows),
        _table("abs_rel / delta1", ranges, by_range),
    ]
    if score.confidence is not None:
        parts.append(confidence_markdown(score.confidence))
    return "\n\n".join(parts)


def groups_markdown(groups: Mapping[str, Mapping[str, Score]], title: str) -> str:
    """Returns abs_rel and delta1 over the whole range: a row for each group, a column for each method."""
    whole = range_name(WHOLE_RANGE)
    methods = list(next(iter(groups.values())))
    rows = {group: [_cell(scores[method].metric, whole) for method in methods] for group, scores in groups.items()}
    return _table(f"abs_rel / delta1 by {title}", methods, rows)


def confidence_markdown(confidence: ConfidenceScore) -> str:
    """Returns tables of sparsification and of reliability."""
    rows = {
        "least sure dropped": confidence.by_confidence,
        "worst dropped (oracle)": confidence.oracle,
        "any dropped (random)": confidence.random,
        "share of the possible gain": confidence.gain,
    }
    reliability = {
        "stated": [f"{b.stated:.2f}" for b in confidence.reliability],
        f"within a factor of {TOLERANCE}": [f"{b.within:.2f}" for b in confidence.reliability],
    }
    shares = [f"{100 * b.share:.0f} %" for b in confidence.reliability]
    dropped = [f"{100 * share:.0f} %" for share in confidence.dropped]
    return "\n\n".join(
        [
            _table("abs_rel, pixels dropped", dropped, {k: [f"{v:.3f}" for v in row] for k, row in rows.items()}),
            _table("confidence, pixels", shares, reliability),
            f"Expected calibration error {confidence.expected_calibration_error:.3f}.",
        ]
    )


def _cell(table: Mapping[str, Mapping[str, float]], name: str) -> str:
    return f"{table[name]['abs_rel']:.3f} / {table[name]['delta1']:.3f}" if name in table else "-"


def _table(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    lines = [f"| {title} | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items()]
    return "\n".join(lines)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Writes a whole JSON file or none; dataclasses become objects."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, default=asdict)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
