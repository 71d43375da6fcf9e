"""Tiny folders in the exact layout of ShapeNetCore v1 and v2, ModelNet40 and ShapeNetPart; meshes made by code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import trimesh

SYNSETS = {"02691156": "airplane,aeroplane,plane", "03001627": "chair"}


def solids() -> dict[str, trimesh.Trimesh]:
    """Returns a few meshes of different shape and size, by name, z up."""
    return {
        "slab": trimesh.creation.box((4.0, 2.0, 1.0)),
        "post": trimesh.creation.cylinder(radius=0.2, height=1.5, sections=12),
        "ball": trimesh.creation.icosphere(subdivisions=1, radius=30.0),
        "hoop": trimesh.creation.torus(2.0, 0.5, major_sections=12, minor_sections=8),
    }


def write_shapenet(folder: Path, *, version: int) -> Path:
    """Writes two categories of two models each; y is up in the files, as ShapeNet has it."""
    (folder).mkdir(parents=True)
    entries = [
        {"synsetId": number, "name": name, "children": [], "numInstances": 2} for number, name in SYNSETS.items()
    ]
    (folder / "taxonomy.json").write_text(json.dumps(entries))
    for index, (name, mesh) in enumerate(solids().items()):
        model = folder / list(SYNSETS)[index // 2] / f"{index:032x}"
        path = model / ("model.obj" if version == 1 else "models/model_normalized.obj")
        path.parent.mkdir(parents=True)
        lines = ["mtllib missing.mtl", f"o {name}", "usemtl missing"]
        lines += [f"v {x:.6f} {z:.6f} {-y:.6f}" for x, y, z in mesh.vertices]
        lines += ["f " + " ".join(str(k + 1) for k in face) for face in mesh.faces]
        path.write_text("\n".join(lines) + "\n")
    return folder


def off_text(mesh: trimesh.Trimesh, *, header: str = "OFF\n") -> str:
    numbers = f"{len(mesh.vertices)} {len(mesh.faces)} 0\n"
    rows = [" ".join(f"{x:.6f}" for x in vertex) for vertex in mesh.vertices]
    rows += ["3 " + " ".join(str(k) for k in face) for face in mesh.faces]
    return header + numbers + "\n".join(rows) + "\n"


def write_modelnet(folder: Path) -> Path:
    """Writes a train and a test shape for each solid; every second file's header runs into its numbers."""
    for index, (name, mesh) in enumerate(solids().items()):
        for number, split in enumerate(("train", "test")):
            path = folder / name / split / f"{name}_{number + 1:04d}.off"
            path.parent.mkdir(parents=True)
            path.write_text(off_text(mesh, header="OFF" if index % 2 else "OFF\n"))
    return folder


def part_cloud(mesh: trimesh.Trimesh, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Returns points (count, 3) and their parts (count,): 1 below the middle, 2 above it."""
    points = np.asarray(trimesh.sample.sample_surface(mesh, count, seed=3)[0], dtype=np.float32)
    return points, np.where(points[:, 2] > 0, 2, 1)


def write_shapenet_part(folder: Path, *, with_normals: bool) -> Path:
    folder.mkdir(parents=True)
    (folder / "synsetoffset2category.txt").write_text("Airplane\t02691156\nChair\t03001627\n")
    for index, mesh in enumerate(solids().values()):
        synset = folder / list(SYNSETS)[index // 2]
        points, parts = part_cloud(mesh)
        if with_normals:
            synset.mkdir(exist_ok=True)
            table = np.column_stack([points, np.zeros_like(points), parts])
            np.savetxt(synset / f"{index:032x}.txt", table, fmt="%.6f")
        else:
            for part in ("points", "points_label"):
                (synset / part).mkdir(parents=True, exist_ok=True)
            np.savetxt(synset / "points" / f"{index:032x}.pts", points, fmt="%.6f")
            np.savetxt(synset / "points_label" / f"{index:032x}.seg", parts, fmt="%d")
    return folder
