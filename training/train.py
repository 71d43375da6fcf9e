"""Trains a network: `python -m training.train DATA[:WEIGHT]... --out RUN`; of depth unless --task says another.

On several GPUs or machines the same command under torchrun: see training/distributed.py.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from training.config import (
    ConfigError,
    TrainConfig,
    add_config_arguments,
    given_options,
    make_config,
    overridden,
    read_config,
)
from training.distributed import Ranks, joined_ranks
from training.evaluate import format_metrics
from training.run_folder import CONFIG_NAME, LAST_NAME, RunFolder
from training.schedule import Clock, decays
from training.stream import SOURCES, MixedSamples, Sample, Source, parse_source
from training.trainer import (
    DivergedError,
    Step,
    TrainState,
    batches,
    build_state,
    read_steps,
    resume_state,
    set_train_mode,
    take_step,
)


def train(
    config: TrainConfig,
    sources: Sequence[Source],
    run: Path,
    *,
    validation: Path | None = None,
    resume: bool = False,
    state: TrainState | None = None,
    board: bool = False,
    stopped: Callable[[], bool] = lambda: False,
    deadline: float | None = None,
    on_save: Callable[[TrainState], None] | None = None,
    save_seconds: float = 60.0,
    ranks: Ranks | None = None,
) -> Path:
    """Runs the training to its end, or until `stopped`, and leaves a checkpoint either way.

    Args:
        config: What to do.
        sources: What to train on.
        run: Folder for config.json, log.csv (step, samples, seconds, loss), last.pt, best.pt and the board.
        validation: Shards (or what else the task is judged on; see training.validation) to report metrics on with
            each checkpoint; best.pt has the lowest error on them.
        resume: Go on from the run's last checkpoint.
        state: Go on from this state instead, as from training.compact_state.
        board: Write TensorBoard's event files.
        stopped: Asked after each step, and while batches are waited for.
        deadline: Of time.monotonic: the run ends with the step, or the wait for a batch, during which it passes
            (several ranks only with the step). A schedule in minutes is shortened to end before.
        on_save: Called on rank 0 at the end of a step: each `save_seconds`, at the end of a flat part, and at the
            end of the run. All steps until then were finite.
        save_seconds: Seconds between two such calls.
        ranks: This process among those of the run.

    Returns:
        The last checkpoint's path.

    Raises:
        CheckpointError: A checkpoint cannot be read or written.
        DivergedError: The loss is no longer finite; the last checkpoint is from before.
        FileNotFoundError, DatasetError: A folder holds no samples.
    """
    ranks = ranks or Ranks()
    # An empty source ends it here.
    MixedSamples(sources, width=config.first_width, height=config.first_height, seed=config.seed)
    if state is None:
        state = resume_state(run / LAST_NAME, config, ranks) if resume else build_state(config, ranks)
    clock = Clock(state, config, ranks, deadline)
    steps: list[Step] = []  # taken, and not read yet
    with contextlib.ExitStack() as stack:
        files = None
        if ranks.is_first:
            folder = RunFolder(run, config, state, validation=validation, board=board)
            files = stack.enter_context(folder)
        bar = stack.enter_context(
            tqdm(unit="img", smoothing=0.02, mininterval=2.0, initial=state.samples, disable=not ranks.is_first)
        )

        def read() -> None:
            for step, values in read_steps(steps):
                if files is not None:
                    files.log(step, values)
                bar.set_postfix(done=f"{state.progress(config):.1%}", loss=f"{values['loss']:.3f}", refresh=False)
            steps.clear()

        def save(batch: Sample | None, *, validate: bool) -> None:
            read()
            if files is not None and (metrics := files.checkpoint(state, batch, validate=validate)):
                bar.write(f"step {state.step} {format_metrics(metrics)}")

        def hand_out() -> None:
            read()
            if on_save is not None and ranks.is_first:
                on_save(state)

        batch = None
        saved_seconds, handed_out = state.seconds, time.monotonic()
        is_flat = config.schedule == "flat" and not state.is_decaying(config)
        given_up = (lambda: stopped() or clock.is_late) if ranks.count == 1 else (lambda: False)
        stop = stopped() or clock.is_late
        while state.progress(config) < 1.0 and not stop:
            final = state.progress(config) >= config.first_part
            set_train_mode(state.network, config)
            clock.pause()  # loaders start, and the compiler meets a new size
            for batch in batches(sources, config, state, final=final, given_up=given_up):
                step = take_step(state, batch, config)
                if clock.is_paused:
                    step.values.cpu()  # waits for the device
                stop, is_read = clock.count_step(stop=stopped())
                steps.append(dataclasses.replace(step, seconds=state.seconds))
                bar.update(step.samples)
                if is_read:
                    read()
                progress = state.progress(config)
                flat_ends = is_flat and decays(config, progress)
                if flat_ends or time.monotonic() - handed_out >= save_seconds:
                    hand_out()
                    handed_out, is_flat = time.monotonic(), is_flat and not flat_ends
                    clock.restart()
                if stop or progress >= 1.0 or (progress >= config.first_part) != final:
                    break
                if state.seconds - saved_seconds >= 60 * config.checkpoint_minutes:
                    save(batch, validate=True)
                    saved_seconds = state.seconds
                    clock.restart()
            else:
                stop = True  # given up
        hand_out()
        save(batch, validate=not stop and not clock.is_late)
    return run / LAST_NAME


def config_of(options: Mapping[str, Any]) -> TrainConfig:
    """Returns the run's configuration: options over the --config file's values, or a resumed run's own.

    Raises:
        ConfigError: A file or a value is wrong.
    """
    given = given_options(options)
    if options["resume"] and options["config"] is not None:
        raise ConfigError("--resume goes on with the run's own config.json: leave --config out")
    path = options["out"] / CONFIG_NAME if options["resume"] else options["config"]
    if path is None:
        return make_config(given, origin="options")
    return make_config(overridden(read_config(path), given), origin=str(path))


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "data",
        nargs="+",
        help="folders of rendered shards, other recordings with depth (training.datasets.open_frames), or 'live': "
        "streets rendered by the workers meanwhile; of A:3 B:1 three of four samples come from A; for the tasks "
        "points and labels see docs/shapes.md",
    )
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument(
        "--validation", type=Path, help="folder to report metrics on, for best.pt: of shards, shapes"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the run's checkpoint, as configured")
    parser.add_argument(
        "--config",
        type=Path,
        help="YAML or JSON of the options below with _ for -, those of the network under 'network:', as a run's "
        "config.json has them; options win",
    )
    parser.add_argument(
        "--board", action=argparse.BooleanOptionalAction, default=True, help="write OUT/board for TensorBoard"
    )
    add_config_arguments(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser()
    options = vars(parser.parse_args(arguments))
    interrupts: list[int] = []
    try:
        config = config_of(options)
        if (options["out"] / LAST_NAME).exists() and not options["resume"]:
            raise ConfigError(f"{options['out']}: holds a run already; go on with --resume, or give another --out")
        sources = [parse_source(text, SOURCES[config.task](config)) for text in options["data"]]
        for number in (signal.SIGINT, signal.SIGTERM):
            # A step is finished and a checkpoint written before the process ends.
            signal.signal(number, lambda number, _: interrupts.append(number))
        with joined_ranks(config.device) as ranks:
            if ranks.is_first:
                print(f"training on {ranks.count} x {config.device}, {config.precision}", flush=True)
            checkpoint = train(
                config,
                sources,
                options["out"],
                validation=options["validation"],
                resume=options["resume"],
                board=options["board"],
                stopped=lambda: bool(interrupts),
                ranks=ranks,
            )
            if ranks.is_first:
                print(f"{'stopped' if interrupts else 'done'}: {checkpoint}", flush=True)
    except (DivergedError, OSError, ValueError) as error:  # those of configuration and checkpoints are ValueErrors
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    torch.set_flush_denormal(True)
    main()
