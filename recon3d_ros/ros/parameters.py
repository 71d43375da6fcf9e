"""The depth node's parameters: one frozen dataclass, the only home of their defaults, ranges and descriptions."""

from __future__ import annotations

from dataclasses import dataclass

from recon3d_ros.core.cloud_filters import CloudFilterOptions
from recon3d_ros.core.network_size import MAX_NETWORK_PIXELS
from recon3d_ros.core.obstacles import SplitOptions
from recon3d_ros.core.pipeline import Framing
from recon3d_ros.core.scale import SCALE_MODES
from recon3d_ros.core.scan import ScanOptions
from recon3d_ros.engines import BACKENDS, PRECISIONS, EngineOptions
from recon3d_ros.ros.parameter_field import parameter

# Where core or engines has a default of its own, it is taken from there.
ENGINE, FRAMING = EngineOptions(), Framing()
FILTERS, SPLIT, SCAN = CloudFilterOptions(), SplitOptions(), ScanOptions()


@dataclass(frozen=True)
class DepthNodeParameters:
    """Every parameter of the depth node, with its default. Defaults stand nowhere else."""

    model: str = parameter(
        "",
        "One-file ONNX model; empty for the one that ships.",
    )
    backend: str = parameter("onnxruntime", "Inference run time.", choices=tuple(BACKENDS))
    threads: int = parameter(0, "CPU threads for inference; 0 lets the run time choose.", minimum=0, maximum=256)
    precision: str = parameter(
        ENGINE.precision,
        "Of a TensorRT engine; the other run times take the graph as it is, which is fp32 here.",
        choices=PRECISIONS,
    )
    gpu: int = parameter(ENGINE.gpu, "Index of the GPU that TensorRT uses.", minimum=0, maximum=63)
    dla_core: int = parameter(
        ENGINE.dla_core,
        "Deep learning accelerator that takes the layers it can (TensorRT on Orin); -1 is the GPU alone.",
        minimum=-1,
        maximum=7,
    )
    max_batch: int = parameter(
        0,
        "Most images in one run of a TensorRT engine; 0 for as many as there are cameras.",
        minimum=0,
        maximum=64,
    )
    calibration: str = parameter(
        ENGINE.calibration, "Folder of images for int8; empty takes the self-test images that the model carries."
    )
    engine_cache: str = parameter(
        ENGINE.cache_dir,
        "Folder of built engines, which nobody else can write to; empty for one in ~/.cache.",
    )
    serve_while_building: bool = parameter(
        False, "Answer with ONNX Runtime until the engine is built and proved; false rejects the frames till then."
    )
    inference_timeout: float = parameter(
        10.0,
        "Seconds that one batch may take; then the engine hangs, and the node ends with status 1. 0 for no limit.",
        minimum=0.0,
        maximum=3600.0,
        live=True,
    )

    cameras: tuple[str, ...] = parameter(
        ("camera",),
        "Camera namespaces; each has its own topics. Frames that wait together form one batch a network size.",
    )
    image_topic: str = parameter(
        "image_raw", "Image topic within the camera's namespace (absolute if it starts with /).", per_camera=True
    )
    camera_info_topic: str = parameter(
        "camera_info", "CameraInfo topic within the camera's namespace.", per_camera=True
    )
    compressed: bool = parameter(
        False, "Subscribe to <image_topic>/compressed (sensor_msgs/CompressedImage, jpeg or png).", per_camera=True
    )
    rectified: bool = parameter(
        False,
        "The images are rectified already (image_rect): take P of the CameraInfo and ignore its distortion.",
        per_camera=True,
    )
    network_pixels: int = parameter(
        FRAMING.network_pixels,
        "Approximate pixels of the network's input, which has the camera's shape; time grows with them. "
        "0: the model's default size, to which the image is cut. A model of a fixed size ignores this.",
        minimum=0,
        maximum=MAX_NETWORK_PIXELS,
        per_camera=True,
    )
    crop_position: float = parameter(
        FRAMING.crop_position,
        "Part kept where the image is taller or wider than the network's input: 0 top or left, 1 bottom or right.",
        minimum=0.0,
        maximum=1.0,
        per_camera=True,
    )

    base_frame: str = parameter(
        "base_link",
        "Frame on the road under the vehicle, x ahead, z up: of the merged cloud, the scan and all heights.",
    )
    target_frame: str = parameter(
        "", "Frame of each camera's clouds at the image's stamp; empty for the camera's optical frame."
    )
    static_transforms: str = parameter(
        "", "Transforms besides TF: 'parent child x y z qx qy qz qw' (metres), separated by semicolons."
    )
    transform_timeout: float = parameter(
        0.05, "Seconds to wait for a transform that is still under way.", minimum=0.0, maximum=1.0, live=True
    )

    scale_mode: str = parameter(
        "model",
        "Metric scale: as the network says (model), from the camera's height above the road (ground), or lidar.",
        choices=SCALE_MODES,
        live=True,
        per_camera=True,
    )
    camera_height: float = parameter(
        0.0,
        "Metres above the road of a camera that looks ahead, level; 0 takes its place from the transforms.",
        minimum=0.0,
        maximum=20.0,
        per_camera=True,
    )
    lidar_topic: str = parameter("", "PointCloud2 of the LiDAR for the scale mode lidar; empty for none.")
    lidar_timeout: float = parameter(
        1.0, "Seconds without a sweep after which the LiDAR is reported as stale.", minimum=0.1, maximum=60.0
    )

    min_range: float = parameter(
        0.5,
        "Metres along z; nearer depth is published as invalid.",
        minimum=0.0,
        maximum=1000.0,
        live=True,
        per_camera=True,
    )
    max_range: float = parameter(
        80.0,
        "Metres along z; farther depth is published as out of range.",
        minimum=0.0,
        maximum=1000.0,
        live=True,
        per_camera=True,
    )
    depth_encoding: str = parameter(
        "32FC1",
        "Depth image: 32FC1 metres (NaN invalid, +Inf out of range) or 16UC1 millimetres (0 for both).",
        choices=("32FC1", "16UC1"),
        live=True,
    )
    cloud_fields: str = parameter("xyzrgb", "Fields of the point cloud.", choices=("xyz", "xyzrgb"), live=True)
    cloud_organised: bool = parameter(
        True,
        "True: one point a pixel with NaN where invalid (height x width); false: valid points only.",
        live=True,
    )
    cloud_stride: int = parameter(
        1, "Take every n-th pixel in both directions for the cloud.", minimum=1, maximum=64, live=True
    )

    edge_threshold: float = parameter(
        FILTERS.edge_threshold,
        "Flying pixels at steps of this part of the range become invalid; 0 is off, 0.15 a good value.",
        minimum=0.0,
        maximum=10.0,
        live=True,
        per_camera=True,
    )
    min_confidence: float = parameter(
        FILTERS.min_confidence,
        "Less sure pixels become invalid, 0 to 1; 0 is off.",
        minimum=0.0,
        maximum=1.0,
        live=True,
        per_camera=True,
    )
    ego_mask: str = parameter(
        "",
        "Polygons around the vehicle's own parts, pixels of the camera's image: 'u v, u v, u v; u v, ...'.",
        live=True,
        per_camera=True,
    )
    ego_box: str = parameter(
        "",
        "No point, and no obstacle of the scan, in 'x_min y_min z_min x_max y_max z_max', metres in base_frame.",
        live=True,
    )
    cloud_min_height: float = parameter(
        FILTERS.min_height,
        "Metres along z of base_frame; lower points are left out of the clouds.",
        minimum=-1000.0,
        maximum=1000.0,
        live=True,
    )
    cloud_max_height: float = parameter(
        FILTERS.max_height,
        "Metres along z of base_frame; higher points are left out. Equal to cloud_min_height: no height band.",
        minimum=-1000.0,
        maximum=1000.0,
        live=True,
    )
    voxel_size: float = parameter(
        FILTERS.voxel_size, "Metres; one point a voxel. 0 is off.", minimum=0.0, maximum=100.0, live=True
    )
    outlier_radius: float = parameter(
        FILTERS.outlier_radius,
        "Metres; points with too few others within it are left out. 0 is off.",
        minimum=0.0,
        maximum=100.0,
        live=True,
    )
    outlier_neighbours: int = parameter(
        FILTERS.outlier_neighbours, "How many others outlier_radius asks for.", minimum=1, maximum=1000, live=True
    )
    obstacle_min_height: float = parameter(
        SPLIT.min_height,
        "Metres above the fitted road at which an obstacle begins.",
        minimum=0.0,
        maximum=1000.0,
        live=True,
    )
    obstacle_max_height: float = parameter(
        SPLIT.max_height,
        "Metres above the fitted road; what is higher can be driven under.",
        minimum=0.0,
        maximum=1000.0,
        live=True,
    )
    obstacle_slope: float = parameter(
        SPLIT.slope,
        "Metres more of height that count as road for each metre of distance.",
        minimum=0.0,
        maximum=0.9,
        live=True,
    )
    scan_min_height: float = parameter(
        SCAN.min_height,
        "Metres along z of base_frame, of what the scan sees.",
        minimum=-1000.0,
        maximum=1000.0,
        live=True,
    )
    scan_max_height: float = parameter(
        SCAN.max_height,
        "Metres along z of base_frame, of what the scan sees.",
        minimum=-1000.0,
        maximum=1000.0,
        live=True,
    )
    scan_min_range: float = parameter(
        SCAN.min_range, "Horizontal metres from base_frame's origin.", minimum=0.0, maximum=1000.0, live=True
    )
    scan_max_range: float = parameter(
        SCAN.max_range,
        "Horizontal metres from base_frame's origin, at most max_range; also how far clearing points lie.",
        minimum=0.0,
        maximum=1000.0,
        live=True,
    )
    scan_angle_increment: float = parameter(
        SCAN.angle_increment,
        "Radians between two beams; 0 means 1/fx, that of two columns at the image's centre.",
        minimum=0.0,
        maximum=0.9,
        live=True,
    )
    merge_overlaps: bool = parameter(
        True,
        "In the merged clouds, what two cameras see is taken from the one that has it nearer to its middle.",
        live=True,
    )

    diagnostics_period: float = parameter(1.0, "Seconds between /diagnostics.", minimum=0.05, maximum=60.0)
    stale_after: float = parameter(
        2.0, "Seconds without an image after which a camera is reported as stale.", minimum=0.1, maximum=3600.0
    )
    autostart: bool = parameter(True, "Configure and activate at start; false leaves that to a supervisor.")


def topic_of(camera: str, topic: str) -> str:
    """Returns a topic within the camera's namespace; an absolute topic stays as it is."""
    return topic if topic.startswith("/") else f"{camera}/{topic}"
