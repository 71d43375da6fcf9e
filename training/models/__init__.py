"""Networks: encoders with one interface, decoders of depth and of points, and PointNet, which reads points."""
