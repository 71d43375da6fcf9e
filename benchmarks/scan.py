"""The laser scan of a drive against what its LiDAR returns from the same height band.

    python -m benchmarks.scan DRIVE [--max-range M]

A beam's truth is the nearest return of the sweep in the band and in the beam, without those that the camera cannot
see; beams with one nearer than 80 % of the scan's range are judged. The camera counts as level, 1.65 m above the
road. Shares are averaged over frames.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from benchmarks.cloud import T_BASE_CAMERA, Frame, network_frames
from recon3d_ros.core.cloud_filters import CloudFilter, CloudFilterOptions
from recon3d_ros.core.drive import load_drive
from recon3d_ros.core.lidar import remove_occluded, transform
from recon3d_ros.core.scan import Scan, ScanMaker, ScanOptions

FILTERS = {
    "none": CloudFilterOptions(),
    "edges, 0.15": CloudFilterOptions(edge_threshold=0.15),
    "edges and confidence, 0.5": CloudFilterOptions(edge_threshold=0.15, min_confidence=0.5),
}
COLUMNS = ("range / LiDAR's", "within 20 %", "nearer than 80 %", "farther than 125 %", "+Inf", "NaN")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("drive", type=Path, help="folder of images with lidar/")
    parser.add_argument("--max-range", type=float, default=ScanOptions().max_range)
    args = parser.parse_args()
    drive = load_drive(args.drive)
    maker = ScanMaker(ScanOptions(max_range=args.max_range))
    filters = {name: CloudFilter(options) for name, options in FILTERS.items()}
    rows: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in filters}
    for frame in tqdm(network_frames(drive), total=len(drive.images)):
        for name, cloud_filter in filters.items():
            depth = cloud_filter.clean(frame.depth, frame.rectifier, frame.confidence)
            scan = maker(depth, frame.rectifier.camera, T_BASE_CAMERA)
            rows[name].append(shares(scan, lidar_ranges(frame, scan)))
    print(f"{drive.folder.name}: {len(drive.images)} frames, range {args.max_range:g} m\n")
    print(f"| depth filter | beams judged | median {' | '.join(COLUMNS)} |\n|---|{'---:|' * (len(COLUMNS) + 1)}")
    for name, values in rows.items():
        judged, ratio, *parts = np.nanmean(values, axis=0)
        print(f"| {name} | {100 * judged:.1f} % | {ratio:.2f} | {' | '.join(f'{100 * p:.1f} %' for p in parts)} |")


def lidar_ranges(frame: Frame, scan: Scan) -> npt.NDArray[np.float64]:
    """Returns the horizontal distance of the LiDAR's nearest return of each beam, +Inf where there is none."""
    points = transform(remove_occluded(frame.truth, frame.rectifier.camera), T_BASE_CAMERA)
    options = ScanOptions()
    points = points[(points[:, 2] >= options.min_height) & (points[:, 2] <= options.max_height)]
    azimuth = np.arctan2(points[:, 1], points[:, 0])
    beam = np.rint((azimuth - scan.angle_min) / scan.angle_increment).astype(int)
    inside = (beam >= 0) & (beam < len(scan.ranges))
    ranges = np.full(len(scan.ranges), np.inf)
    np.minimum.at(ranges, beam[inside], np.hypot(points[inside, 0], points[inside, 1]))
    return ranges


def shares(scan: Scan, truth: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns the share of beams that are judged, their median ratio, and the shares of COLUMNS[1:] of them."""
    is_judged = truth < 0.8 * scan.range_max
    ranges = scan.ranges[is_judged]
    with np.errstate(invalid="ignore"):
        ratio = np.where(np.isfinite(ranges), ranges, np.nan) / truth[is_judged]
    verdicts = (
        np.abs(ratio - 1) < 0.2,
        ratio < 0.8,
        ratio > 1.25,
        np.isposinf(ranges),
        np.isnan(ranges),
    )
    return np.array([is_judged.mean(), np.nanmedian(ratio), *(verdict.mean() for verdict in verdicts)])


if __name__ == "__main__":
    main()
