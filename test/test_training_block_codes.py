"""Tensors in 8 bits: how far from the exact values, and that no step of the optimiser grows."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")

from training.block_codes import (  # noqa: E402
    from_linear,
    from_logarithms,
    from_signed_logarithms,
    to_linear,
    to_logarithms,
    to_signed_logarithms,
)

NINTH = 2 ** (1 / 8)  # an eighth of an octave, 1.09


def spread(count: int) -> torch.Tensor:
    """Values of both signs over twelve orders of magnitude, with zeros among them."""
    generator = torch.manual_seed(0)
    values = torch.randn(count, generator=generator) * 10 ** (torch.rand(count, generator=generator) * -12)
    values[::17] = 0.0
    return values


def test_linear_codes_are_within_half_a_step_of_their_block_s_largest() -> None:
    values = spread(1000).view(10, 100)
    found = from_linear(to_linear(values), values.shape)
    for start in range(0, 1000, 256):
        block, own = values.view(-1)[start : start + 256], found.view(-1)[start : start + 256]
        assert (own - block).abs().max() <= block.abs().max() / 254 * 1.001


def test_a_coded_first_moment_is_never_larger_and_a_second_never_smaller() -> None:
    values = spread(3 * 256 + 5)
    first = from_signed_logarithms(to_signed_logarithms(values), values.shape)
    root = from_logarithms(to_logarithms(values.abs()), values.shape)
    assert (first * values >= 0).all()
    assert (first.abs() <= values.abs() * (1 + 1e-5)).all()
    assert (root >= values.abs() * (1 - 1e-5)).all()
    assert (root[values == 0] == 0).all()


def test_coded_moments_are_within_an_eighth_of_an_octave() -> None:
    values = spread(256)
    largest = values.abs().max()
    first = from_signed_logarithms(to_signed_logarithms(values), values.shape)
    root = from_logarithms(to_logarithms(values.abs()), values.shape)
    near = values.abs() > largest * 2**-15
    assert 20 < near.sum() < 256  # both kinds are among them
    assert (first.abs() >= values.abs() / NINTH * (1 - 1e-5))[near].all()
    near = values.abs() > largest * 2**-31
    assert (root <= values.abs() * NINTH * (1 + 1e-5))[near].all()


def test_blocks_of_zeros_and_of_one_value_come_back() -> None:
    for values in (torch.zeros(300), torch.full((1,), -2.5), torch.zeros(0)):
        assert torch.equal(from_linear(to_linear(values), values.shape), values)
        assert torch.equal(from_signed_logarithms(to_signed_logarithms(values), values.shape), values)
        assert torch.equal(from_logarithms(to_logarithms(values.abs()), values.shape), values.abs())
