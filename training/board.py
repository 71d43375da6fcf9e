"""What TensorBoard shows of a run: curves, and what the averaged network makes of a few images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.tensorboard import SummaryWriter

from recon3d_ros.core.colors import color_depth, color_ratio
from training.stream import Sample
from training.trainer import TrainState

SCALAR_STEPS = 10  # every step would make the event file the largest of the run
CLOUD_POINTS = 20_000


class Board:
    """Event files in a folder: `tensorboard --logdir RUN/board`."""

    def __init__(self, folder: Path, *, first_step: int) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=first_step or None)

    def close(self) -> None:
        self._writer.close()

    def scalars(self, group: str, values: dict[str, float], step: int) -> None:
        """Adds curves; of the group "train" every tenth step alone."""
        if group == "train" and step % SCALAR_STEPS != 0:
            return
        for name, value in values.items():
            self._writer.add_scalar(f"{group}/{name}", value, step)

    @torch.inference_mode()
    def pictures(self, samples: Sequence[Sample], state: TrainState) -> None:
        """Adds input, prediction, target and error of each sample, and the first one's predicted points."""
        network = state.averaged
        for i, sample in enumerate(samples):
            image, K = sample["image"], sample["K"]
            found, _ = network.infer(image[None].to(state.device), K[None, 0, 0].to(state.device))
            depth, target = found[0].float().cpu().numpy(), sample["depth"].numpy()
            known = np.where(np.isfinite(target) & (target > 0), target, np.nan)
            panels = [image.numpy(), color_depth(depth), color_depth(target), color_ratio(depth, known)]
            self._writer.add_image(f"sample_{i}", np.vstack(panels), state.step, dataformats="HWC")
            if i == 0:
                points, paint = cloud(depth, image.numpy(), K.numpy(), max_depth=network.config.max_depth)
                vertices, colours = torch.from_numpy(points)[None], torch.from_numpy(paint)[None]
                self._writer.add_mesh("points", vertices, colors=colours, global_step=state.step)
        self._writer.flush()


def cloud(
    depth: npt.NDArray[np.float32],
    image: npt.NDArray[np.uint8],
    K: npt.NDArray[np.float32],
    *,
    max_depth: float,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Returns points (N, 3) in metres and their colours, evenly chosen; sky is left out.

    The frame is x right, y up, z backward, as TensorBoard's viewer draws it.
    """
    rows, columns = np.nonzero(depth < max_depth)
    step = max(1, len(rows) // CLOUD_POINTS)
    rows, columns = rows[::step], columns[::step]
    z = depth[rows, columns]
    x, y = (columns - K[0, 2]) / K[0, 0] * z, (rows - K[1, 2]) / K[1, 1] * z
    return np.stack([x, -y, -z], axis=-1).astype(np.float32), image[rows, columns]
