"""Draws rendered frames with their depth on one page: `python -m training.render.contact_sheet OUT.jpg`."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from training.render.frames import OpenScene
from training.render.mesh import Array

NEAREST, FARTHEST = 1.0, 120.0
COLUMNS = 3
MARGIN = 4


def depth_picture(depth: Array) -> npt.NDArray[np.uint8]:
    """Returns depth (H, W) in metres as BGR colours (H, W, 3): red at 1 m to dark blue at 120 m, by its log."""
    far = np.log(np.clip(depth, NEAREST, FARTHEST) / NEAREST) / np.log(FARTHEST / NEAREST)
    return np.asarray(cv2.applyColorMap((255 * (1 - far)).astype(np.uint8), cv2.COLORMAP_TURBO), np.uint8)


def contact_sheet(frames: int, *, seed: int, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Returns a page (BGR) of frames, one a scene, each above its depth, at half their rendered size."""
    tiles = []
    for k in range(frames):
        frame = OpenScene(seed * 10**8 + k, width=width, height=height).frame(0)
        tile = np.concatenate([frame.image[:, :, ::-1], depth_picture(frame.depth)])
        small = cv2.resize(tile, (width // 2, height), interpolation=cv2.INTER_AREA)
        tiles.append(cv2.copyMakeBorder(small, 0, MARGIN, 0, MARGIN, cv2.BORDER_CONSTANT, value=(255, 255, 255)))
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % COLUMNS)
    rows = [np.concatenate(tiles[k : k + COLUMNS], axis=1) for k in range(0, len(tiles), COLUMNS)]
    return np.concatenate(rows)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description="Draw rendered frames with their depth on one page.")
    parser.add_argument("out", type=Path, help="a .jpg or .png file in a folder that exists")
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=192)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quality", type=int, default=80, help="of the JPEG")
    args = parser.parse_args()
    if args.frames < 1:
        parser.error(f"--frames {args.frames}: give 1 or more")
    if args.out.suffix not in (".jpg", ".png") or not args.out.parent.is_dir():
        parser.error(f"{args.out}: give a .jpg or .png file in a folder that exists")
    page = contact_sheet(args.frames, seed=args.seed, width=args.width, height=args.height)
    options = [cv2.IMWRITE_JPEG_QUALITY, args.quality] if args.out.suffix == ".jpg" else []
    if not cv2.imwrite(str(args.out), page, options):
        parser.exit(1, f"{args.out}: could not be written\n")


if __name__ == "__main__":
    main()
