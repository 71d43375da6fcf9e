"""A user's own meshes and pictures in the rendered streets."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip("embreex", reason="embreex is not installed; see requirements/training.txt")
pytest.importorskip("trimesh", reason="trimesh is not installed; see requirements/training.txt")

import trimesh

from training.render.meshes import load_meshes
from training.render.pictures import load_pictures, picture_panel
from training.render.scene import make_scene
from training.render.stock import Folders, make_stock


def test_a_users_mesh_is_scaled_turned_coloured_and_put_on_the_ground(tmp_path):
    (tmp_path / "vehicles").mkdir()
    # A red box 42 wide, 15 high and 100 long in glTF's frame (y up, z forward), in a unit that is no metre.
    solid = trimesh.creation.box((42.0, 15.0, 100.0))
    solid.apply_translation((300.0, 7.5, -20.0))
    red = trimesh.visual.material.PBRMaterial(baseColorFactor=(255, 0, 0, 255))
    solid.visual = trimesh.visual.TextureVisuals(material=red)
    solid.export(tmp_path / "vehicles" / "wagon.glb")
    (mesh,) = load_meshes(tmp_path).vehicles
    corners = mesh.points.reshape(-1, 3)
    np.testing.assert_allclose(corners.min(axis=0), (-2.25, -0.945, 0.0), atol=1e-3)
    np.testing.assert_allclose(corners.max(axis=0), (2.25, 0.945, 0.675), atol=1e-3)
    assert mesh.colour[:, 0].min() > 0.8
    assert mesh.colour[:, 1:].max() < 0.05


def test_an_empty_mesh_folder_and_a_broken_file_are_told_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="vehicles, people or objects"):
        load_meshes(tmp_path)
    (tmp_path / "people").mkdir()
    (tmp_path / "people" / "nobody.obj").write_text("this is no mesh\n")
    with pytest.raises(ValueError, match=r"nobody\.obj"):
        load_meshes(tmp_path)


def test_a_users_picture_keeps_its_colours_and_sides_on_a_panel(tmp_path):
    image = np.zeros((40, 90, 3), np.uint8)
    image[:, :45] = (0, 0, 255)  # OpenCV's order: the left half is red, the right half green
    image[:, 45:] = (0, 255, 0)
    cv2.imwrite(str(tmp_path / "flag.png"), image)
    panel = picture_panel(load_pictures(tmp_path)[0], (4.0, 2.0), np.random.default_rng(0))
    x = panel.points.mean(axis=1)[:, 0]
    # Seen from -y, x runs to the right.
    assert (panel.colour[x < -1.5, 0] > 0.7).all()
    assert (panel.colour[x > 1.5, 1] > 0.7).all()
    np.testing.assert_allclose(np.ptp(panel.points.reshape(-1, 3), axis=0), (4, 0, 2), atol=1e-6)
    with pytest.raises(FileNotFoundError, match="no picture"):
        load_pictures(tmp_path / "none")


def test_meshes_and_pictures_of_the_user_appear_in_the_scene(tmp_path):
    (tmp_path / "objects").mkdir()
    trimesh.creation.icosphere(2, 0.5).export(tmp_path / "objects" / "ball.ply")
    cv2.imwrite(str(tmp_path / "p.png"), np.full((8, 8, 3), 200, np.uint8))
    stock = make_stock(3, Folders(tmp_path, tmp_path))
    plain = make_stock(3)
    assert len(stock.small_things) == 2 * len(plain.small_things)
    assert (len(stock.billboards), len(plain.billboards)) == (8, 0)
    assert len(make_scene(301, "city", "dense", folders=Folders(tmp_path, tmp_path)).mesh.points) > 10_000
