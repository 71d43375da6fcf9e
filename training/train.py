"""Trains a depth network on rendered shards: `python -m training.train DATA... --out RUN`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from training.evaluate import evaluate_shards, format_metrics
from training.models.depth_network import DepthNetworkConfig
from training.trainer import (
    TrainConfig,
    batches,
    build_state,
    load_state,
    save_state,
    set_train_mode,
    train_step,
)

CHECKPOINT_NAME = "last.pt"
CONFIG_NAME = "config.json"
LOG_NAME = "log.csv"


def train(
    config: TrainConfig,
    folders: Sequence[Path],
    run: Path,
    *,
    validation: Path | None = None,
    resume: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> Path:
    """Runs the training to its end, or until `stopped`, and leaves a checkpoint either way.

    Args:
        config: What to do.
        folders: Shards to train on.
        run: Folder for config.json, log.csv (step, samples, seconds, loss) and the checkpoint.
        validation: Shards to report metrics on with each checkpoint.
        resume: Go on from the run's checkpoint.
        stopped: Asked after each step.

    Returns:
        The checkpoint's path.
    """
    checkpoint = run / CHECKPOINT_NAME
    state = build_state(config)
    if resume:
        load_state(checkpoint, state)
    run.mkdir(parents=True, exist_ok=True)
    (run / CONFIG_NAME).write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n")
    bar = tqdm(unit="img", smoothing=0.02, mininterval=2.0)
    with bar, open(run / LOG_NAME, "a" if resume else "w") as log:
        while (progress := state.progress(config)) < 1.0 and not stopped():
            final = progress >= config.first_part
            set_train_mode(state.network, config)
            saved = before = time.monotonic()
            for batch in batches(folders, config, state, final=final):
                loss = train_step(state, batch, config)
                now = time.monotonic()
                state.seconds, before = state.seconds + now - before, now
                log.write(f"{state.step},{state.samples},{state.seconds:.1f},{loss:.6f}\n")
                bar.update(len(batch["image"]))
                bar.set_postfix(done=f"{state.progress(config):.1%}", loss=f"{loss:.3f}", refresh=False)
                progress = state.progress(config)
                if progress >= 1.0 or (progress >= config.first_part) != final or stopped():
                    break
                if now - saved > 60 * config.checkpoint_minutes:
                    log.flush()
                    save_state(checkpoint, state)
                    if validation is not None:
                        network = state.average.module.eval()
                        metrics = evaluate_shards(network, validation, limit=config.validation_frames)
                        bar.write(f"step {state.step} {format_metrics(metrics)}")
                    # Time spent on validation does not count.
                    saved = before = time.monotonic()
    save_state(checkpoint, state)
    return checkpoint


def add_config_arguments(parser: argparse.ArgumentParser, config: type[Any]) -> None:
    """Adds an option for each field of a configuration dataclass that holds one number, name or switch."""
    for field in dataclasses.fields(config):
        option = "--" + field.name.replace("_", "-")
        if isinstance(field.default, bool):
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=field.default)
        elif isinstance(field.default, int | float | str):
            parser.add_argument(
                option, type=type(field.default), default=field.default, help="default: %(default)s"
            )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="+", help="folders of rendered shards")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--validation", type=Path, help="folder of shards to report metrics on")
    parser.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")
    add_config_arguments(parser, DepthNetworkConfig)
    add_config_arguments(parser, TrainConfig)
    options = vars(parser.parse_args(arguments))

    def chosen(config: type[Any]) -> dict[str, Any]:
        return {f.name: options[f.name] for f in dataclasses.fields(config) if f.name in options}

    config = TrainConfig(network=DepthNetworkConfig(**chosen(DepthNetworkConfig)), **chosen(TrainConfig))
    interrupts: list[int] = []
    # A step is finished and a checkpoint written before the process ends.
    signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    checkpoint = train(
        config,
        options["data"],
        options["out"],
        validation=options["validation"],
        resume=options["resume"],
        stopped=lambda: bool(interrupts),
    )
    print(f"{'stopped' if interrupts else 'done'}: {checkpoint}")


if __name__ == "__main__":
    torch.set_flush_denormal(True)
    main()
