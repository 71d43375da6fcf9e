"""PointNet: no order of points changes its answer, its transforms, its regulariser, and what it can learn."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")
onnx = pytest.importorskip("onnx", reason="needs onnx: pip install -r requirements/training.txt")

import onnxruntime  # noqa: E402

from training.checkpoints import CheckpointError, load_network, save_checkpoint  # noqa: E402
from training.config import ConfigError, TrainConfig, make_config  # noqa: E402
from training.export import main as export_main  # noqa: E402
from training.models.pointnet import PointNet, PointNetConfig, orthogonality  # noqa: E402
from training.tasks import TASKS  # noqa: E402
from training.trainer import build_state, loss_terms, set_train_mode, train_step  # noqa: E402

LABELS = ("ground", "pole", "person")
SMALL = PointNetConfig(labels=LABELS, global_channels=32)
SMALL_PARTS = PointNetConfig(labels=LABELS, global_channels=32, per_point=True)
B, N = 2, 37


def trained_like(config: PointNetConfig) -> PointNet:
    """Returns a network whose transforms and statistics are not those it starts with."""
    torch.manual_seed(3)
    network = PointNet(config)
    for transform in (network.encoder.input_transform, network.encoder.feature_transform):
        torch.nn.init.normal_(transform.matrix.weight, std=0.05)
    network.train()
    for _ in range(3):
        network(torch.randn(4, 50, 3) * 2 + 1)
    return network.eval()


def clouds() -> torch.Tensor:
    return torch.randn(B, N, 3, generator=torch.manual_seed(8))


@torch.inference_mode()
def test_the_class_of_a_cloud_does_not_depend_on_the_order_of_its_points() -> None:
    network, points = trained_like(SMALL).double(), clouds().double()
    expected, transform = network(points)
    assert expected.shape == (B, len(LABELS)) and transform.shape == (B, 64, 64)
    for seed in range(5):
        order = torch.randperm(N, generator=torch.manual_seed(seed))
        assert torch.equal(network(points[:, order])[0], expected)


@torch.inference_mode()
def test_the_label_of_a_point_moves_with_it() -> None:
    network, points = trained_like(SMALL_PARTS).double(), clouds().double()
    expected, _ = network(points)
    assert expected.shape == (B, N, len(LABELS))
    assert not torch.equal(expected[:, 0], expected[:, 1])
    for seed in range(5):
        order = torch.randperm(N, generator=torch.manual_seed(seed))
        assert torch.equal(network(points[:, order])[0], expected[:, order])


@torch.inference_mode()
def test_points_given_twice_change_nothing() -> None:
    network, points = trained_like(SMALL).double(), clouds().double()
    assert torch.equal(network(torch.cat([points, points[:, :9]], dim=1))[0], network(points)[0])


def test_a_network_begins_with_both_transforms_the_identity() -> None:
    encoder = PointNet(SMALL).eval().encoder
    for transform, k in ((encoder.input_transform, 3), (encoder.feature_transform, 64)):
        assert torch.equal(transform(torch.randn(B, k, N)), torch.eye(k).expand(B, k, k))


def test_the_input_transform_turns_the_points_that_the_network_sees() -> None:
    # With a transform that always gives A, the network must answer for points as one without it for points @ A.
    network, points = trained_like(SMALL), clouds()
    matrix = torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 2]])
    answers = []
    for given, bias in ((points, matrix), (points @ matrix, torch.eye(3))):
        layer = network.encoder.input_transform.matrix
        torch.nn.init.zeros_(layer.weight)
        layer.bias.data = (bias - torch.eye(3)).flatten()
        answers.append(network(given)[0])
    torch.testing.assert_close(*answers)


def test_the_regulariser_is_0_for_rotations_and_by_hand_for_others() -> None:
    c, s = math.cos(0.7), math.sin(0.7)
    rotation = torch.tensor([[[c, -s, 0], [s, c, 0], [0, 0, 1.0]]])
    assert orthogonality(rotation).item() == pytest.approx(0.0, abs=1e-12)
    # A = 2 I: I - 4 I = -3 I, squared and added up 27. A = [[1, 1], [0, 1]]: A A^T = [[2, 1], [1, 1]]: 1 + 1 + 1.
    assert orthogonality(2 * torch.eye(3)[None]).item() == pytest.approx(27.0)
    assert orthogonality(torch.tensor([[[1.0, 1], [0, 1]]])).item() == pytest.approx(3.0)


def run_config(network: PointNetConfig, **weights: float) -> TrainConfig:
    own = {"cross_entropy_weight": 1.0, "orthogonality_weight": 0.001, **weights}
    return TrainConfig(
        task="labels", network=network, pretrained=False, freeze_stride=0, encoder_rate=1.0, steps=40,
        learning_rate=5e-3, **own,
    )  # fmt: skip


def test_a_batch_of_parts_is_learned() -> None:
    points = torch.rand(4, 64, 3, generator=torch.manual_seed(1))
    batch = {"points": points, "labels": (points[..., 2] > 0.5).long() + (points[..., 0] > 0.7).long()}
    config = run_config(SMALL_PARTS)
    state = build_state(config)
    set_train_mode(state.network, config)
    values = [train_step(state, batch, config) for _ in range(config.steps)]
    assert values[-1]["cross_entropy"] < 0.5 * values[0]["cross_entropy"]
    assert set(values[0]) == {"loss", "cross_entropy", "orthogonality", "gradient_norm"}


def test_the_losses_of_labels_by_name_are_those_by_hand() -> None:
    # Probabilities (1/2, 1/4, 1/4) for a point of label 1; a second point is unknown and counts for nothing.
    logits = torch.log(torch.tensor([[[0.5, 0.25, 0.25], [0.9, 0.05, 0.05]]]))
    batch = {"labels": torch.tensor([[1, -1]])}
    config = run_config(SMALL_PARTS, mae_weight=1.0, mse_weight=1.0, cosine_weight=1.0)
    terms = loss_terms((logits, torch.eye(64)[None]), batch, config)
    assert terms["cross_entropy"].item() == pytest.approx(math.log(4))
    assert terms["mae"].item() == pytest.approx((0.5 + 0.75 + 0.25) / 3)
    assert terms["mse"].item() == pytest.approx((0.25 + 0.5625 + 0.0625) / 3)
    assert terms["cosine"].item() == pytest.approx(1 - 0.25 / math.sqrt(0.375))
    assert terms["orthogonality"].item() == 0.0


def test_every_loss_that_a_task_names_exists_and_has_a_weight() -> None:
    batch = {
        "depth": torch.ones(2, 4, 6), "valid_mask": torch.ones(2, 4, 6) > 0, "K": torch.eye(3).repeat(2, 1, 1),
        "points": torch.rand(2, 7, 3), "labels": torch.zeros(2, 5, dtype=torch.long),
    }  # fmt: skip
    outputs = {
        "depth": (torch.zeros(2, 4, 6), torch.zeros(2, 4, 6)),
        "points": torch.rand(2, 9, 3),
        "labels": (torch.zeros(2, 5, 3), torch.eye(4)[None]),
    }
    configs = {"depth": TrainConfig().network, "points": None, "labels": SMALL_PARTS}
    for name, task in TASKS.items():
        terms = task.terms(outputs[name], batch, configs[name])
        assert set(terms) == set(task.losses)
        assert all(hasattr(TrainConfig, f"{loss}_weight") for loss in task.losses)
        assert all(math.isfinite(term().item()) for term in terms.values())
        assert {"mae", "mse", "cosine"} <= set(terms)


@pytest.mark.parametrize("per_point", [False, True])
def test_a_checkpoint_becomes_an_onnx_file_for_any_number_of_points(tmp_path: Path, per_point: bool) -> None:
    network = trained_like(SMALL_PARTS if per_point else SMALL)
    save_checkpoint(tmp_path / "a.pt", network, weights=network.state_dict())
    with pytest.raises(CheckpointError, match="holds a network of task labels, expected one of task depth"):
        load_network(tmp_path / "a.pt")
    export_main([str(tmp_path / "a.pt"), str(tmp_path / "a.onnx")])
    session = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"))
    points = torch.randn(3, 91, 3, generator=torch.manual_seed(5))
    (scores,) = session.run(["scores"], {"points": points.numpy()})
    with torch.inference_mode():
        expected = network(points)[0].softmax(dim=-1).numpy()
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    metadata = {p.key: p.value for p in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert json.loads(metadata["labels"]) == list(LABELS) and metadata["task"] == "labels"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"network": {"labels": ["one"]}}, "labels are .*'one'.*, expected two or more different names"),
        ({"network": {"labels": ["a", "a"]}}, "expected two or more different names"),
        ({"network": {"labels": ["a", "b"], "points": 0}}, "points is 0, expected 1 or more"),
        ({"network": {"labels": ["a", "b"], "encoder": "tiny"}}, r"unknown keys \['encoder'\]"),
        (
            {"network": {"labels": ["a", "b"]}, "chamfer_weight": 1.0},
            "chamfer_weight is 1.0, but task labels knows",
        ),
        ({"network": {"labels": ["a", "b"]}}, "the weight of every loss is 0"),
        ({"task": "colours", "network": {}}, "task is 'colours', expected one of"),
        ({"task": "depth", "network": {"labels": ["a", "b"]}}, r"unknown keys \['labels'\]"),
    ],
)
def test_configurations_that_cannot_be_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config({"task": "labels", **values}, origin="test")
