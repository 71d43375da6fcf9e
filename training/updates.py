"""How a step changes the weights: AdamW and the moving average, without ever waiting for the device.

A GPU runs behind the program that feeds it, and reading one number from it waits until it has caught up. So the
device itself decides whether a step is finite, and skips it if not.
"""

from __future__ import annotations

import copy
import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from training.config import TrainConfig


def make_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Returns AdamW in two groups, encoder and others, each with its "rate" as a part of the learning rate."""
    encoder = [p for p in network.encoder.parameters() if p.requires_grad]
    others = [p for name, p in network.named_parameters() if not name.startswith("encoder.")]
    return torch.optim.AdamW(
        [{"params": encoder, "rate": config.encoder_rate}, {"params": others, "rate": 1.0}],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,  # one kernel for all weights, and the one that can skip a step (found_inf)
    )


def load_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Takes over a saved state, of whichever implementation of AdamW and layout of the weights.

    Raises:
        ValueError, KeyError, TypeError: It is not of these weights.
    """
    saved = copy.copy(saved)
    saved["param_groups"] = [{**group, "fused": True, "foreach": None} for group in saved["param_groups"]]
    optimizer.load_state_dict(saved)
    for parameter, state in optimizer.state.items():
        for name in ("exp_avg", "exp_avg_sq"):
            if state[name].shape != parameter.shape:
                raise ValueError(f"{name} of shape {tuple(state[name].shape)}, expected {tuple(parameter.shape)}")
            # The fused kernel takes weights and moments to lie in memory alike.
            state[name] = torch.empty_like(parameter, requires_grad=False).copy_(state[name])


class Updates:
    """Takes the steps of one network and its average; the lists of tensors are made once."""

    def __init__(
        self, network: nn.Module, average: AveragedModel, optimizer: torch.optim.Optimizer, *, ema_decay: float
    ) -> None:
        pairs = itertools.chain(
            zip(average.module.parameters(), network.parameters(), strict=True),
            zip(average.module.buffers(), network.buffers(), strict=True),
        )
        detached = [(averaged.detach(), current.detach()) for averaged, current in pairs]
        self._floats = _columns([pair for pair in detached if pair[0].is_floating_point()])
        self._counters = _columns([pair for pair in detached if not pair[0].is_floating_point()])
        self._statistics = [b.detach() for b in network.buffers() if b.is_floating_point()]
        self._average, self._optimizer, self._ema_decay = average, optimizer, ema_decay

    def statistics(self) -> Tensor:
        """Returns a copy of the running statistics as one vector: what a forward pass in training mode changes."""
        return torch.cat([b.flatten() for b in self._statistics]) if self._statistics else torch.empty(0)

    def apply(self, finite: Tensor, statistics: Tensor) -> None:
        """Takes a step with the gradients that are there, or none.

        Args:
            finite: Bool scalar on the network's device. False leaves weights and moments as they are, and puts the
                statistics back.
            statistics: Those from before the forward pass.
        """
        if self._statistics:
            kept = torch.where(finite, self.statistics(), statistics).split([b.numel() for b in self._statistics])
            shaped = [k.view(b.shape) for k, b in zip(kept, self._statistics, strict=True)]
            torch._foreach_copy_(self._statistics, shaped)
        self._optimizer.found_inf = (~finite).float()  # what torch's own loss scaling sets
        self._optimizer.step()
        self._update_average()

    @torch.no_grad()
    def _update_average(self) -> None:
        """As AveragedModel.update_parameters, which copies to the device at each step and waits for that."""
        averaged, current = self._floats
        if int(self._average.n_averaged) == 0:  # on the CPU, as AveragedModel made it
            torch._foreach_copy_(averaged, current)
        else:
            torch._foreach_lerp_(averaged, current, 1.0 - self._ema_decay)
        if self._counters[0]:
            torch._foreach_copy_(*self._counters)
        self._average.n_averaged += 1


def _columns(pairs: list[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [a for a, _ in pairs], [b for _, b in pairs]
