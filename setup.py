"""Builds recon3d_ros for colcon (ament_python) and for pip; training/ is used from a checkout, not installed."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

MANIFEST = ElementTree.parse(Path(__file__).with_name("package.xml")).getroot()
NAME = MANIFEST.findtext("name")
MAINTAINER = MANIFEST.find("maintainer")
SHARE = f"share/{NAME}"

setup(
    name=NAME,
    version=MANIFEST.findtext("version"),
    description=MANIFEST.findtext("description"),
    license=MANIFEST.findtext("license"),
    maintainer=MAINTAINER.text,
    maintainer_email=MAINTAINER.get("email"),
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["models/*.onnx", "models/SHA256SUMS", "demo_drive/*.*", "demo_drive/*/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (SHARE, ["package.xml"]),
        *(
            (f"{SHARE}/{folder}", sorted(map(str, Path(folder).glob("*"))))
            for folder in ("launch", "config", "rviz")
        ),
    ],
    entry_points={
        "console_scripts": [
            "depth_node = recon3d_ros.ros.depth_node:main",
            "map_node = recon3d_ros.ros.map_node:main",
            "recon3d = recon3d_ros.tools.cli:main",
        ]
    },
    python_requires=">=3.10",
    install_requires=[
        "numpy>=1.21",
        "onnxruntime>=1.16",
        "opencv-python-headless>=4.5",
        "pyyaml>=5.4",
        "rosbags>=0.11",
        "tqdm>=4.57",
    ],
    extras_require={
        "fast": ["numba>=0.55"],
        "onnx": ["onnx>=1.14"],
        "openvino": ["openvino>=2024.0"],
        "tensorrt": ["cuda-bindings>=12.6", "onnx>=1.14"],  # beside TensorRT itself, which JetPack brings
        "tensorrt-rtx": ["cuda-bindings>=13.0", "onnx>=1.14", "tensorrt-rtx-cu13>=1.2"],
        "reconstruction": ["libusb-package>=1.0.26", "open3d>=0.18", "trimesh>=4.0"],
        "view": ["rerun-sdk>=0.30"],
        "test": ["pytest>=6.2"],
    },
    zip_safe=True,
)
