"""The environment of a process that publishes large messages, read from the files in config/."""

from __future__ import annotations

import os
from pathlib import Path

# The first name is read by Fast DDS 2 (Humble, Jazzy), the second by Fast DDS 3 (Kilted and later).
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")


def node_environment(config: Path) -> dict[str, str]:
    """Returns the variables that a node's process needs: the Fast DDS profile and the allocator's settings.

    A variable that is set already keeps its value, so that a vehicle's own profile wins. The variables act at
    the start of a process; setting them inside one is too late.

    Args:
        config: the folder of fastdds.xml and allocator.env; installed, it is share/recon3d_ros/config.
    """
    lines = (config / "allocator.env").read_text(encoding="utf-8").splitlines()
    settings = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    settings.update((name, str(config / "fastdds.xml")) for name in PROFILE_VARIABLES)
    return {name: os.environ.get(name, value) for name, value in settings.items()}
