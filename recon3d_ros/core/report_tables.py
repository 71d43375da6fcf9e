"""The figures of an evaluation as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recon3d_ros.core.confidence import TOLERANCE, ConfidenceScore
from recon3d_ros.core.evaluation import Score
from recon3d_ros.core.metrics import RANGES, WHOLE_RANGE, range_name
from recon3d_ros.core.report import NETWORK, Report

COLUMNS = ("abs_rel", "sq_rel", "rmse", "rmse_log", "silog", "log10", "delta1", "delta2", "delta3")


def report_markdown(report: Report) -> str:
    """Returns the report as tables."""
    crop = f"The network sees {100 * report.seen_share:.0f} % of the known points; the rest is cropped away."
    parts = (
        [score_markdown(report.methods)] if report.seen_share > 0.995 else [crop, score_markdown(report.methods)]
    )
    if report.cameras:
        parts.append(cameras_markdown(report.cameras))
    if report.surfaces:
        parts.append(surfaces_markdown(report.surfaces))
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


def cameras_markdown(cameras: Mapping[str, Mapping[str, Score]]) -> str:
    """Returns abs_rel and delta1 over the whole range: a row for each camera, a column for each method."""
    whole = range_name(WHOLE_RANGE)
    methods = list(next(iter(cameras.values())))
    rows = {name: [_cell(scores[method].metric, whole) for method in methods] for name, scores in cameras.items()}
    return _table("abs_rel / delta1 by camera", methods, rows)


def surfaces_markdown(surfaces: Mapping[str, Score]) -> str:
    """Returns abs_rel and delta1: a row for each surface, a column for each range."""
    ranges = [range_name(limits) for limits in RANGES]
    total = sum(score.pixels[range_name(WHOLE_RANGE)] for score in surfaces.values())
    rows = {
        name: [f"{score.pixels[range_name(WHOLE_RANGE)] / total:.3f}", *(_cell(score.metric, r) for r in ranges)]
        for name, score in surfaces.items()
    }
    return _table("abs_rel / delta1 by surface", ["share of the pixels", *ranges], rows)


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
