"""The depth node's parameters: one frozen dataclass, the only home of their defaults, ranges and descriptions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from recon3d_ros.core.cloud_filters import CloudFilterOptions
from recon3d_ros.core.obstacles import SplitOptions
from recon3d_ros.core.scale import SCALE_MODES
from recon3d_ros.core.scan import ScanOptions
from recon3d_ros.engines import BACKENDS, PRECISIONS, EngineOptions

# Where core or engines has a default of its own, it is taken from there.
ENGINE, FILTERS, SPLIT, SCAN = EngineOptions(), CloudFilterOptions(), SplitOptions(), ScanOptions()


class ParameterError(ValueError):
    """A parameter whose type, range or value is wrong."""


def _parameter(
    default: Any,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
    per_camera: bool = False,
) -> Any:
    """A dataclass field that is a ROS parameter.

    Args:
        default: its value where nothing else is given.
        description: a sentence or more, with the unit.
        minimum, maximum: what is allowed.
        choices: the words that are allowed.
        live: it may change while the node runs.
        per_camera: a camera can have a value of its own, the parameter `<camera>.<name>`.
    """
    metadata = {
        "description": description,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "live": live,
        "per_camera": per_camera,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class DepthNodeParameters:
    """Every parameter of the depth node, with its default. Defaults stand nowhere else."""

    model: str = _parameter(
        "",
        "One-file ONNX model; empty for the one that ships, 640x192; street_lite0_640x352 for 16:9.",
    )
    backend: str = _parameter("onnxruntime", "Inference run time.", choices=tuple(BACKENDS))
    threads: int = _parameter(0, "CPU threads for inference; 0 lets the run time choose.", minimum=0, maximum=256)
    precision: str = _parameter(
        ENGINE.precision,
        "Of a TensorRT engine; the other run times take the graph as it is, which is fp32 here.",
        choices=PRECISIONS,
    )
    gpu: int = _parameter(ENGINE.gpu, "Index of the GPU that TensorRT uses.", minimum=0, maximum=63)
    dla_core: int = _parameter(
        ENGINE.dla_core,
        "Deep learning accelerator that takes the layers it can (TensorRT on Orin); -1 is the GPU alone.",
        minimum=-1,
        maximum=7,
    )
    max_batch: int = _parameter(
        0,
        "Most images in one run of a TensorRT engine; 0 for as many as there are cameras.",
        minimum=0,
        maximum=64,
    )
    calibration: str = _parameter(
        ENGINE.calibration, "Folder of images for int8; empty takes the self-test images that the model carries."
    )
    engine_cache: str = _parameter(
        ENGINE.cache_dir,
        "Folder of built engines, which nobody else can write to; empty for one in ~/.cache.",
    )
    serve_while_building: bool = _parameter(
        False, "Answer with ONNX Runtime until the engine is built and proved; false rejects the frames till then."
    )
    inference_timeout: float = _parameter(
        10.0,
        "Seconds that one batch may take; then the engine hangs, and the node ends with status 1. 0 for no limit.",
        minimum=0.0,
        maximum=3600.0,
        live=True,
    )

    cameras: tuple[str, ...] = _parameter(
        ("camera",), "Camera namespaces; each has its own topics, and frames that wait together form one batch."
    )
    image_topic: str = _parameter(
        "image_raw", "Image topic within the camera's namespace (absolute if it starts with /).", per_camera=True
    )
    camera_info_topic: str = _parameter(
        "camera_info", "CameraInfo topic within the camera's namespace.", per_camera=True
    )
    compressed: bool = _parameter(
        False, "Subscribe to <image_topic>/compressed (sensor_msgs/CompressedImage, jpeg or png).", per_camera=True
    )
    rectified: bool = _parameter(
        False,
        "The images are rectified already (image_rect): take P of the CameraInfo and ignore its distortion.",
        per_camera=True,
    )
    crop_position: float = _parameter(
        0.5,
        "Part kept where the image is taller or wider than the network's input: 0 top or left, 1 bottom or right.",
        minimum=0.0,
        maximum=1.0,
        per_camera=True,
    )

    base_frame: str = _parameter(
        "base_link",
        "Frame on the road under the vehicle, x ahead, z up: of the merged cloud, the scan and all heights.",
    )
    target_frame: str = _parameter(
        "", "Frame of each camera's clouds at the image's stamp; empty for the camera's optical frame."
    )
    static_transforms: str = _parameter(
        "", "Transforms besides TF: 'parent child x y z qx qy qz qw' (metres), separated by semicolons."
    )
    transform_timeout: float = _parameter(
        0.05, "Seconds to wait for a transform that is still under way.", minimum=0.0, maximum=1.0, live=True
    )

    scale_mode: str = _parameter(
        "model",
        "Metric scale: as the network says (model), from the camera's height above the road (ground), or lidar.",
        choices=SCALE_MODES,
        live=True,
        per_camera=True,
    )
    camera_height: float = _parameter(
        0.0,
        "Metres above the road of a camera that looks ahead, level; 0 takes its place from the transforms.",
        minimum=0.0,
        maximum=20.0,
        per_camera=True,
    )
    lidar_topic: str = _parameter("", "PointCloud2 of the LiDAR for the scale mode lidar; empty for none.")
    lidar_timeout: float = _parameter(
        1.0, "Seconds without a sweep after which the LiDAR is reported as stale.", minimum=0.1, maximum=60.0
    )

    min_range: float = _parameter(
        0.5,
        "Metres along z; nearer depth is published as invalid.",
        minimum=0.0,
        maximum=1000.0,
        live=True,
        per_camera=True,
    )
    max_range: float = _parameter(
        80.0,
        "Metres along z; farther depth is published as out of range.",
        minimum=0.0,
        maximum=1000.0,
        live=True,
        per_camera=True,
    )
    depth_encoding: str = _parameter(
        "32FC1",
        "Depth image: 32FC1 metres (NaN invalid, +Inf out of range) or 16UC1 millimetres (0 for both).",
        choices=("32FC1", "16UC1"),
        live=True,
    )
    cloud_fields: str = _parameter("xyzrgb", "Fields of the point cloud.", choices=("xyz", "xyzrgb"), live=True)
    cloud_organised: bool = _parameter(
        True,
        "True: one point a pixel with NaN where invalid (height x width); false: valid points only.",
        live=True,
    )
    cloud_stride: int = _parameter(
        1, "Take every n-th pixel in both directions for the cloud.", minimum=1, maximum=64, live=True
    )

    edge_threshold: float = _parameter(
        FILTERS.edge_threshold,
        "Flying pixels at steps of this part of the range become invalid; 0 is off, 0.15 a good value.",
        minimum=0.0,
        maximum=10.0,
        live=True,
        per_camera=True,
    )
    min_confidence: float = _parameter(
        FILTERS.min_confidence,
        "Less sure pixels become invalid, 0 to 1; 0 is off.",
        minimum=0.0,
        maximum=1.0,
        live=True,
        per_camera=True,
    )
    ego_mask: str = _parameter(
        "",
        "Polygons around the vehicle's own parts, pixels of the camera's image: 'u v, u v, u v; u v, ...'.",
        live=True,
        per_camera=True,
    )
    ego_box: str = _parameter(
        "",
        "No point, and no obstacle of the scan, in 'x_min y_min z_min x_max y_max z_max', metres in base_frame.",
        live=True,
    )
    cloud_min_height: float = _parameter(
        FILTERS.min_height,
        "Metres along z of base_frame; lower points are left out of the clouds.",
        minimum=-1000.0,
        maximum=1000.0,
        live=True,
    )
    cloud_max_height: float = _parameter(
        FILTERS.max_height,
        "Metres along z of base_frame; higher points are left out. Equal to cloud_min_height: no height band.",
        minimum=-1000.0,
        maximum=1000.0,
        live=True,
    )
    voxel_size: float = _parameter(
        FILTERS.voxel_size, "Metres; one point a voxel. 0 is off.", minimum=0.0, maximum=100.0, live=True
    )
    outlier_radius: float = _parameter(
        FILTERS.outlier_radius,
        "Metres; points with too few others within it are left out. 0 is off.",
        minimum=0.0,
        maximum=100.0,
        live=True,
    )
    outlier_neighbours: int = _parameter(
        FILTERS.outlier_neighbours, "How many others outlier_radius asks for.", minimum=1, maximum=1000, live=True
    )
    obstacle_min_height: float = _parameter(
        SPLIT.min_height,
        "Metres above the fitted road at which an obstacle begins.",
        minimum=0.0,
        maximum=1000.0,
        live=True,
    )
    obstacle_max_height: float = _parameter(
        SPLIT.max_height,
        "Metres above the fitted road; what is higher can be driven under.",
        minimum=0.0,
        maximum=1000.0,
        live=True,
    )
    obstacle_slope: float = _parameter(
        SPLIT.slope,
        "Metres more of height that count as road for each metre of distance.",
        minimum=0.0,
        maximum=0.9,
        live=True,
    )
    scan_min_height: float = _parameter(
        SCAN.min_height,
        "Metres along z of base_frame, of what the scan sees.",
        minimum=-1000.0,
        maximum=1000.0,
        live=True,
    )
    scan_max_height: float = _parameter(
        SCAN.max_height,
        "Metres along z of base_frame, of what the scan sees.",
        minimum=-1000.0,
        maximum=1000.0,
        live=True,
    )
    scan_min_range: float = _parameter(
        SCAN.min_range, "Horizontal metres from base_frame's origin.", minimum=0.0, maximum=1000.0, live=True
    )
    scan_max_range: float = _parameter(
        SCAN.max_range,
        "Horizontal metres from base_frame's origin, at most max_range; also how far clearing points lie.",
        minimum=0.0,
        maximum=1000.0,
        live=True,
    )
    scan_angle_increment: float = _parameter(
        SCAN.angle_increment,
        "Radians between two beams; 0 means 1/fx, that of two columns at the image's centre.",
        minimum=0.0,
        maximum=0.9,
        live=True,
    )
    merge_overlaps: bool = _parameter(
        True,
        "In the merged clouds, what two cameras see is taken from the one that has it nearer to its middle.",
        live=True,
    )

    diagnostics_period: float = _parameter(1.0, "Seconds between /diagnostics.", minimum=0.05, maximum=60.0)
    stale_after: float = _parameter(
        2.0, "Seconds without an image after which a camera is reported as stale.", minimum=0.1, maximum=3600.0
    )
    autostart: bool = _parameter(True, "Configure and activate at start; false leaves that to a supervisor.")


def topic_of(camera: str, topic: str) -> str:
    """Returns a topic within the camera's namespace; an absolute topic stays as it is."""
    return topic if topic.startswith("/") else f"{camera}/{topic}"
