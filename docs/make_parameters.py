"""Prints docs/parameters.md from the node's dataclass: python docs/make_parameters.py > docs/parameters.md."""

from __future__ import annotations

import dataclasses

from recon3d_ros.ros.parameters import DepthNodeParameters

HEAD = """# Parameters

Made from the node's own declaration by `python docs/make_parameters.py`. Set them in a parameter file (the
launch argument `params_file`), or, those marked live, while the node runs:
`ros2 param set /recon3d_depth max_range 40.0`. Of those marked per camera a camera can have a value of its own:
`front.max_range: 40.0`.

An unknown name, a wrong type or a value out of range stops the node with a message that says what is expected.

| name | default | allowed | what it does | live | per camera |
|---|---|---|---|---|---|"""


def rows() -> list[str]:
    """Returns a row of the table for each parameter."""
    table = []
    for item in dataclasses.fields(DepthNodeParameters):
        about = item.metadata
        default = list(item.default) if isinstance(item.default, tuple) else item.default
        text = str(default).lower() if isinstance(default, bool) else str(default)
        allowed = ", ".join(about["choices"])
        if about["minimum"] is not None:
            allowed = f"{about['minimum']:.10g} to {about['maximum']:.10g}"
        live, own = ("yes" if about[key] else "" for key in ("live", "per_camera"))
        cells = (f"`{item.name}`", f"`{text}`" if text else "empty", allowed, about["description"], live, own)
        table.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return table


if __name__ == "__main__":
    print("\n".join([HEAD, *rows()]))
