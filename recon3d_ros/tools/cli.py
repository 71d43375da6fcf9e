"""The `recon3d` command: one module for each sub-command, imported only when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType

import recon3d_ros

COMMANDS = {
    "demo": "play a recorded drive through the live node, and show and measure what comes out",
    "replay": "play a rosbag2 through real ROS 2 topics, with /clock",
    "run": "depth and point clouds of a bag, video or folder of images, without ROS",
    "bag": "make a rosbag2 of images or a video, or say what is in one",
    "eval": "depth error of the network on a drive with LiDAR or exact depth",
    "view": "image, depth, cloud, scale and timing of a recording on one time line, in rerun's viewer",
    "mesh": "fuse depth with poses, or a drive through the network, into a mesh",
    "engine": "build, prove, list and clear the TensorRT engines of a model",
    "policy": "the SROS 2 policy of the node with a vehicle's own parameters",
    "bench": "the network in each run time side by side, and the live node under load",
    "import": "make a public depth network's ONNX file keep this package's one-file contract",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a sub-command.

    Returns:
        0 if all went well, 1 if something was lost or failed, 2 if the command or its input was wrong.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    command = next((argument for argument in arguments if not argument.startswith("-")), "")
    args = _parser(command).parse_args(arguments)
    module = _module(args.command)
    try:
        result: int = module.main(args)
        return result
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        reason = _reason(error)
        if args.debug or not reason:
            raise
        print(f"recon3d {args.command}: {reason}", file=sys.stderr)
        return 2


def _parser(command: str) -> argparse.ArgumentParser:
    """Returns the parser, with the arguments of the one sub-command that is run."""
    parser = argparse.ArgumentParser(prog="recon3d", description=recon3d_ros.__doc__)
    parser.add_argument("--version", action="version", version=f"recon3d {recon3d_ros.__version__}")
    parser.add_argument("--debug", action="store_true", help="show where an error came from")
    commands = parser.add_subparsers(dest="command", required=True, metavar=" | ".join(COMMANDS))
    for name, description in COMMANDS.items():
        subparser = commands.add_parser(name, help=description, description=description)
        if name == command:
            _module(name).add_arguments(subparser)
    return parser


def _module(command: str) -> ModuleType:
    """Returns the module of a sub-command; that of `import`, a word of the language, is import_model."""
    name = {"import": "import_model"}.get(command, command)
    return importlib.import_module(f"recon3d_ros.tools.{name}")


def _reason(error: Exception) -> str:
    """Returns what to tell the user where a traceback would only hide it; "" for what is our own fault."""
    from recon3d_ros.bags.bag_path import BagError
    from recon3d_ros.core.camera import CameraError
    from recon3d_ros.core.drive import DriveError
    from recon3d_ros.core.encodings import EncodingError
    from recon3d_ros.core.fusion_settings import FusionError
    from recon3d_ros.core.lidar import LidarError
    from recon3d_ros.core.mesh_files import MeshFileError
    from recon3d_ros.core.model import ModelError
    from recon3d_ros.core.mounting import MountingError
    from recon3d_ros.core.poses import PoseError
    from recon3d_ros.engines import EngineError
    from recon3d_ros.tools.inputs import InputError

    if isinstance(error, ModuleNotFoundError) and error.name == "rclpy":
        return "needs ROS 2: source /opt/ros/<distro>/setup.bash, or pip install -r requirements/ros-jazzy.txt"
    known = (
        BagError,
        CameraError,
        DriveError,
        EncodingError,
        EngineError,
        FusionError,
        InputError,
        LidarError,
        MeshFileError,
        ModelError,
        MountingError,
        OSError,
        PoseError,
    )
    return str(error) if isinstance(error, known) else ""


if __name__ == "__main__":
    sys.exit(main())
