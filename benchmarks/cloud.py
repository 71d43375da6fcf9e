"""Cloud filters: what each takes of a frame's time, and what it removes.

    python -m benchmarks.cloud                          time, on one core
    python -m benchmarks.cloud DRIVE [--picture FILE]   what goes, by the drive's LiDAR or exact depth
    python -m benchmarks.cloud DRIVE --smear PIXELS     the same for exact depth that is smeared as networks do

A point is judged where the truth looks: a return projects within 4 pixels of its own. It is off where no return of
the whole sweep lies within 10 % of the point's distance from the camera. A filter only selects points, so that the
same verdicts hold before and after. Near points are many and dense, and what a costmap sees is the space that they
fill: shares of voxels of 0.2 m, each judged by its point nearest to the centre, stand beside those of points.
Shares are averaged over frames. Time is CPU time: the machine has other work.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree
from tqdm import tqdm

from recon3d_ros.core import voxel
from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.clearing import clearing_points
from recon3d_ros.core.cloud import RayTable, limit_range
from recon3d_ros.core.cloud_filters import CloudFilter, CloudFilterOptions
from recon3d_ros.core.drive import Drive, load_drive
from recon3d_ros.core.edges import flying_pixels
from recon3d_ros.core.encodings import decode_compressed
from recon3d_ros.core.lidar import Points, project
from recon3d_ros.core.masks import parse_polygon
from recon3d_ros.core.pipeline import DepthPipeline
from recon3d_ros.core.preprocess import Rectifier
from recon3d_ros.core.scan import ScanMaker
from recon3d_ros.core.truth import true_points
from recon3d_ros.engines import load_engine

BUNDLED = Path(__file__).resolve().parents[1] / "recon3d_ros" / "demo_drive"
MAX_RANGE = 80.0  # metres
NEAR_RETURN = 4.0  # pixels
OFF = 0.1  # part of a point's distance
CELL = 0.2  # metres
T_BASE_CAMERA = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.65], [0, 0, 0, 1.0]])  # level, 1.65 m up

OPTIONS = CloudFilterOptions(
    edge_threshold=0.15,
    min_confidence=0.5,
    max_range=40.0,
    min_height=-0.3,
    max_height=3.0,
    ego_box=(-4.0, -1.0, 0.0, 0.5, 1.0, 1.6),
    voxel_size=0.1,
)
OUTLIERS = {"outlier_radius": 0.3, "outlier_neighbours": 4}


def only(**kept: object) -> CloudFilterOptions:
    """Returns options with these filters alone, as OPTIONS has them where they are True."""
    values = {name: getattr(OPTIONS, name) if value is True else value for name, value in kept.items()}
    return CloudFilterOptions(**values)  # type: ignore[arg-type]


FILTERS = {
    "none": CloudFilterOptions(),
    "edges, 0.10": only(edge_threshold=0.1),
    "edges, 0.15": only(edge_threshold=True),
    "edges, 0.30": only(edge_threshold=0.3),
    "confidence, 0.5": only(min_confidence=True),
    "confidence, 0.7": only(min_confidence=0.7),
    "range, 40 m": only(max_range=True),
    "height, -0.3 to 3 m": only(min_height=True, max_height=True),
    "voxels, 0.1 m": only(voxel_size=True),
    "outliers, 4 in 0.3 m, of voxels": only(voxel_size=True, **OUTLIERS),
    "edges, confidence 0.5, range, height, voxels": OPTIONS,
    "all of these and outliers": dataclasses.replace(OPTIONS, **OUTLIERS),  # type: ignore[arg-type]
}


@dataclass(frozen=True, eq=False)
class Frame:
    """A depth image and what is known of its points.

    Attributes:
        depth, confidence: (h, w) float32.
        rectifier: of the camera.
        truth: (N, 3) metres, optical frame.
        is_judged, is_off: (h, w) bool.
    """

    depth: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32] | None
    rectifier: Rectifier
    truth: Points
    is_judged: npt.NDArray[np.bool_]
    is_off: npt.NDArray[np.bool_]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("drive", type=Path, nargs="?", help="folder of images with lidar/ or depth/; none: time")
    parser.add_argument("--smear", type=float, help="sigma in pixels of a blur of the exact inverse depth")
    parser.add_argument("--picture", type=Path, help="before and after from above, of the frame in the middle")
    parser.add_argument("--rounds", type=int, default=60)
    args = parser.parse_args()
    if args.drive is None:
        print_times(args.rounds)
        return
    drive = load_drive(args.drive)
    frames = smeared_frames(drive, args.smear) if args.smear else network_frames(drive)
    rows: dict[str, list[list[float]]] = {name: [] for name in FILTERS}
    filters = {name: CloudFilter(options) for name, options in FILTERS.items()}
    for index, frame in enumerate(tqdm(frames, total=len(drive.images))):
        before = frame.is_judged & kept_by(filters["none"], frame)
        for name, cloud_filter in filters.items():
            after = before & kept_by(cloud_filter, frame)
            rows[name].append([after.sum() / before.sum(), off_share(frame, after), off_share(frame, after, CELL)])
        if args.picture and index == len(drive.images) // 2:
            picture = np.hstack(
                [from_above(frame, filters[n]) for n in ("none", "edges, 0.15", list(FILTERS)[-2])]
            )
            cv2.imwrite(str(args.picture), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    print(f"{args.drive.name}: {len(rows['none'])} frames\n")
    print(f"| filter | points kept | points off | {CELL} m voxels off |\n|---|---:|---:|---:|")
    for name, shares in rows.items():
        kept, off, cells_off = 100 * np.mean(shares, axis=0)
        print(f"| {name} | {kept:.1f} % | {off:.1f} % | {cells_off:.1f} % |")


def off_share(frame: Frame, chosen: npt.NDArray[np.bool_], size: float = 0.0) -> float:
    """Returns which share of the chosen pixels' points is off; with a size, of one point a voxel."""
    is_off = frame.is_off[chosen]
    if size:
        points = frame.rectifier.camera.rays()[chosen] * frame.depth[chosen][:, None]
        is_off = is_off[voxel.nearest_to_voxel_centres(points, size)]
    return float(is_off.mean()) if len(is_off) else 0.0


def kept_by(cloud_filter: CloudFilter, frame: Frame) -> npt.NDArray[np.bool_]:
    """Returns the (h, w) pixels that are points after the filter."""
    depth = cloud_filter.clean(frame.depth, frame.rectifier, frame.confidence)
    cloud = cloud_filter.cloud(depth, frame.rectifier.camera, T_base_camera=T_BASE_CAMERA)
    return np.isfinite(cloud.points[..., 2])


def network_frames(drive: Drive) -> Iterator[Frame]:
    """Yields the frames of a drive as the shipped network sees them."""
    pipeline = DepthPipeline(load_engine(threads=1), max_range=MAX_RANGE)
    rectifier = pipeline.rectifier(camera_of(drive))
    for path in drive.images:
        seen = pipeline([decode_compressed(path.read_bytes())], [rectifier.source])[0]
        yield judged(seen.depth, seen.confidence, rectifier, truth_of(drive, path))


def smeared_frames(drive: Drive, sigma: float) -> Iterator[Frame]:
    """Yields the exact depth of a drive, its inverse blurred by a Gaussian: all that is off then flies."""
    rectifier = Rectifier(camera_of(drive), width=640, height=192)
    for path in drive.images:
        depth_mm = drive.depth_mm(path)
        if depth_mm is None:
            raise SystemExit(f"{drive.folder}: has no exact depth (depth/NNNNNN.png) to smear")
        camera = rectifier.source.resized(width=depth_mm.shape[1], height=depth_mm.shape[0])
        maps = camera.project(rectifier.camera.rays()).astype(np.float32).reshape(192, 640, 2)
        exact = cv2.remap(depth_mm, maps, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE) * 1e-3
        w = cv2.GaussianBlur(np.divide(1, exact, out=np.zeros_like(exact), where=exact > 0), (0, 0), sigma)
        depth = (1 / np.maximum(w, 1e-6)).astype(np.float32)
        yield judged(limit_range(depth, min_range=0, max_range=65), None, rectifier, truth_of(drive, path))


def camera_of(drive: Drive) -> CameraModel:
    if drive.calibration is None:
        raise SystemExit(f"{drive.folder}: has no calibration.json")
    return drive.calibration.camera


def truth_of(drive: Drive, path: Path) -> Points:
    truth = true_points(drive, path, camera_of(drive).undistorted())
    if truth is None:
        raise SystemExit(f"{path}: has neither a LiDAR sweep nor exact depth")
    return truth


def judged(
    depth: npt.NDArray[np.float32], confidence: npt.NDArray[np.float32] | None, rectifier: Rectifier, truth: Points
) -> Frame:
    """Returns the frame with the verdicts over its points."""
    returns = project(truth, rectifier.camera)
    is_away = np.ones(depth.shape, dtype=np.uint8)
    is_away[returns.row, returns.column] = 0
    is_judged = (cv2.distanceTransform(is_away, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) <= NEAR_RETURN) & np.isfinite(
        depth
    )
    points = (rectifier.camera.rays() * np.nan_to_num(depth, posinf=0)[..., None])[is_judged]
    distance, _ = cKDTree(truth).query(points)
    is_off = np.zeros(depth.shape, dtype=bool)
    is_off[is_judged] = distance > OFF * np.linalg.norm(points, axis=1)
    return Frame(depth, confidence, rectifier, truth, is_judged, is_off)


def from_above(
    frame: Frame, cloud_filter: CloudFilter, *, ahead: float = 40.0, aside: float = 12.0
) -> npt.NDArray[np.uint8]:
    """Returns the points from above, 18 pixels a metre: grey the truth, blue on it, red off it, white not judged.

    The road is left out: only what is 0.3 to 3 m above it is drawn, nearer surfaces over farther ones.
    """
    scale = 18.0
    view = np.full((round(ahead * scale), round(2 * aside * scale), 3), (24, 26, 30), dtype=np.uint8)

    def draw(points: npt.NDArray[np.floating], colors: npt.NDArray[np.uint8]) -> None:
        shown = (points[:, 1] < 1.35) & (points[:, 1] > -1.35)
        column = np.rint((points[shown, 0] + aside) * scale).astype(int)
        row = np.rint((ahead - points[shown, 2]) * scale).astype(int)
        inside = (column >= 0) & (column < view.shape[1]) & (row >= 0) & (row < view.shape[0])
        view[row[inside], column[inside]] = colors[shown][inside]

    kept = kept_by(cloud_filter, frame)
    points = frame.rectifier.camera.rays()[kept] * frame.depth[kept][:, None]
    colors = np.where(frame.is_off[kept][:, None], (255, 70, 60), (90, 150, 255)).astype(np.uint8)
    colors[~frame.is_judged[kept]] = 200
    draw(frame.truth, np.full((len(frame.truth), 3), 110, dtype=np.uint8))
    draw(points, colors)
    view[:, -1] = 0
    return view


def print_times(rounds: int) -> None:
    """Prints the time of each filter for a frame of the bundled drive, and its ratio to a copy of the cloud."""
    cv2.setNumThreads(1)
    drive = load_drive(BUNDLED)
    pipeline = DepthPipeline(load_engine(threads=1), max_range=MAX_RANGE)
    rectifier = pipeline.rectifier(camera_of(drive))
    image = decode_compressed(drive.images[len(drive.images) // 2].read_bytes())
    frame = pipeline([image], [rectifier.source])[0]
    points = RayTable().points(frame.depth, frame.camera)
    width, height = image.width, image.height
    mask = parse_polygon(f"0 {height - 30}, {width} {height - 30}, {width} {height}, 0 {height}")
    cheap = dataclasses.replace(OPTIONS, ego_mask=(mask,))

    def run(options: CloudFilterOptions, *, organised: bool = True) -> Callable[[], object]:
        cloud_filter = CloudFilter(options)

        def once() -> None:
            depth = cloud_filter.clean(frame.depth, rectifier, frame.confidence)
            cloud_filter.cloud(
                depth, frame.camera, colors=frame.image, T_base_camera=T_BASE_CAMERA, organised=organised
            )

        return once

    thinned = points[np.isfinite(points[..., 2])]
    scan, rays = ScanMaker(), frame.camera.rays()
    contenders: dict[str, Callable[[], object]] = {
        "copy of the cloud": points.copy,
        "no filter: points alone": run(CloudFilterOptions()),
        "edges": lambda: flying_pixels(frame.depth, OPTIONS.edge_threshold),
        "no filter but confidence, ego mask": run(CloudFilterOptions(min_confidence=0.5, ego_mask=(mask,))),
        "no filter but range, height, ego box": run(
            only(max_range=True, min_height=True, max_height=True, ego_box=True)
        ),
        "voxels": lambda: voxel.nearest_to_voxel_centres(thinned, OPTIONS.voxel_size),
        "all but outliers": run(cheap),
        "all but outliers, dense": run(cheap, organised=False),
        "all, outliers of voxels too": run(dataclasses.replace(cheap, **OUTLIERS)),  # type: ignore[arg-type]
        "outliers of all points": run(only(**OUTLIERS)),
        "laser scan": lambda: scan(frame.depth, frame.camera, T_BASE_CAMERA),
        "clearing points": lambda: clearing_points(frame.depth, rays, max_range=30.0),
        "voxels by numpy": lambda: voxel._voxels_numpy(thinned, np.float32(1 / OPTIONS.voxel_size)),
    }
    seconds = cpu_medians(contenders, rounds)
    print(f"{frame.camera.width}x{frame.camera.height}, one core, {rounds} rounds; numba: {voxel.has_numba()}\n")
    print("| step | median CPU ms | time / copy |\n|---|---:|---:|")
    for name, value in seconds.items():
        print(f"| {name} | {value * 1e3:.2f} | {value / seconds['copy of the cloud']:.1f} |")


def cpu_medians(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Returns the median CPU seconds of each over interleaved rounds, after three to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_number in range(rounds + 3):
        for name, run in contenders.items():
            start = time.process_time()
            run()
            if round_number >= 3:
                seconds[name].append(time.process_time() - start)
    return {name: float(np.median(values)) for name, values in seconds.items()}


if __name__ == "__main__":
    main()
