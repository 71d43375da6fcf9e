"""Losses against values worked out by hand."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")

from training import losses  # noqa: E402

# One image of 1 x 4 pixels; the last pixel is invalid and holds values that must not count.
PREDICTION = torch.tensor([[[2.0, 2.0, 8.0, 777.0]]])
TARGET = torch.tensor([[[1.0, 2.0, 4.0, math.nan]]])
VALID = torch.tensor([[[True, True, True, False]]])
LOG2 = math.log(2.0)


def test_mae_is_the_mean_of_1_0_and_4_metres() -> None:
    assert losses.mae(PREDICTION, TARGET, VALID).item() == pytest.approx(5 / 3)


def test_mse_is_the_mean_of_1_0_and_16_square_metres() -> None:
    assert losses.mse(PREDICTION, TARGET, VALID).item() == pytest.approx(17 / 3)


def test_cosine_compares_the_directions_of_the_depth_vectors() -> None:
    # (1, 2, 4) . (2, 2, 8) = 38; |(1, 2, 4)|^2 = 21; |(2, 2, 8)|^2 = 72
    expected = 1 - 38 / math.sqrt(21 * 72)
    assert losses.cosine(PREDICTION, TARGET, VALID).item() == pytest.approx(expected, rel=1e-4)


def test_cosine_of_a_scaled_depth_is_zero() -> None:
    assert losses.cosine(3 * TARGET, TARGET, VALID).item() == pytest.approx(0.0, abs=1e-6)


def test_log_l1_is_the_mean_of_log2_0_and_log2() -> None:
    assert losses.log_l1(PREDICTION, TARGET, VALID).item() == pytest.approx(2 / 3 * LOG2)


def test_silog_is_the_root_of_the_mean_square_less_the_focused_squared_mean() -> None:
    expected = LOG2 * math.sqrt(2 / 3 - 0.85 * (2 / 3) ** 2)
    assert losses.silog(PREDICTION, TARGET, VALID).item() == pytest.approx(expected, rel=1e-4)


def test_silog_with_full_variance_focus_ignores_scale() -> None:
    value = losses.silog(5 * TARGET, TARGET, VALID, variance_focus=1.0).item()
    assert value == pytest.approx(0.0, abs=1e-3)


def test_gradient_is_the_mean_step_between_valid_neighbours() -> None:
    # Log errors log2, 0, log2: two steps of log2; at the coarser scale one step of 0.
    assert losses.gradient(PREDICTION, TARGET, VALID, scales=1).item() == pytest.approx(LOG2)
    assert losses.gradient(PREDICTION, TARGET, VALID, scales=2).item() == pytest.approx(LOG2)


def test_gradient_sees_vertical_steps_too() -> None:
    value = losses.gradient(PREDICTION.mT, TARGET.mT, VALID.mT, scales=1).item()
    assert value == pytest.approx(LOG2)


def test_laplace_nll_is_residual_over_scale_plus_log_scale() -> None:
    log_error = torch.full_like(PREDICTION, math.log(0.5))
    expected = (2 / 3) * LOG2 / 0.5 + math.log(0.5)
    assert losses.laplace_nll(PREDICTION, TARGET, VALID, log_error).item() == pytest.approx(expected)


H, W = 5, 7
K = torch.tensor([[[80.0, 0.0, 2.25], [0.0, 120.0, -30.0], [0.0, 0.0, 1.0]]])
ROWS = torch.arange(H, dtype=torch.float32)[:, None].expand(H, W)[None]
ALL = torch.ones(1, H, W, dtype=torch.bool)
GROUND = 120.0 * 1.6 / (ROWS + 30.0)  # z = fy * h / (v - cy), 1.6 m below the camera
WALL = torch.full((1, H, W), 9.0)
SLOPE = 9.0 / (1.0 + (ROWS + 30.0) / 120.0)  # z = 9 - y: it leans by 45 degrees


def test_normals_of_ground_and_wall_point_up_and_at_the_camera() -> None:
    up, back = torch.tensor([0.0, -1.0, 0.0]), torch.tensor([0.0, 0.0, -1.0])
    torch.testing.assert_close(losses.surface_normals(GROUND, K), up.expand(1, H - 1, W - 1, 3), rtol=0, atol=1e-4)
    torch.testing.assert_close(losses.surface_normals(WALL, K), back.expand(1, H - 1, W - 1, 3))


def test_normals_of_ground_twice_as_far_are_the_same_and_of_a_wall_at_right_angles() -> None:
    assert losses.normal_cosine(2 * GROUND, GROUND, ALL, K).item() == pytest.approx(0.0, abs=1e-6)
    assert losses.normal_cosine(WALL, GROUND, ALL, K).item() == pytest.approx(1.0, abs=1e-4)


def test_normals_45_degrees_apart_cost_1_less_the_cosine_of_45_degrees() -> None:
    expected = 1 - math.sqrt(0.5)
    assert losses.normal_cosine(SLOPE, WALL, ALL, K).item() == pytest.approx(expected, rel=1e-3)


def test_a_normal_beside_an_invalid_pixel_does_not_count() -> None:
    valid = ALL.clone()
    valid[:, 3:] = False
    target = torch.where(valid, WALL, math.nan)
    prediction = WALL.clone()
    prediction[:, 3:] = 777.0
    prediction.requires_grad_()
    value = losses.normal_cosine(prediction, target, valid, K)
    value.backward()
    assert value.item() == pytest.approx(0.0, abs=1e-6)
    assert torch.isfinite(prediction.grad).all()


def test_each_image_has_its_own_intrinsics_for_normals() -> None:
    both = torch.cat([K, K * torch.tensor([[3.0], [3.0], [1.0]])])
    depth = torch.cat([GROUND, 3 * 120.0 * 1.6 / (ROWS + 90.0)])
    wall = WALL.expand(2, H, W)
    value = losses.normal_cosine(wall, depth, ALL.expand(2, H, W), both).item()
    assert value == pytest.approx(1.0, abs=1e-4)


def test_an_image_with_few_valid_pixels_weighs_as_much_as_a_full_one() -> None:
    prediction = torch.tensor([[[3.0, 1.0]], [[2.0, 2.0]]])
    target = torch.ones(2, 1, 2)
    valid = torch.tensor([[[True, False]], [[True, True]]])
    assert losses.mae(prediction, target, valid).item() == pytest.approx((2.0 + 1.0) / 2)


def test_an_image_without_valid_pixels_costs_nothing_and_gives_finite_gradients() -> None:
    prediction = PREDICTION.clone().requires_grad_()
    nothing = torch.zeros_like(VALID)
    functions = (losses.mae, losses.mse, losses.cosine, losses.silog, losses.log_l1, losses.gradient)
    total = sum(function(prediction, TARGET, nothing) for function in functions)
    total = total + losses.normal_cosine(
        prediction.reshape(1, 2, 2), TARGET.reshape(1, 2, 2), nothing.reshape(1, 2, 2), K
    )
    total.backward()
    assert total.item() == pytest.approx(0.0, abs=1e-3)
    assert torch.isfinite(prediction.grad).all()


def test_sky_costs_nothing_beyond_the_maximum_depth_and_pulls_from_nearer() -> None:
    prediction = torch.tensor([[[150.0, 50.0, 20.0]]], requires_grad=True)
    target = torch.tensor([[[math.inf, math.inf, 10.0]]])
    one_sided = losses.one_sided_target(prediction, target, max_depth=100.0)
    assert one_sided.tolist() == [[[150.0, 100.0, 10.0]]]
    losses.log_l1(prediction, one_sided, torch.ones(1, 1, 3, dtype=torch.bool)).backward()
    assert prediction.grad is not None
    assert prediction.grad[0, 0, 0] == 0
    assert prediction.grad[0, 0, 1] < 0
    assert prediction.grad[0, 0, 2] > 0
