"""Which tensors a program reads numbers from, and so waits for. Needs torch."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# What a GPU's stream is waited for: item() and bool(), sizes that depend on values, copies between devices.
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero", "equal")


class HostReads(TorchDispatchMode):
    """Notes the tensors whose values the program asks for; works on the CPU, where nothing has to be waited for.

    Attributes:
        tensors: Those tensors.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tensors: list[torch.Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::").partition(".")[0]
        if any(name == waiting or name.startswith(f"{waiting}_") for waiting in WAITING):
            self.tensors.append(args[0])
        return func(*args, **(kwargs or {}))
