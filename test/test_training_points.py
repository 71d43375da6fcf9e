"""One image to points: rendered shapes with known points, the network, its losses, its training and its file."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")
onnx = pytest.importorskip("onnx", reason="needs onnx: pip install -r requirements/training.txt")
pytest.importorskip("embreex", reason="needs embreex: pip install -r requirements/training.txt")

import onnxruntime  # noqa: E402
from toy_shapes import off_text, solids, write_modelnet  # noqa: E402

from training.checkpoints import load_network  # noqa: E402
from training.checkpoints import main as checkpoints_main  # noqa: E402
from training.config import ConfigError, TrainConfig, make_config, read_config  # noqa: E402
from training.datasets.files import DatasetError  # noqa: E402
from training.evaluate_points import evaluate_points  # noqa: E402
from training.export import main as export_main  # noqa: E402
from training.models.image_to_points import ImageToPoints, ImageToPointsConfig  # noqa: E402
from training.shapes import load_surface, open_shapes  # noqa: E402
from training.shapes.catalogue import Shape  # noqa: E402
from training.shapes.samples import ShapeSamples  # noqa: E402
from training.shapes.stock import off_text as stock_off_text  # noqa: E402
from training.shapes.views import FOCAL_PART, render_view  # noqa: E402
from training.shapes.views import main as views_main  # noqa: E402
from training.stream import SOURCES, parse_source  # noqa: E402
from training.train import main as train_main  # noqa: E402
from training.trainer import loss_terms  # noqa: E402

SIZE, N = 64, 40
TINY = ImageToPointsConfig(encoder="tiny", image_size=SIZE, points=N, map_levels=1)
CONFIG = Path(__file__).resolve().parents[1] / "training" / "configs" / "image_to_points.yaml"


def run_config(**values: object) -> TrainConfig:
    sizes = dict.fromkeys(("first_height", "first_width", "height", "width"), SIZE)
    config = {"task": "points", "network": TINY, "pretrained": False, "chamfer_weight": 1.0, **sizes, **values}
    return TrainConfig(**config)


def shape_of(tmp_path: Path, name: str) -> Shape:
    (tmp_path / f"{name}.off").write_text(off_text(solids()[name]))
    return Shape(tmp_path / f"{name}.off", "solid", name)


@pytest.mark.parametrize(("name", "number"), [("slab", 7), ("hoop", 2)])  # that stand out from their background
def test_a_shape_s_points_fall_on_its_picture_and_fill_it(tmp_path: Path, name: str, number: int) -> None:
    view = render_view(shape_of(tmp_path, name), number, 128)
    points = view.points(4000, np.random.default_rng(1))
    background = view.image[0, 0].astype(int)
    seen = np.abs(view.image.astype(int) - background).max(axis=2) > 25
    best = 0.0
    for distance in np.linspace(2.1, 2.4, 31):  # of the camera, which was drawn by chance
        pixels = points[:, :2] / (points[:, 2:] + distance) * FOCAL_PART * 128 + 63.5
        drawn = np.zeros((128, 128), np.uint8)
        drawn[tuple(pixels.round().astype(int).T[::-1])] = 1
        drawn = cv2.morphologyEx(drawn, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) > 0
        best = max(best, (drawn & seen).sum() / (drawn | seen).sum())
    assert 0.02 < seen.mean() < 0.5
    assert best > 0.93  # intersection over union; rims are blurred


def test_views_differ_by_number_and_are_the_same_again(tmp_path: Path) -> None:
    shape = shape_of(tmp_path, "slab")
    first, other = render_view(shape, 0, SIZE), render_view(shape, 1, SIZE)
    render_view.cache_clear()
    assert np.array_equal(render_view(shape, 0, SIZE).image, first.image)
    assert not np.array_equal(first.image, other.image)
    R = first.R_camera_shape
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(R) == pytest.approx(1.0, abs=1e-6)


def test_the_command_writes_pictures_with_their_points(tmp_path: Path) -> None:
    shapes = write_modelnet(tmp_path / "shapes")
    out = tmp_path / "out"
    options = ["--category", "ball", "--split", "test", "--views", "2", "--size", "48", "--points", "77"]
    views_main([str(shapes), str(out), *options])
    assert sorted(path.name for path in (out / "ball").iterdir()) == [
        "ball_0002_000.npy", "ball_0002_000.png", "ball_0002_001.npy", "ball_0002_001.png",
    ]  # fmt: skip
    assert cv2.imread(str(out / "ball" / "ball_0002_001.png")).shape == (48, 48, 3)
    points = np.load(out / "ball" / "ball_0002_001.npy")
    assert points.shape == (77, 3)
    assert (np.linalg.norm(points, axis=1) < 0.5 * math.sqrt(1.1)).all()  # a ball of diameter 1, however turned


def test_the_command_says_what_is_wrong_without_a_traceback(tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        views_main([str(tmp_path), str(tmp_path / "out")])
    assert "no shape found" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        views_main([str(tmp_path), str(tmp_path / "out"), "--views", "0"])
    assert "--views is 0, expected 1 or more" in capsys.readouterr().err


def test_samples_depend_on_seed_and_number_and_take_every_shape_once_an_epoch(tmp_path: Path) -> None:
    shapes = open_shapes(write_modelnet(tmp_path / "shapes"), split="train")
    samples = ShapeSamples(shapes, width=SIZE, height=SIZE, seed=3, points=30)
    again = ShapeSamples(shapes, width=SIZE, height=SIZE, seed=3, points=30)
    assert samples[6]["image"].shape == (SIZE, SIZE, 3) and samples[6]["points"].shape == (30, 3)
    assert all(torch.equal(samples[6][name], again[6][name]) for name in ("image", "points"))
    assert not torch.equal(samples[6]["points"], samples[7]["points"])
    many = ShapeSamples(shapes, width=SIZE, height=SIZE, seed=3, points=400)
    # Mean distances of surfaces from their middle: no two of the four solids share one.
    radii = sorted(float(many[k]["points"].norm(dim=1).mean()) for k in range(4, 8))
    true = sorted(
        np.linalg.norm(load_surface(s.path).sample(9999, np.random.default_rng(0)), axis=1).mean() for s in shapes
    )
    np.testing.assert_allclose(radii, true, atol=0.02)
    assert min(np.diff(true)) > 0.02
    with pytest.raises(DatasetError, match="shown at 96x64, expected a square"):
        ShapeSamples(shapes, width=96, height=64, seed=0)
    with pytest.raises(DatasetError, match="there are no shapes to show"):
        ShapeSamples([], width=SIZE, height=SIZE, seed=0)


def test_both_branches_of_the_decoder_give_their_share_of_the_points() -> None:
    assert TINY.map_points == (SIZE // 32 * 2) ** 2 == 16
    network = ImageToPoints(TINY).eval()
    image = torch.randint(0, 256, (3, SIZE, SIZE, 3), dtype=torch.uint8)
    assert network(image).shape == (3, N, 3)
    assert ImageToPoints(dataclasses.replace(TINY, map_levels=0)).eval()(image).shape == (3, N, 3)
    with pytest.raises(ValueError, match=r"images are \(3, 64, 32, 3\), expected \(B, 64, 64, 3\)"):
        network(image[:, :, :32])


def test_the_losses_of_points_by_name_are_those_by_hand() -> None:
    # Points 1 and 3 along x, the truth 1 and 2: pairs (1, 1), (3, 2) one way and (1, 1), (1, 2) the other.
    points = torch.tensor([[[1.0, 0, 0], [3.0, 0, 0]]])
    batch = {"points": torch.tensor([[[1.0, 0, 0], [2.0 - 1e-6, 0, 0]]])}
    names = ("chamfer", "chamfer_squared", "mae", "mse", "cosine")
    terms = loss_terms(points, batch, run_config(**{f"{name}_weight": 1.0 for name in names}))
    assert terms["chamfer"].item() == pytest.approx(0.5 + 0.5, abs=1e-5)
    assert terms["chamfer_squared"].item() == pytest.approx(0.5 + 0.5, abs=1e-5)
    assert terms["mae"].item() == pytest.approx(2 / 12, abs=1e-5)  # of 4 pairs with 3 coordinates
    assert terms["mse"].item() == pytest.approx(2 / 12, abs=1e-5)
    # (1, 3, 1, 1) . (1, 2, 1, 2) = 10; lengths sqrt(12) and sqrt(10).
    assert terms["cosine"].item() == pytest.approx(1 - 10 / math.sqrt(120), abs=1e-5)
    assert terms["loss"].item() == pytest.approx(sum(terms[name].item() for name in names), abs=1e-5)


def test_one_command_trains_resumes_judges_and_exports(tmp_path: Path, capsys) -> None:
    shapes, run = write_modelnet(tmp_path / "shapes"), tmp_path / "run"
    small = ["--image-size", "64", "--points", "40", "--map-levels", "1", "--no-board"]
    small += ["--first-height", "64", "--first-width", "64", "--batch-size", "4"]
    train_main([str(shapes), "--config", str(CONFIG), *small, "--steps", "30", "--out", str(run)])
    losses = [float(line.split(",")[3]) for line in (run / "log.csv").read_text().splitlines()]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    validated = [str(shapes), "--out", str(run), "--resume", "--steps", "31", "--no-board"]
    train_main([*validated, "--validation", str(shapes)])
    assert "step 31 chamfer " in capsys.readouterr().out
    assert (run / "best.pt").is_file() and json.loads((run / "config.json").read_text())["task"] == "points"
    checkpoints_main([str(run / "last.pt"), str(tmp_path / "points.safetensors")])
    assert load_network(tmp_path / "points.safetensors", "points").config == TINY
    export_main([str(tmp_path / "points.safetensors"), str(tmp_path / "points.onnx")])
    session = onnxruntime.InferenceSession(str(tmp_path / "points.onnx"))
    image = np.zeros((3, SIZE, SIZE, 3), np.uint8)
    assert session.run(["points"], {"image": image})[0].shape == (3, N, 3)
    metadata = {p.key: p.value for p in onnx.load(tmp_path / "points.onnx").metadata_props}
    assert metadata["task"] == "points" and len(metadata["sha256"]) == 64


def test_the_metrics_of_points_are_worst_for_a_network_that_gives_one_point(tmp_path: Path) -> None:
    shapes = write_modelnet(tmp_path / "shapes")
    network = ImageToPoints(TINY).eval()
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    metrics = evaluate_points(network, shapes, limit=3)
    # All at the middle: twice the mean distance of the surface from it, at most half a diagonal of the unit cube.
    assert 0.3 < metrics["chamfer"] < math.sqrt(3) and metrics["f_score"] == 0.0
    assert metrics["chamfer_of_truth"] < 0.5 * metrics["chamfer"]
    assert metrics["f_score_of_truth"] > 0.0


def test_a_thing_of_the_streets_becomes_a_shape_of_its_own_size(tmp_path: Path) -> None:
    from training.render.shapes import box

    path = tmp_path / "box.off"
    path.write_text(stock_off_text(box((4.0, 1.0, 2.0), 12, (0.5, 0.5, 0.5), centre=(7, 0, 0))))
    corners = load_surface(path).triangles.reshape(-1, 3)
    np.testing.assert_allclose(np.ptp(corners, axis=0), [1.0, 0.25, 0.5], atol=1e-4)


def test_the_configuration_that_ships_is_one() -> None:
    config = make_config(read_config(CONFIG), origin=str(CONFIG))
    assert config.network == ImageToPointsConfig(encoder="tiny")
    assert callable(parse_source("somewhere:2", SOURCES[config.task](config)).open_samples)


@pytest.mark.parametrize(
    ("network", "values", "message"),
    [
        ({"points": 10, "image_size": 64}, {}, "points is 10, expected more than the 64 of the map branch"),
        ({"image_size": 100}, {}, "image_size is 100, expected a multiple of 32"),
        ({"map_levels": 9}, {}, "map_levels is 9, expected 0 to 3"),
        ({"encoder": "vgg"}, {}, "encoder is 'vgg', expected one of"),
        ({"image_size": 64}, {}, "'first_width': 416.* differ from the network's image_size, 64"),
        ({"image_size": 64}, {"silog_weight": 2.0}, "silog_weight is 2.0, but task points knows only"),
    ],
)
def test_configurations_that_cannot_be_are_refused(network: dict, values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config({"task": "points", "chamfer_weight": 1, "network": network, **values}, origin="test")
