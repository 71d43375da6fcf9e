"""Labels of points: exact ones of rendered streets, blocks of a cloud, samples, and how labels are judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")
pytest.importorskip("embreex", reason="needs embreex: pip install -r requirements/training.txt")

from drives import write_drive  # noqa: E402
from toy_shapes import write_modelnet, write_shapenet_part  # noqa: E402

from recon3d_ros.core.camera import CameraModel  # noqa: E402
from training.checkpoints import load_network, save_checkpoint  # noqa: E402
from training.config import make_config, read_config  # noqa: E402
from training.datasets.files import DatasetError  # noqa: E402
from training.evaluate_points import evaluate_labels, label_metrics  # noqa: E402
from training.labels.blocks import BLOCK, in_block, label_cloud  # noqa: E402
from training.labels.look import COLOURS, WIDTH, draw, look, road_points  # noqa: E402
from training.labels.look import main as look_main  # noqa: E402
from training.labels.samples import LabelSamples, labelled_clouds  # noqa: E402
from training.labels.streets import LABELS, street_clouds  # noqa: E402
from training.labels.streets import main as streets_main  # noqa: E402
from training.models.pointnet import PointNet, PointNetConfig  # noqa: E402
from training.render.mesh import Sort, merge, named, place  # noqa: E402
from training.render.shapes import box  # noqa: E402
from training.train import main as train_main  # noqa: E402

CONFIG = Path(__file__).resolve().parents[1] / "training" / "configs" / "street_labels.yaml"
STREETS = PointNetConfig(labels=LABELS, per_point=True, points=64, global_channels=16)


@pytest.fixture(scope="module")
def clouds():
    return list(street_clouds(5, 2))


@pytest.fixture(scope="module")
def street_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("streets")
    streets_main([str(folder), "--scenes", "1", "--clouds", "3", "--seed", "4"])
    return folder


def test_a_mesh_keeps_the_sort_of_its_parts_wherever_it_is_placed() -> None:
    car = named(box((4.0, 2.0, 1.5), 8, (1, 1, 1)), Sort.VEHICLE)
    both = merge([box((1.0, 1.0, 1.0), 3, (1, 1, 1)), place(car, (5, 0, 0), 0.3)])
    assert set(both.sort[:12]) == {Sort.OTHER}
    assert set(both.sort[12:]) == {Sort.VEHICLE}


def test_a_street_has_its_road_at_0_and_things_above_it(clouds) -> None:
    for cloud in clouds:
        labels = cloud.labels
        assert cloud.points.dtype == np.float32 and np.isfinite(cloud.points).all()
        assert set(np.unique(labels)) <= set(range(len(LABELS)))
        near = np.hypot(*cloud.points[:, :2].T) < 15
        ground = near & (labels == Sort.GROUND)
        assert ground.sum() > 200
        assert abs(np.median(cloud.points[ground, 2])) < 0.3
        others = near & (labels != Sort.GROUND)
        assert cloud.points[others, 2].mean() > cloud.points[ground, 2].mean() + 0.3


def test_a_lidar_s_ground_is_where_its_beams_meet_it(clouds) -> None:
    lidar = clouds[0]
    ground = lidar.points[(lidar.labels == Sort.GROUND) & (np.abs(lidar.points[:, 2]) < 0.1)]
    # A beam 24.8 degrees down from a height between 0.5 and 3 m meets flat road no nearer than h / tan(24.8).
    nearest = np.hypot(*ground[:, :2].T).min()
    assert 1.0 < nearest < 7.0
    assert len(lidar.points) > 10_000 and np.hypot(*lidar.points[:, :2].T).max() < 51


def test_clouds_depend_on_the_seed_alone(clouds) -> None:
    again = next(street_clouds(5, 1))
    assert np.array_equal(again.points, clouds[0].points) and np.array_equal(again.labels, clouds[0].labels)


def test_a_block_is_a_column_in_its_own_frame() -> None:
    half = BLOCK / 2
    points = np.array([[10.0, 20, 1], [10 + half, 20 - half, 2], [10 + half + 0.1, 20, 0]], np.float32)
    local, chosen = in_block(points, np.array([10.0, 20.0]))
    assert chosen.tolist() == [0, 1]
    np.testing.assert_allclose(local, [[0, 0, 1 / half], [1, -1, 2 / half]], atol=1e-6)


def test_every_point_of_a_cloud_is_labelled_within_its_own_column() -> None:
    rng = np.random.default_rng(1)
    points = np.concatenate([rng.uniform(-20, 20, (500, 2)), rng.uniform(0, 3, (500, 1))], axis=1).astype(
        np.float32
    )
    sizes = []

    def scores_of(local: np.ndarray) -> np.ndarray:
        sizes.append(len(local))
        assert (np.abs(local[:, :2]) <= 1 + 1e-5).all()
        return np.stack([local[:, 2] < 1 / (BLOCK / 2), local[:, 2] >= 1 / (BLOCK / 2)], axis=1).astype(np.float32)

    labels = label_cloud(points, scores_of)
    assert labels.tolist() == (points[:, 2] >= 1).astype(int).tolist()
    assert sum(sizes) == 500 and len(sizes) == len(np.unique(np.floor(points[:, :2] / BLOCK), axis=0))
    assert label_cloud(np.zeros((0, 3), np.float32), scores_of).shape == (0,)
    points[7, 1] = np.nan
    with pytest.raises(ValueError, match="1 of 500 points are NaN or infinite"):
        label_cloud(points, scores_of)


def test_samples_of_streets_show_the_labels_of_their_points(street_folder: Path) -> None:
    samples = LabelSamples(labelled_clouds(street_folder, STREETS), points=64, seed=2)
    sample, again = samples[4], samples[4]
    assert sample["points"].shape == (64, 3) and sample["labels"].shape == (64,)
    assert all(torch.equal(sample[name], again[name]) for name in sample)
    assert not torch.equal(sample["points"], samples[7]["points"])
    heights = {sort: [] for sort in Sort}
    for number in range(30):
        one = samples[number]
        for z, label in zip(one["points"][:, 2].tolist(), one["labels"].tolist(), strict=True):
            heights[label].append(z * BLOCK / 2)
    assert abs(np.median(heights[Sort.GROUND])) < 0.5


def test_parts_and_whole_shapes_are_samples_too(tmp_path: Path) -> None:
    parts = PointNetConfig(labels=("Airplane/1", "Airplane/2", "Chair/1", "Chair/2"), per_point=True)
    folder = write_shapenet_part(tmp_path / "part", with_normals=False)
    points, labels = labelled_clouds(folder, parts)[3]
    assert ((labels == 3) == (points[:, 2] > 0)).all() and set(labels) == {2, 3}
    assert LabelSamples(labelled_clouds(folder, parts), points=100, seed=0)[0]["labels"].shape == (100,)
    kinds = PointNetConfig(labels=("slab", "post", "ball", "hoop"))
    shapes = labelled_clouds(write_modelnet(tmp_path / "modelnet"), kinds)
    found = [int(shapes[k][1]) for k in range(len(shapes))]
    assert sorted(found) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert LabelSamples(shapes, points=50, seed=0)[0]["labels"].shape == ()


def test_folders_that_do_not_fit_the_network_are_refused(tmp_path: Path, street_folder: Path) -> None:
    with pytest.raises(DatasetError, match="holds no labelled points; expected"):
        labelled_clouds(tmp_path, STREETS)
    with pytest.raises(DatasetError, match="streets have the labels"):
        labelled_clouds(street_folder, PointNetConfig(labels=("a", "b"), per_point=True))
    folder = write_shapenet_part(tmp_path / "part", with_normals=True)
    with pytest.raises(DatasetError, match=r"has parts \['Chair/2'\]"):
        labelled_clouds(folder, PointNetConfig(labels=("Chair/1", "Airplane/1"), per_point=True))[2]
    with pytest.raises(DatasetError, match=r"no categories \['Sofa'\]"):
        labelled_clouds(folder, PointNetConfig(labels=("Sofa/1", "Chair/1"), per_point=True))
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    with pytest.raises(DatasetError, match=r"broken\.npz: not a cloud with labels"):
        labelled_clouds(tmp_path, STREETS)[0]
    np.savez(tmp_path / "broken.npz", points=np.zeros((5, 3), np.float32), labels=np.zeros(4, np.uint8))
    with pytest.raises(DatasetError, match=r"points are \(5, 3\), labels \(4,\); expected"):
        labelled_clouds(tmp_path, STREETS)[0]


def test_the_iou_of_labels_is_that_by_hand() -> None:
    # Ten points of "a", eight found; six of "b", all found and two of "a" taken for it; "c" never occurs.
    metrics = label_metrics(np.array([[8, 2, 0], [0, 6, 0], [0, 0, 0]]), ("a", "b", "c"))
    assert metrics == pytest.approx(
        {"accuracy": 14 / 16, "mean_iou": (0.8 + 0.75) / 2, "iou_a": 0.8, "iou_b": 0.75}
    )


def test_one_command_trains_a_labeller(tmp_path: Path, street_folder: Path, capsys) -> None:
    options = ["--config", str(CONFIG), "--points", "64", "--global-channels", "16", "--batch-size", "4"]
    options += ["--steps", "40", "--no-board", "--validation", str(street_folder), "--validation-frames", "1"]
    train_main([str(street_folder), *options, "--out", str(tmp_path / "run")])
    assert "step 40 accuracy " in capsys.readouterr().out
    losses = [float(line.split(",")[3]) for line in (tmp_path / "run" / "log.csv").read_text().splitlines()]
    assert np.mean(losses[-8:]) < 0.85 * np.mean(losses[:8])


def test_a_network_that_knows_nothing_is_judged_so(street_folder: Path) -> None:
    torch.manual_seed(0)
    network = PointNet(STREETS).eval()
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    metrics = evaluate_labels(network, street_folder)  # all of it "other"
    assert metrics["iou_ground"] == metrics["iou_vehicle"] == 0.0 and metrics["mean_iou"] < 0.1


def test_the_configuration_that_ships_has_the_streets_labels() -> None:
    assert make_config(read_config(CONFIG), origin=str(CONFIG)).network.labels == LABELS


def test_points_of_a_camera_are_brought_above_the_road_below_it() -> None:
    # 1 m to the right, 0.5 m below a camera 1.5 m high, 10 m ahead.
    np.testing.assert_allclose(road_points(np.array([[1.0, 0.5, 10.0]]), 1.5), [[10.0, -1.0, 1.0]])


def test_a_point_is_drawn_where_the_camera_sees_it_in_its_label_s_colour() -> None:
    K = np.array([[60.0, 0, 37.5], [0, 62, 20.25], [0, 0, 1]])
    camera = CameraModel.from_calibration(width=80, height=48, K=K)
    image = np.zeros((48, 80, 3), np.uint8)
    shown = draw(image, camera, np.array([[1.0, 0.5, 10.0]], np.float32), np.array([int(Sort.VEHICLE)]))
    u, v = (37.5 + 60 * 0.1) * WIDTH / 80, (20.25 + 62 * 0.05) * WIDTH / 80
    assert shown.shape == (48 * WIDTH // 80, WIDTH, 3)
    assert shown[round(v), round(u)].tolist() == COLOURS[Sort.VEHICLE].tolist()
    assert (shown > 0).any(axis=2).sum() < 20


def test_a_labeller_is_looked_at_on_a_drive(tmp_path: Path, capsys) -> None:
    network = PointNet(STREETS).eval()
    save_checkpoint(tmp_path / "a.pt", network, weights=network.state_dict())
    drive = write_drive(tmp_path / "drive", 3)
    seen = look(tmp_path / "a.pt", drive, frames=2)
    assert seen.counts["lidar"].sum() == 2 * 4  # all returns lie within 50 m
    assert seen.counts["depth"].sum() > 0 and len(seen.label_seconds) == 2
    look_main([str(tmp_path / "a.pt"), str(drive), str(tmp_path / "out.png"), "--frames", "1"])
    assert "lidar  other" in capsys.readouterr().out and (tmp_path / "out.png").stat().st_size > 1000
    other = PointNet(PointNetConfig(labels=("a", "b"), per_point=True, global_channels=16))
    save_checkpoint(tmp_path / "b.pt", other, weights=other.state_dict())
    with pytest.raises(SystemExit):
        look_main([str(tmp_path / "b.pt"), str(drive), str(tmp_path / "out.png")])
    assert "has the labels ('a', 'b'), expected ('other'" in capsys.readouterr().err


def test_one_command_trains_a_classifier_that_tells_four_solids_apart(tmp_path: Path) -> None:
    shapes = write_modelnet(tmp_path / "modelnet")
    config = tmp_path / "solids.yaml"
    config.write_text(
        "task: labels\nnetwork: {labels: [slab, post, ball, hoop], points: 64, global_channels: 32}\n"
        "pretrained: false\nfreeze_stride: 0\nencoder_rate: 1.0\nfirst_part: 1.0\nbatch_size: 8\nsteps: 60\n"
        "learning_rate: 0.005\nema_decay: 0.8\nworkers: 0\n"
        "cross_entropy_weight: 1.0\northogonality_weight: 0.001\n"
    )
    train_main([str(shapes), "--config", str(config), "--no-board", "--out", str(tmp_path / "run")])
    metrics = evaluate_labels(load_network(tmp_path / "run" / "last.pt", "labels"), shapes)
    assert metrics["accuracy"] >= 7 / 8
