"""A fake for tests of training: shards of streets that are a flat ground under a flat sky."""

from __future__ import annotations

from pathlib import Path

import numpy as np

CAMERA_HEIGHT = 1.6  # metres


def write_toy_shards(
    folder: Path, *, shards: int = 1, frames: int = 4, height: int = 64, width: int = 128
) -> Path:
    """Writes shards whose depth is f * h / (v - cy) below the horizon, at several focal lengths."""
    rng = np.random.default_rng(7)
    for shard in range(shards):
        images = np.empty((frames, height, width, 3), dtype=np.uint8)
        depths = np.empty((frames, height, width), dtype=np.float16)
        K = np.zeros((frames, 3, 3), dtype=np.float32)
        for frame in range(frames):
            focal, cx, cy = rng.uniform(60, 120), 0.46 * width, rng.uniform(0.35, 0.5) * height
            K[frame] = [[focal, 0, cx], [0, focal, cy], [0, 0, 1]]
            below = np.arange(height) - cy
            column = np.where(below > 0, focal * CAMERA_HEIGHT / np.maximum(below, 1e-3), np.inf)
            depths[frame] = column[:, None]
            brightness = np.where(below > 0, 40 + 120 * below / height, 230)
            texture = rng.normal(0, 8, size=(height, width, 3))
            images[frame] = np.clip(brightness[:, None, None] + texture, 0, 255)
        path = folder / f"shard_{shard:05d}"
        path.mkdir(parents=True)
        for name, array in {"images": images, "depths": depths, "K": K}.items():
            np.save(path / f"{name}.npy", array)
    return folder
