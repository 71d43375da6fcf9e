"""From parameters to the options of a camera's image and view."""

from __future__ import annotations

import math

from recon3d_ros.core.camera_view import ViewOptions
from recon3d_ros.core.cloud_filters import CloudFilterOptions
from recon3d_ros.core.masks import Polygon, parse_polygon
from recon3d_ros.core.obstacles import SplitOptions
from recon3d_ros.core.pipeline import Framing
from recon3d_ros.core.scan import ScanOptions
from recon3d_ros.core.transforms import numbers_of
from recon3d_ros.ros.parameter_field import ParameterError
from recon3d_ros.ros.parameters import DepthNodeParameters


def framing(parameters: DepthNodeParameters) -> Framing:
    """Returns how the parameters of a camera have its image cut and resized for the network."""
    return Framing(parameters.network_pixels, parameters.crop_position)


def view_options(parameters: DepthNodeParameters, *, max_depth: float = math.inf) -> ViewOptions:
    """Returns the options that the parameters of a camera give.

    Args:
        parameters: that hold for the camera.
        max_depth: of the model, metres: what it does not see nearer than that is +Inf.

    Raises:
        ParameterError: if a mask, box or band cannot be one; the message says why.
    """
    try:
        return ViewOptions(
            scale_mode=parameters.scale_mode,
            min_range=parameters.min_range,
            max_range=parameters.max_range,
            filters=CloudFilterOptions(
                min_confidence=parameters.min_confidence,
                ego_mask=polygons_of(parameters.ego_mask),
                edge_threshold=parameters.edge_threshold,
                min_height=parameters.cloud_min_height,
                max_height=parameters.cloud_max_height,
                ego_box=tuple(numbers_of(parameters.ego_box, what="ego_box")),
                voxel_size=parameters.voxel_size,
                outlier_radius=parameters.outlier_radius,
                outlier_neighbours=parameters.outlier_neighbours,
            ),
            split=SplitOptions(
                min_height=parameters.obstacle_min_height,
                max_height=parameters.obstacle_max_height,
                slope=parameters.obstacle_slope,
            ),
            scan=ScanOptions(
                min_height=parameters.scan_min_height,
                max_height=parameters.scan_max_height,
                min_range=parameters.scan_min_range,
                # +Inf says nothing of what is beyond max_range: a view that is free to there is free no farther.
                max_range=min(parameters.scan_max_range, parameters.max_range, max_depth),
                angle_increment=parameters.scan_angle_increment,
            ),
        )
    except ValueError as error:  # of filters, masks, scans, numbers: each says what was expected
        raise ParameterError(str(error)) from error


def polygons_of(text: str) -> tuple[Polygon, ...]:
    """Returns the polygons of 'u v, u v, u v; u v, u v, u v', pixels of the camera's image.

    Raises:
        MaskError: if one of them is no simple polygon.
    """
    return tuple(parse_polygon(part) for part in text.split(";") if part.strip())
