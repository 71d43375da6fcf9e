"""Depth error of a checkpoint or an exported model, on rendered shards and on drives with LiDAR.

`python -m training.evaluate CHECKPOINT|MODEL.onnx [--shards FOLDER] [--drive FOLDER]`
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from recon3d_ros.core.atomic_file import write_json
from recon3d_ros.core.confidence import DROPPED
from recon3d_ros.core.evaluation import FrameScore, Score, frame_score, mean_score
from recon3d_ros.core.judge import judge
from recon3d_ros.core.metrics import RANGES, WHOLE_RANGE, range_name
from recon3d_ros.core.pipeline import DepthFrame, DepthPipeline, Engine
from recon3d_ros.core.preprocess import RawImage
from recon3d_ros.core.report import NETWORK, Report, make_report
from recon3d_ros.core.report_tables import report_markdown, score_markdown, surfaces_markdown
from recon3d_ros.core.truth import TrueFrames
from recon3d_ros.core.worst_frames import WorstFrames
from recon3d_ros.engines import EngineError, load_engine
from training.checkpoints import load_network
from training.datasets import Frame, ShardFrames
from training.models.depth_network import DepthNetwork
from training.surfaces import surface_masks
from training.torch_engine import TorchEngine

HEIGHT, WIDTH = 192, 640


@dataclass(frozen=True)
class ShardsReport:
    """The error on rendered frames.

    Attributes:
        score: over all pixels with a depth of 1-80 m.
        surfaces: the same by kind of surface that is there (training.surfaces).
        sky_found: share of the sky's pixels where the network sees nothing in range; None without sky.
        sky_wrong: share of the pixels with a depth of 1-80 m where it sees nothing in range.
    """

    score: Score
    surfaces: dict[str, Score]
    sky_found: float | None
    sky_wrong: float


def load_model(path: Path) -> Engine:
    """Returns the engine of an exported model (.onnx), or of a checkpoint or published weights at 640x192.

    Raises:
        CheckpointError, ModelError, EngineError: The file cannot be used.
    """
    if path.suffix == ".onnx":
        return load_engine(path)
    return TorchEngine(load_network(path), height=HEIGHT, width=WIDTH)


def report_shards(engine: Engine, folder: Path, *, limit: int = 0) -> ShardsReport:
    """Returns the error on rendered frames by range and by surface.

    Args:
        engine: Of the network.
        folder: With shards.
        limit: Frames at most, evenly chosen; 0 for all.
    """
    scores: list[FrameScore] = []
    surfaces: dict[str, list[FrameScore]] = {}
    sky, found, known, wrong = 0, 0, 0, 0
    for frame in _chosen(folder, limit):
        depth = _infer(engine, frame)
        scores.append(_score(depth, frame.depth))
        for name, mask in surface_masks(frame.depth, frame.camera).items():
            of_surface = _score(depth, np.where(mask, frame.depth, np.float32(np.nan)))
            if of_surface.metric:
                surfaces.setdefault(name, []).append(of_surface)
        is_sky, is_empty = np.isposinf(frame.depth), np.isposinf(depth.depth)
        is_known = (frame.depth >= WHOLE_RANGE[0]) & (frame.depth <= WHOLE_RANGE[1])
        sky, found = sky + int(is_sky.sum()), found + int((is_sky & is_empty).sum())
        known, wrong = known + int(is_known.sum()), wrong + int((is_known & is_empty).sum())
    return ShardsReport(
        score=mean_score(scores),
        surfaces={name: mean_score(of_kind) for name, of_kind in surfaces.items()},
        sky_found=found / sky if sky else None,
        sky_wrong=wrong / known,
    )


def evaluate_shards(network: DepthNetwork, folder: Path, *, limit: int = 0) -> dict[str, float]:
    """Returns the metrics on rendered frames that a training run watches.

    Returns:
        Each of depth_metrics over 1-80 m, abs_rel in each range (abs_rel_1_10m, ...), and abs_rel_sure: that of
        the 80 % most confident pixels.
    """
    engine = TorchEngine(network, height=HEIGHT, width=WIDTH)
    score = mean_score([_score(_infer(engine, frame), frame.depth) for frame in _chosen(folder, limit)])
    metrics = dict(score.metric[range_name(WHOLE_RANGE)])
    if score.confidence is not None:
        metrics["abs_rel_sure"] = score.confidence.by_confidence[DROPPED.index(0.2)]
    for low, high in RANGES[1:]:
        if range_name((low, high)) in score.metric:
            metrics[f"abs_rel_{low:g}_{high:g}m"] = score.metric[range_name((low, high))]["abs_rel"]
    return metrics


def report_drive(engine: Engine, folder: Path, pictures: Path | None = None) -> Report:
    """Returns what `recon3d eval` reports of a drive or camera ring."""
    worst = WorstFrames(pictures) if pictures is not None else None
    source = TrueFrames(folder)
    bar = tqdm(source, total=source.length, unit="frame", disable=None)
    report = make_report(judge(bar, DepthPipeline(engine), worst))
    for reason, count in source.skipped.items():
        print(f"skipped: {count} x {reason}")
    if worst is not None:
        worst.write()
    return report


def _chosen(folder: Path, limit: int) -> Iterator[Frame]:
    frames = ShardFrames([folder])
    count = min(limit, len(frames)) if limit else len(frames)
    for index in tqdm(np.linspace(0, len(frames) - 1, count).astype(int), unit="frame", disable=None):
        yield frames[int(index)]


def _infer(engine: Engine, frame: Frame) -> DepthFrame:
    """Returns the depth of a frame at the frame's own size.

    Raises:
        ValueError: The model does not take that size.
    """
    height, width = frame.camera.height, frame.camera.width
    if not engine.info.takes_size((height, width)):
        expected = "multiples of 32" if engine.info.has_free_size else f"{engine.info.width}x{engine.info.height}"
        raise ValueError(
            f"{engine.info.name}: takes images of {expected}, the frames are {width}x{height}; "
            "render shards of the model's size, or judge its checkpoint"
        )
    pipeline = DepthPipeline(engine, network_pixels=height * width)
    return pipeline([RawImage(frame.image, "rgb")], [frame.camera])[0]


def _score(frame: DepthFrame, target: npt.NDArray[np.float32]) -> FrameScore:
    known = ~np.isnan(target)
    confidence = None if frame.confidence is None else frame.confidence[known].astype(np.float64)
    return frame_score(frame.depth[known].astype(np.float64), target[known].astype(np.float64), confidence)


def shards_markdown(report: ShardsReport) -> str:
    """Returns the report as tables."""
    sky = "(there is none)" if report.sky_found is None else f"{100 * report.sky_found:.1f} %"
    return "\n\n".join(
        [
            score_markdown({NETWORK: report.score}),
            surfaces_markdown(report.surfaces),
            f"Seen as nothing in range: of the sky {sky}, of what is within {range_name(WHOLE_RANGE)} "
            f"{100 * report.sky_wrong:.2f} %.",
        ]
    )


def format_metrics(metrics: dict[str, float]) -> str:
    """Returns the metrics on one line."""
    return " ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, help="checkpoint, published weights, or an exported .onnx")
    parser.add_argument("--shards", type=Path, help="folder of rendered shards")
    parser.add_argument("--limit", type=int, default=0, help="frames of the shards; default: all")
    parser.add_argument("--drive", type=Path, help="drive folder or camera ring with LiDAR")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="write the drive's worst frames there")
    options = parser.parse_args(arguments)
    if options.shards is None and options.drive is None:
        parser.error("nothing to evaluate on: give --shards, --drive or both")
    try:
        _evaluate(options)
    except (EngineError, OSError, ValueError) as error:  # those of checkpoints, models and drives are ValueErrors
        parser.exit(1, f"{error}\n")


def _evaluate(options: argparse.Namespace) -> None:
    engine = load_model(options.model)
    figures: dict[str, object] = {"model": str(options.model)}
    if options.shards is not None:
        shards = report_shards(engine, options.shards, limit=options.limit)
        figures["shards"] = {"folder": str(options.shards), **dataclasses.asdict(shards)}
        print(f"{options.model} on {options.shards}\n\n{shards_markdown(shards)}\n")
    if options.drive is not None:
        drive = report_drive(engine, options.drive, options.pictures)
        figures["drive"] = {"folder": str(options.drive), **dataclasses.asdict(drive)}
        print(f"{options.model} on {options.drive}\n\n{report_markdown(drive)}")
    if options.json is not None:
        write_json(options.json, figures)


if __name__ == "__main__":
    main()
