"""Metric depth and point clouds from a vehicle's cameras, in ROS 2."""

__version__ = "0.1.0"
