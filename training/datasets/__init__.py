"""Data adapters: every kind of recording as the same Frame, and frames as training samples.

An adapter is a class with `__len__` and `__getitem__(index) -> Frame`, in a file of its own.
"""

from training.datasets.frame import Frame, Frames, augment_geometry, crop_frame, flip_frame, lidar_frame
from training.datasets.recordings import open_frames
from training.datasets.rendered import ShardFrames, list_shards
from training.datasets.samples import FrameSamples, TrainingSamples, augmented_sample

__all__ = [
    "Frame",
    "FrameSamples",
    "Frames",
    "ShardFrames",
    "TrainingSamples",
    "augment_geometry",
    "augmented_sample",
    "crop_frame",
    "flip_frame",
    "lidar_frame",
    "list_shards",
    "open_frames",
]
