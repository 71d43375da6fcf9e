"""The topics of one camera in a bag."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CameraTopics:
    """The topics of one camera; `camera_info` is "" where the calibration comes from elsewhere."""

    image: str
    camera_info: str

    @property
    def name(self) -> str:
        """The camera's namespace: "front" of /front/image_raw; "camera" where there is none."""
        return base_topic(self.image).rpartition("/")[0].strip("/") or "camera"


def base_topic(image_topic: str) -> str:
    """Returns the topic without the suffix that image_transport adds to it."""
    return image_topic.removesuffix("/compressed")
