"""Fine-tunes a network on a vehicle's own drive with LiDAR and exports it: `python -m training.adapt DRIVE`.

The first part of the drive is trained on, the last part held out, and nothing of the gap between them used, so
that what is reported was not seen nearly the same a moment before. A bag is first written out as a drive folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from recon3d_ros.bags.bag_path import is_bag
from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.drive import DriveError
from recon3d_ros.core.network_size import camera_shape
from recon3d_ros.engines import default_model_path
from training.adaptation_report import WHOLE, Judgement, judge, write_report
from training.checkpoints import load_network, read_checkpoint, save_published
from training.config import TrainConfig
from training.datasets.drive import DriveFrames
from training.datasets.samples import FrameSamples
from training.export import ExportError, export
from training.extract import add_bag_arguments, check_bag_arguments, extract
from training.models.depth_network import DepthNetwork
from training.stream import Source, shard_source
from training.train import train
from training.trainer import DivergedError

T = TypeVar("T")

TRAIN_SHARE, TEST_SHARE = 0.64, 0.26  # of the drive's frames
DRIVE_WEIGHT, RENDERED_WEIGHT = 3, 1  # samples of the drive and of rendered streets, where there are any


@dataclasses.dataclass(frozen=True)
class SomeFrames(Sequence[T]):
    """A range of a drive's frames, each read when it is asked for by `read`."""

    read: Callable[[int], T]
    chosen: range

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> T:  # type: ignore[override]  # one frame at a time, no slices
        return self.read(self.chosen[index])


def split(count: int, *, train_frames: int = 0, test_frames: int = 0) -> tuple[range, range]:
    """Returns the first frames, to train on, and the last ones, to judge by.

    Args:
        count: Of the drive.
        train_frames, test_frames: How many; 0 takes 64 % and 26 %.

    Raises:
        DriveError: Nothing would lie between the two, or one would be empty.
    """
    train_frames = train_frames or int(TRAIN_SHARE * count)
    test_frames = test_frames or int(TEST_SHARE * count)
    if min(train_frames, test_frames) < 1 or train_frames + test_frames >= count:
        raise DriveError(
            f"{train_frames} frames to train on and {test_frames} to judge by do not fit into {count} frames with "
            "LiDAR and a gap of at least one between them; record a longer drive or take fewer"
        )
    return range(train_frames), range(count - test_frames, count)


def adaptation_config(
    checkpoint: Path, camera: CameraModel, *, steps: int, minutes: float = 0.0, workers: int = 1
) -> TrainConfig:
    """Returns the configuration of the fine-tuning: few steps, low rate, statistics and first layers kept.

    The images have the size at which the node will run the network on this camera.

    Raises:
        CheckpointError: The checkpoint cannot be read.
    """
    network = load_network(checkpoint).config
    height, width = camera_shape(camera)
    return TrainConfig(
        network=network,
        initial=str(checkpoint),
        freeze_norms=True,
        first_part=0.0,
        first_height=height,
        first_width=width,
        height=height,
        width=width,
        batch_size=4,
        steps=steps,
        minutes=minutes,
        learning_rate=5e-4,
        warm_up_part=0.05,
        ema_decay=0.98,
        gradient_weight=0.0,
        checkpoint_minutes=1e9,
        workers=workers,
    )


def adapt(
    frames: DriveFrames,
    config: TrainConfig,
    out: Path,
    *,
    train_frames: int = 0,
    test_frames: int = 0,
    rendered: Path | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[Judgement, Judgement]:
    """Fine-tunes on the first frames, reports on the last ones, and writes checkpoint, weights, model and report.

    Args:
        frames: Of the drive, in the order of time.
        config: Of the fine-tuning; `initial` is the network to start from.
        out: Folder for run/, adapted.safetensors, adapted.onnx, report.md, report.json and pictures.
        train_frames, test_frames: How many; 0 takes 64 % and 26 %.
        rendered: Folder of rendered shards to mix in: they keep what LiDAR does not see, as sky.
        stopped: Asked after each step; what is learned until then is reported and exported.

    Returns:
        The errors before and after.

    Raises:
        DriveError: The drive is too short.
        CheckpointError, CameraError, DivergedError, ExportError: As the steps raise them.
    """
    train_range, test_range = split(len(frames), train_frames=train_frames, test_frames=test_frames)
    names = frames.names

    def judge_held_out(network: DepthNetwork) -> Judgement:
        held_out = SomeFrames(frames.true_frame, test_range)
        return judge(network, held_out, height=config.height, width=config.width)

    before = judge_held_out(load_network(Path(config.initial)))
    sources = [Source(partial(FrameSamples, SomeFrames(frames.__getitem__, train_range)), DRIVE_WEIGHT)]
    if rendered is not None:
        sources.append(shard_source(rendered, RENDERED_WEIGHT))
    checkpoint = train(config, sources, out / "run", stopped=stopped)
    network = load_network(checkpoint)
    after = judge_held_out(network)
    test_names, gap = names[test_range[0] :], test_range[0] - len(train_range)
    facts = [
        f"trained on {len(train_range)} frames ({names[0]} to {names[train_range[-1]]}), judged on "
        f"{len(test_range)} held-out ones ({test_names[0]} to {names[-1]}); {gap} between them are in neither; "
        "frames of one drive are one scene",
        "errors are of z at all LiDAR returns of 1-80 m, as 'recon3d eval' tells them, averaged over frames, "
        "without scaling unless said",
        f"started from {Path(config.initial).name}; {read_checkpoint(checkpoint)['training']['step']} steps of "
        f"{config.batch_size}, learning rate {config.learning_rate:g}"
        + (f", {RENDERED_WEIGHT} of {DRIVE_WEIGHT + RENDERED_WEIGHT} samples rendered" if rendered else ""),
    ]
    save_published(out / "adapted.safetensors", network)
    write_report(out, test_names, before, after, title=f"Adaptation to {out.name}", facts=facts)
    export(
        network,
        out / "adapted.onnx",
        height=config.height,
        width=config.width,
        name="adapted",
        version="0.1.0",
        training_data=f"{Path(config.initial).name}, adapted to a drive with LiDAR: {facts[0]}",
    )
    return before, after


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("drive", type=Path, help="rosbag2, or folder with image/, lidar/ and calibration.json")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=default_model_path(),
        help=".pt, .safetensors or .onnx of training.export; default: the shipped network",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the model, its weights and the report")
    parser.add_argument("--train-frames", type=int, default=0, metavar="N", help="default: the first 64 %%")
    parser.add_argument("--test-frames", type=int, default=0, metavar="N", help="default: the last 26 %%")
    parser.add_argument("--rendered", type=Path, help="folder of rendered shards to mix in")
    parser.add_argument("--steps", type=int, default=240, help="of 4 samples; default: %(default)s")
    parser.add_argument("--minutes", type=float, default=0.0, help="train so long instead")
    parser.add_argument("--workers", type=int, default=1, help="processes that load data; default: %(default)s")
    add_bag_arguments(parser)
    options = parser.parse_args(arguments)
    if options.out.is_dir() and any(options.out.iterdir()):
        parser.exit(1, f"{options.out}: is not empty; name a new folder for this adaptation\n")
    check_bag_arguments(parser, options)
    interrupts: list[int] = []
    try:
        load_network(options.checkpoint)  # a wrong one is found before a bag is written out
        drive = options.drive
        if is_bag(drive):
            drive = options.out / "drive"
            extract(options.drive, drive, options)
        frames = DriveFrames(drive)
        config = adaptation_config(
            options.checkpoint,
            frames.camera,
            steps=options.steps,
            minutes=options.minutes,
            workers=options.workers,
        )
        # From here on there is something to report: Ctrl-C ends the training and not the command.
        signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
        before, after = adapt(
            frames,
            config,
            options.out,
            train_frames=options.train_frames,
            test_frames=options.test_frames,
            rendered=options.rendered,
            stopped=lambda: bool(interrupts),
        )
    except (DivergedError, ExportError, OSError, ValueError) as error:  # those of all adapters are ValueErrors
        parser.exit(1, f"{error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "stopped before training\n")
    for when, judgement in (("before", before), ("after", after)):
        metrics = judgement.mean.metric[WHOLE]
        print(f"{when}: abs_rel {metrics['abs_rel']:.3f}, delta1 {metrics['delta1']:.3f}")
    print(f"wrote {options.out}/adapted.onnx and {options.out}/report.md")


if __name__ == "__main__":
    main()
