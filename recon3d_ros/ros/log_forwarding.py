"""What core and engines log goes to the node's own log."""

from __future__ import annotations

import logging
from typing import Any

PACKAGE = "recon3d_ros"


class RosLogHandler(logging.Handler):
    """Hands records of this package's modules to a ROS logger, from INFO upward."""

    def __init__(self, logger: Any) -> None:
        super().__init__(logging.INFO)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        # One line for each severity: rclpy refuses a line of code that changes its own.
        if record.levelno >= logging.ERROR:
            self._logger.error(message)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(message)
        else:
            self._logger.info(message)

    def start(self) -> None:
        """Begins to hand records on; they are logged from INFO upward from now on."""
        package = logging.getLogger(PACKAGE)
        package.addHandler(self)
        if package.getEffectiveLevel() > logging.INFO:
            package.setLevel(logging.INFO)

    def stop(self) -> None:
        """Ends it."""
        logging.getLogger(PACKAGE).removeHandler(self)
