"""The algorithm in numpy and OpenCV: knows no ROS, no torch, no inference run time."""
