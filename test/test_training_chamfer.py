"""Chamfer distance and F-score against values by hand, brute force and SciPy."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")
pytest.importorskip("scipy", reason="needs SciPy: pip install -r requirements/training.txt")

from training.chamfer import chamfer, matched, nearest_index  # noqa: E402
from training.point_metrics import chamfer_distance, f_score  # noqa: E402

B, N, M = 2, 37, 53  # as many predicted points as true ones would hide a transposed distance matrix
DEFINITIONS = [(squared, averaged) for squared in (True, False) for averaged in (True, False)]


def two_sets() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.manual_seed(4)
    return torch.randn(B, N, 3, generator=generator), torch.randn(B, M, 3, generator=generator) + 0.3


# Two predicted points and one true one: distances 3 and 4 to it, and 3 from it.
@pytest.mark.parametrize(
    ("squared", "averaged", "expected"),
    [(False, True, 3.5 + 3), (True, True, 12.5 + 9), (False, False, 7 + 3), (True, False, 25 + 9)],
)
def test_each_definition_gives_the_value_worked_out_by_hand(
    squared: bool, averaged: bool, expected: float
) -> None:
    prediction, target = torch.tensor([[[3.0, 0, 0], [0, 4.0, 0]]]), torch.zeros(1, 1, 3)
    assert chamfer(prediction, target, squared=squared, averaged=averaged).item() == pytest.approx(expected)
    found = chamfer_distance(prediction[0].numpy(), target[0].numpy(), squared=squared, averaged=averaged)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(("squared", "averaged"), DEFINITIONS)
def test_the_loss_is_that_of_brute_force_and_of_the_kd_tree(squared: bool, averaged: bool) -> None:
    prediction, target = two_sets()
    brute = 0.0
    for p, q in zip(prediction.double().tolist(), target.double().tolist(), strict=True):
        table = [[sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) for y in q] for x in p]
        ways = ([min(row) for row in table], [min(column) for column in zip(*table, strict=True)])
        for way in ways:
            values = way if squared else [d**0.5 for d in way]
            brute += (sum(values) / len(values) if averaged else sum(values)) / B
    loss = chamfer(prediction, target, squared=squared, averaged=averaged).item()
    tree = np.mean(
        [
            chamfer_distance(p.numpy(), q.numpy(), squared=squared, averaged=averaged)
            for p, q in zip(prediction, target, strict=True)
        ]
    )
    assert loss == pytest.approx(brute, rel=1e-5)
    assert tree == pytest.approx(brute, rel=1e-5)


@pytest.mark.parametrize("squared", [True, False])
def test_the_gradient_is_that_of_all_distances_differentiated(squared: bool) -> None:
    prediction, target = two_sets()
    gradients = []
    for whole in (False, True):
        p = prediction.clone().requires_grad_()
        if whole:
            distance = (p[:, :, None] - target[:, None]).pow(2).sum(dim=3)
            distance = distance if squared else distance.sqrt()
            loss = (distance.amin(dim=2).mean(dim=1) + distance.amin(dim=1).mean(dim=1)).mean()
        else:
            loss = chamfer(p, target, squared=squared, averaged=True)
        gradients.append(torch.autograd.grad(loss, p)[0])
    torch.testing.assert_close(*gradients)


def test_equal_sets_in_another_order_cost_nothing_and_give_finite_gradients() -> None:
    prediction, _ = two_sets()
    p = prediction.clone().requires_grad_()
    loss = chamfer(p, prediction.flip(1), squared=False, averaged=True)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.isfinite(p.grad).all()


def test_matched_pairs_hold_every_predicted_and_every_true_point() -> None:
    prediction, target = two_sets()
    ours, theirs = matched(prediction, target)
    assert ours.shape == theirs.shape == (B, N + M, 3)
    assert torch.equal(ours[:, :N], prediction) and torch.equal(theirs[:, N:], target)
    assert torch.equal(theirs[0, 5], target[0, nearest_index(prediction, target)[0][0, 5]])


def test_the_f_score_is_the_harmonic_mean_of_precision_and_recall() -> None:
    target = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]])
    prediction = np.array([[0.0, 0.009, 0], [1, 0, 0.02]])  # 1 of 2 within 0.01, 1 of 4
    assert f_score(prediction, target, threshold=0.01) == pytest.approx(2 * 0.5 * 0.25 / 0.75)
    assert f_score(prediction + 9, target, threshold=0.01) == 0.0
    assert f_score(target, target[::-1], threshold=0.01) == 1.0


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.full((4, 3), np.nan), "4 of 4 predicted points are NaN"),
        (np.zeros((0, 3)), r"shape \(0, 3\), expected \(N, 3\)"),
        (np.zeros((5, 2)), r"shape \(5, 2\)"),
    ],
)
def test_sets_that_cannot_be_judged_are_refused(points: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chamfer_distance(points, np.zeros((2, 3)))
    with pytest.raises(ValueError, match=message):
        f_score(points, np.zeros((2, 3)), threshold=0.01)
