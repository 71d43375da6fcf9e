"""Shape data sets: meshes (ShapeNetCore, ModelNet40) as points and images, labelled clouds (ShapeNetPart)."""

from training.shapes.catalogue import Shape, open_shapes
from training.shapes.surface import ShapeSurface, load_surface, resampled

__all__ = ["Shape", "ShapeSurface", "load_surface", "open_shapes", "resampled"]
