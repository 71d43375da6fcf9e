"""The depth node as a process of its own, with the shipped DDS profile and allocator settings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import recon3d_ros

STOP_SECONDS = 10.0


def share_folder() -> Path:
    """Returns the folder that holds config/, launch/ and rviz/: the checkout, or where they were installed.

    Raises:
        FileNotFoundError: if neither is there.
    """
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    places = [Path(recon3d_ros.__file__).parents[1], *(Path(p) / "share" / "recon3d_ros" for p in prefixes)]
    for place in places:
        if (place / "config" / "fastdds.xml").is_file():
            return place
    raise FileNotFoundError(f"config/fastdds.xml is in none of {', '.join(map(str, places))}; install the package")


def ros_environment() -> dict[str, str]:
    """Returns the variables that make large messages cheap: DDS profile and allocator (config/).

    They act at the start of a process; setting them inside one is too late. Let those that are set already win:
    a vehicle may have a profile of its own.
    """
    config = share_folder() / "config"
    lines = (config / "allocator.env").read_text(encoding="utf-8").splitlines()
    allocator = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    profile = str(config / "fastdds.xml")
    # The first name is read by Fast DDS 2 (Humble, Jazzy), the second by Fast DDS 3 (Kilted and later).
    return {"FASTRTPS_DEFAULT_PROFILES_FILE": profile, "FASTDDS_DEFAULT_PROFILES_FILE": profile, **allocator}


def use_ros_environment() -> None:
    """Sets these variables in this process, where they are not set yet; call it before rclpy is imported."""
    for name, value in ros_environment().items():
        os.environ.setdefault(name, value)


class NodeProcess:
    """A running depth node; leaving the context stops it with SIGINT, as Ctrl-C would."""

    def __init__(self, parameters: Mapping[str, Any], *, log: Path, program: Path | None = None) -> None:
        """Starts the node.

        Args:
            parameters: overrides by name.
            log: the file that takes its output.
            program: a script that runs the node, where it is not to be the package's own.
        """
        start = ["-m", "recon3d_ros.ros.depth_node"] if program is None else [str(program)]
        overrides = [word for name, value in parameters.items() for word in ("-p", f"{name}:={_yaml(value)}")]
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [sys.executable, *start, "--ros-args", *overrides],
            env={**ros_environment(), **os.environ, "PYTHONPATH": _python_path()},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """Returns the exit status, or None while the node runs."""
        return self._process.poll()

    def send_signal(self, number: int) -> None:
        """Sends the node a signal."""
        self._process.send_signal(number)

    def stop(self) -> int:
        """Asks the node to stop and returns its exit status; kills it after STOP_SECONDS."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            self._log.close()

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(str, value))}]"
    return str(value)


def _python_path() -> str:
    """Returns PYTHONPATH with the folder of this package at its end.

    In the folder above a checkout `python -m` takes the checkout itself, a folder of the package's name, for a
    namespace package, because an editable install comes after all folders of the path.
    """
    home = str(Path(recon3d_ros.__file__).parents[1])
    return os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), home])
