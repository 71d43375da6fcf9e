"""Labels of points: streets whose every point has its exact label, and PointNet on blocks of a cloud."""
