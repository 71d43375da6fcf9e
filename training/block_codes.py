"""Tensors in 8 bits a value, with one float32 scale for each block of 256 values.

A step of AdamW is the first moment over the root of the second. Both are stored by their logarithm, in steps of
an eighth of an octave (9 %), the first moment rounded down and the root of the second up: a step is never larger
than that of the exact values, and at least 0.84 of it. First moments below 2**-15 of the largest of their block
become 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 256
STEPS_AN_OCTAVE = 8


@dataclass(frozen=True)
class Coded:
    """A tensor's values in 8 bits.

    Attributes:
        codes: (N,) int8 or uint8, N the number of values.
        scales: (ceil(N / BLOCK),) float32, the largest magnitude of each block.
    """

    codes: Tensor
    scales: Tensor


def to_linear(values: Tensor) -> Coded:
    """Returns values in steps of 1/127 of the largest magnitude of their block."""
    blocks, scales = _blocks(values)
    codes = torch.round(blocks / _safe(scales) * 127.0)
    return Coded(_flat(codes, values).to(torch.int8), scales[:, 0])


def from_linear(coded: Coded, shape: torch.Size) -> Tensor:
    """Returns float32 values; the inverse of `to_linear`."""
    return _decoded(coded.codes.float() / 127.0, coded.scales).view(shape)


def to_signed_logarithms(values: Tensor) -> Coded:
    """Returns values by sign and logarithm, rounded towards zero."""
    blocks, scales = _blocks(values)
    levels = 127.0 + STEPS_AN_OCTAVE * torch.log2(blocks.abs() / _safe(scales))  # -inf for 0
    codes = torch.floor(levels).clamp(0.0, 127.0) * blocks.sign()
    return Coded(_flat(codes, values).to(torch.int8), scales[:, 0])


def from_signed_logarithms(coded: Coded, shape: torch.Size) -> Tensor:
    """Returns float32 values; the inverse of `to_signed_logarithms`."""
    codes = coded.codes.float()
    parts = torch.exp2((codes.abs() - 127.0) / STEPS_AN_OCTAVE) * codes.sign()
    return _decoded(parts, coded.scales).view(shape)


def to_logarithms(values: Tensor) -> Coded:
    """Returns values >= 0 by logarithm, rounded up; only 0 becomes 0."""
    blocks, scales = _blocks(values)
    levels = 255.0 + STEPS_AN_OCTAVE * torch.log2(blocks / _safe(scales))
    codes = torch.where(blocks > 0, torch.ceil(levels).clamp(1.0, 255.0), 0.0)
    return Coded(_flat(codes, values).to(torch.uint8), scales[:, 0])


def from_logarithms(coded: Coded, shape: torch.Size) -> Tensor:
    """Returns float32 values; the inverse of `to_logarithms`."""
    codes = coded.codes.float()
    parts = torch.where(codes > 0, torch.exp2((codes - 255.0) / STEPS_AN_OCTAVE), 0.0)
    return _decoded(parts, coded.scales).view(shape)


def _blocks(values: Tensor) -> tuple[Tensor, Tensor]:
    """Returns (blocks, BLOCK) values, the last block filled with 0, and (blocks, 1) largest magnitudes."""
    flat = values.detach().float().cpu().reshape(-1)
    blocks = torch.nn.functional.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)
    return blocks, blocks.abs().amax(dim=1, keepdim=True)


def _safe(scales: Tensor) -> Tensor:
    return torch.where(scales > 0, scales, 1.0)


def _flat(codes: Tensor, values: Tensor) -> Tensor:
    return codes.reshape(-1)[: values.numel()]


def _decoded(parts: Tensor, scales: Tensor) -> Tensor:
    return parts * scales.repeat_interleave(BLOCK)[: len(parts)]
