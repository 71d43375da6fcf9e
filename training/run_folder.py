"""What a run leaves on the disk: configuration, log, checkpoints, TensorBoard. Rank 0 alone writes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import TracebackType

import numpy as np
import torch

from recon3d_ros.core.atomic_file import open_atomically, write_json
from training.board import Board
from training.checkpoints import CheckpointError, save_checkpoint
from training.config import TrainConfig
from training.datasets import ShardFrames
from training.stream import Sample
from training.trainer import Step, TrainState, save_state
from training.validation import VALIDATIONS

CONFIG_NAME = "config.json"
LOG_NAME = "log.csv"
LAST_NAME = "last.pt"
BEST_NAME = "best.pt"
BOARD_NAME = "board"
PICTURES = 4


class RunFolder:
    """The files of a run, open for writing; a context manager.

    Attributes:
        last: The checkpoint to resume from.
    """

    def __init__(
        self, folder: Path, config: TrainConfig, state: TrainState, *, validation: Path | None, board: bool
    ) -> None:
        """Opens the folder for a run at its first step, or goes on with what is there.

        Raises:
            CheckpointError: The folder cannot be written.
            FileNotFoundError: The validation folder has no frames to show.
        """
        self.last = folder / LAST_NAME
        self._best = folder / BEST_NAME
        self._config = config
        self._validation = validation
        # Pictures are those of depth; runs of other tasks show their curves.
        self._shows_depth = config.task == "depth"
        self._pictures = validation_samples(validation) if validation and self._shows_depth else []
        log = folder / LOG_NAME
        try:
            write_json(folder / CONFIG_NAME, dataclasses.asdict(config))
            # A run that was killed has logged steps after its checkpoint: they are taken again.
            logged = log.read_text().splitlines() if state.step and log.exists() else []
            kept = [line for line in logged if _step(line) <= state.step]
            with open_atomically(log) as file:
                file.write("".join(f"{line}\n" for line in kept).encode())
            self._log = open(log, "a", buffering=1)  # a line a step, to be followed by tail -f
        except OSError as error:
            raise CheckpointError(f"{folder}: the run's folder cannot be written ({error})") from error
        self._board = Board(folder / BOARD_NAME, first_step=state.step) if board else None

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log.close()
        if self._board is not None:
            self._board.close()

    def log(self, step: Step, values: dict[str, float]) -> None:
        """Notes a step: step, samples, seconds and loss in log.csv, all of its values on the board."""
        samples = step.first_sample + step.samples
        self._log.write(f"{step.number},{samples},{step.seconds:.1f},{values['loss']:.6f}\n")
        if self._board is not None:
            self._board.scalars("train", {**values, "learning_rate": step.rate}, step.number)

    def checkpoint(self, state: TrainState, batch: Sample | None, *, validate: bool) -> dict[str, float]:
        """Writes the checkpoint, and best.pt where the validation data were never predicted better.

        Args:
            state: What to write.
            batch: Samples to show where there is no validation folder.
            validate: Look at the validation data, and show pictures.

        Returns:
            The metrics on the validation data; none without a validation folder.
        """
        metrics: dict[str, float] = {}
        if self._validation is not None and validate:
            network = state.averaged
            validate_network = VALIDATIONS[self._config.task]
            metrics, error = validate_network(network, self._validation, limit=self._config.validation_frames)
            if error < state.best:
                state.best = error
                save_checkpoint(self._best, network, weights=network.state_dict())
        save_state(self.last, state)
        if self._board is not None and validate:
            self._board.scalars("validation", metrics, state.step)
            if self._shows_depth:
                self._board.pictures(self._pictures or _first_samples(batch), state)
        return metrics


def validation_samples(folder: Path) -> list[Sample]:
    """Returns a few frames of a shard folder, evenly chosen.

    Raises:
        FileNotFoundError: It has none.
    """
    frames = ShardFrames([folder])
    chosen = [frames[int(i)] for i in np.linspace(0, len(frames) - 1, PICTURES)]
    return [
        {
            "image": torch.from_numpy(frame.image),
            "depth": torch.from_numpy(frame.depth),
            "K": torch.from_numpy(frame.camera.K.astype(np.float32)),
        }
        for frame in chosen
    ]


def _first_samples(batch: Sample | None) -> list[Sample]:
    if batch is None:
        return []
    return [{name: values[i] for name, values in batch.items()} for i in range(min(PICTURES, len(batch["K"])))]


def _step(line: str) -> int:
    return int(line.split(",")[0])
