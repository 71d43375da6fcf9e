"""Shape data sets: folders in their exact layouts, meshes made by code, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")
trimesh = pytest.importorskip("trimesh", reason="needs trimesh: pip install -r requirements/training.txt")

from toy_shapes import off_text, part_cloud, solids, write_modelnet, write_shapenet, write_shapenet_part  # noqa: E402

from training.datasets.files import DatasetError  # noqa: E402
from training.shapes import load_surface, open_shapes, resampled  # noqa: E402
from training.shapes.shapenet_part import ShapeNetPart  # noqa: E402


@pytest.mark.parametrize("version", [1, 2])
def test_shapenet_lists_its_models_by_the_first_name_of_their_category(tmp_path: Path, version: int) -> None:
    shapes = open_shapes(write_shapenet(tmp_path / "shapenet", version=version))
    assert [(shape.category, shape.name[-1]) for shape in shapes] == [
        ("airplane", "0"), ("airplane", "1"), ("chair", "2"), ("chair", "3"),
    ]  # fmt: skip
    assert all(shape.path.is_file() for shape in shapes)


@pytest.mark.parametrize("category", ["chair", "03001627"])
def test_categories_are_chosen_by_name_or_by_number(tmp_path: Path, category: str) -> None:
    shapes = open_shapes(write_shapenet(tmp_path / "shapenet", version=2), categories=[category])
    assert {shape.category for shape in shapes} == {"chair"} and len(shapes) == 2


@pytest.mark.parametrize(("split", "count"), [("train", 4), ("test", 4), ("", 8)])
def test_modelnet_lists_its_shapes_by_category_and_split(tmp_path: Path, split: str, count: int) -> None:
    shapes = open_shapes(write_modelnet(tmp_path / "modelnet"), split=split)
    assert {shape.category for shape in shapes} == set(solids())
    assert len(shapes) == count
    assert all(shape.path.parent.name == split for shape in shapes if split)


@pytest.mark.parametrize("header", ["OFF\n", "OFF", "OFF\r\n", "OFF\n# a comment\n"])
def test_an_off_file_is_read_with_its_header_run_together_or_not(tmp_path: Path, header: str) -> None:
    path = tmp_path / "slab.off"
    path.write_bytes(off_text(solids()["slab"], header=header).encode())
    corners = load_surface(path).triangles.reshape(-1, 3)
    assert len(corners) == 12 * 3
    # 4 x 2 x 1 about the origin, its longest side brought to 1.
    np.testing.assert_allclose(np.abs(corners), np.tile([0.5, 0.25, 0.125], (36, 1)), atol=1e-6)


def test_a_file_of_shapenet_stands_upright(tmp_path: Path) -> None:
    by_name = {s.name[-1]: s for s in open_shapes(write_shapenet(tmp_path / "shapenet", version=1))}
    slab, post = (load_surface(by_name[number].path).triangles.reshape(-1, 3) for number in "01")
    np.testing.assert_allclose(np.ptp(slab, axis=0), [1, 0.5, 0.25], atol=1e-6)
    np.testing.assert_allclose(np.ptp(post, axis=0), [0.4 / 1.5, 0.4 / 1.5, 1], atol=1e-5)


def test_a_shape_off_its_origin_is_centred(tmp_path: Path) -> None:
    mesh = solids()["slab"]
    mesh.apply_translation((100.0, -7.0, 3.0))
    (tmp_path / "far.off").write_text(off_text(mesh))
    corners = load_surface(tmp_path / "far.off").triangles.reshape(-1, 3)
    np.testing.assert_allclose(corners.min(axis=0) + corners.max(axis=0), 0.0, atol=1e-6)


def test_samples_lie_on_the_surface_and_are_spread_by_area(tmp_path: Path) -> None:
    (tmp_path / "slab.off").write_text(off_text(solids()["slab"]))
    points = load_surface(tmp_path / "slab.off").sample(20_000, np.random.default_rng(5))
    sides = np.array([0.5, 0.25, 0.125])
    on_face = np.isclose(np.abs(points), sides, atol=1e-6)
    assert points.shape == (20_000, 3) and points.dtype == np.float32
    assert on_face.any(axis=1).all() and (np.abs(points) <= sides + 1e-6).all()
    # Faces of 4 x 2, 4 x 1 and 2 x 1: shares of 8, 4 and 2 parts of 14.
    np.testing.assert_allclose(on_face.mean(axis=0), [2 / 14, 4 / 14, 8 / 14], atol=0.015)
    np.testing.assert_allclose(points.mean(axis=0), 0.0, atol=0.01)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("OFF\n3 1 0\n0 0 0\n1 0 0\n0 nan 0\n3 0 1 2\n", "1 of 1 triangles have a corner that is NaN"),
        ("OFF\n3 1 0\n0 0 0\n1 0 0\n", "cannot be read as a mesh"),
        ("OFF\n3 1 0\n0 0 0\n1 0 0\n2 0 0\n3 0 1 2\n", "its 1 triangles have no area"),
        ("", "cannot be read as a mesh"),
        ("PLY 3 1 0\n", "cannot be read as a mesh"),
    ],
)
def test_damaged_meshes_are_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.off"
    path.write_text(text)
    with pytest.raises(DatasetError, match=rf"bad\.off: .*{message}"):
        load_surface(path)


def test_an_empty_folder_says_which_layouts_are_known(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no shape found; expected ShapeNetCore .*taxonomy.* or ModelNet40"):
        open_shapes(tmp_path)
    (tmp_path / "taxonomy.json").write_text("[]")
    with pytest.raises(DatasetError, match="and no model; expected"):
        open_shapes(tmp_path)


def test_an_unknown_category_is_told_with_those_that_exist(tmp_path: Path) -> None:
    modelnet = write_modelnet(tmp_path / "modelnet")
    with pytest.raises(DatasetError, match=r"categories \['sofa'\]; it has \['ball', 'hoop', 'post', 'slab'\]"):
        open_shapes(modelnet, categories=["ball", "sofa"])
    shapenet = write_shapenet(tmp_path / "shapenet", version=2)
    with pytest.raises(DatasetError, match=r"\['02958343'\]; it has \['airplane', 'chair'\]"):
        open_shapes(shapenet, categories=["02958343"])


def test_a_split_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="split is 'val', expected one of"):
        open_shapes(write_modelnet(tmp_path / "modelnet"), split="val")
    with pytest.raises(DatasetError, match="know no split 'test'"):
        open_shapes(write_shapenet(tmp_path / "shapenet", version=2), split="test")


def test_a_damaged_taxonomy_and_a_model_that_it_does_not_know_are_refused(tmp_path: Path) -> None:
    folder = write_shapenet(tmp_path / "shapenet", version=2)
    (folder / "taxonomy.json").write_text('[{"synsetId": "02691156", "name": "airplane"}]')
    with pytest.raises(DatasetError, match="category 03001627 is not in"):
        open_shapes(folder)
    (folder / "taxonomy.json").write_text('{"02691156": "airplane"}')
    with pytest.raises(DatasetError, match="not a taxonomy of ShapeNet"):
        open_shapes(folder)


@pytest.mark.parametrize("with_normals", [False, True])
def test_shapenet_part_is_read_in_both_layouts(tmp_path: Path, with_normals: bool) -> None:
    clouds = ShapeNetPart(write_shapenet_part(tmp_path / "part", with_normals=with_normals))
    assert len(clouds) == 4
    assert [clouds[k].category for k in range(4)] == ["Airplane", "Airplane", "Chair", "Chair"]
    points, parts = part_cloud(solids()["ball"])
    np.testing.assert_allclose(clouds[2].points, points, atol=1e-5)
    assert clouds[2].labels.tolist() == parts.tolist()
    assert len(ShapeNetPart(tmp_path / "part", categories=["Chair"])) == 2


def test_what_is_wrong_in_shapenet_part_is_told(tmp_path: Path) -> None:
    folder = write_shapenet_part(tmp_path / "part", with_normals=False)
    with pytest.raises(DatasetError, match=r"no categories \['Sofa'\]; it has \['Airplane', 'Chair'\]"):
        ShapeNetPart(folder, categories=["Sofa"])
    path, _ = ShapeNetPart(folder).files[0]
    labels = folder / "02691156" / "points_label" / f"{path.stem}.seg"
    labels.write_text("1\n2\n")
    with pytest.raises(DatasetError, match="has 60 points and 2 labels"):
        ShapeNetPart(folder)[0]
    path.write_text("0 0 nan\n0 1 0\n")
    with pytest.raises(DatasetError, match="1 of 2 rows hold NaN or Inf"):
        ShapeNetPart(folder)[0]
    path.write_text("")
    with pytest.raises(DatasetError, match="expected rows of 3 numbers"):
        ShapeNetPart(folder)[0]
    with pytest.raises(DatasetError, match="not a list of 'Name SYNSET' lines"):
        ShapeNetPart(tmp_path)


def test_a_choice_of_points_takes_each_once_or_all_of_too_few() -> None:
    rng = np.random.default_rng(2)
    points = rng.normal(size=(50, 3)).astype(np.float32)
    assert len(set(resampled(points, 40, rng).tolist())) == 40
    many = resampled(points[:7], 40, rng)
    assert len(many) == 40 and set(many.tolist()) == set(range(7))


def test_a_choice_of_points_of_an_empty_or_broken_cloud_is_refused() -> None:
    rng = np.random.default_rng(2)
    with pytest.raises(ValueError, match="the cloud has no point, expected finite points to take 8 of"):
        resampled(np.zeros((0, 3), np.float32), 8, rng)
    with pytest.raises(ValueError, match="1 of 2 points are NaN"):
        resampled(np.array([[0, 0, 0], [0, np.nan, 0]], np.float32), 8, rng)
