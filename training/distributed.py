"""Training processes that work on one run: none but this one, or those that torchrun started.

`torchrun --nproc-per-node 4 -m training.train ...` (more machines: torchrun's own --nnodes and
--rdzv-endpoint) sets RANK, WORLD_SIZE and LOCAL_RANK. Gradients are averaged over the ranks, by gloo on CPUs
and NCCL on GPUs, so that N ranks of batch b take the step of one process of batch N * b. One thing differs:
on CPUs each rank normalises by its own batch's statistics, and rank 0's running averages are kept; on GPUs
they are those of all ranks (SyncBatchNorm, which exists for CUDA alone).
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

RANK_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")


@dataclass(frozen=True)
class Ranks:
    """This process's place among those of the run.

    Attributes:
        rank: Its number; rank 0 alone writes files.
        count: How many there are.
        local_rank: Its number on this machine: that of its GPU.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        return self.rank == 0


@contextlib.contextmanager
def joined_ranks(device: str) -> Iterator[Ranks]:
    """Joins the processes that torchrun started, and leaves them at the end; alone where it did not.

    Args:
        device: cpu or cuda, which decides how the processes talk.
    """
    if not all(name in os.environ for name in RANK_VARIABLES):
        yield Ranks()
        return
    ranks = Ranks(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
    if device == "cuda":
        torch.cuda.set_device(torch_device(device, ranks))
    # Gloo beside NCCL: what the processes agree on at each step must not wait for their GPUs.
    distributed.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
    try:
        yield ranks
        # Nobody leaves while another still works, and what holds the group (DDP, in cycles) is gone before it is:
        # a rank that tore down gloo's threads at its exit was seen to abort.
        distributed.barrier()
    finally:
        gc.collect()
        distributed.destroy_process_group()


def torch_device(device: str, ranks: Ranks) -> torch.device:
    """Returns the device of this process.

    Raises:
        ValueError: The name is not cpu or cuda, or there is no such GPU.
    """
    if device == "cpu":
        return torch.device("cpu")
    if device != "cuda":
        raise ValueError(f"device is {device!r}, expected cpu or cuda")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if ranks.local_rank >= found:
        raise ValueError(
            f"device cuda: process {ranks.local_rank} of this machine needs a GPU of its own and {found} are "
            "usable; start fewer processes, install torch's CUDA build, or train with --device cpu"
        )
    return torch.device("cuda", ranks.local_rank)


def join_norms(network: nn.Module, device: torch.device, ranks: Ranks) -> None:
    """Makes the network's batch norms work over all ranks' batches, where the device can do that."""
    if ranks.count > 1 and device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # in place: the network itself is no batch norm


def join_gradients(network: nn.Module, ranks: Ranks) -> nn.Module:
    """Returns what to call in place of the network so that gradients are the mean over the ranks."""
    return DistributedDataParallel(network) if ranks.count > 1 else network


def mean_over_ranks(values: Tensor | Sequence[float], device: torch.device, ranks: Ranks) -> list[float]:
    """Returns each value's mean over the ranks, the same numbers on all of them; NaN if one of them is."""
    tensor = torch.as_tensor(values, dtype=torch.float64 if device.type == "cpu" else torch.float32, device=device)
    return tensor_mean_over_ranks(tensor, ranks).tolist()


def tensor_mean_over_ranks(tensor: Tensor, ranks: Ranks) -> Tensor:
    """Returns the mean over the ranks on their devices, which are not waited for; NaN where one of them is."""
    if ranks.count == 1:
        return tensor
    tensor = tensor.detach().clone()
    distributed.all_reduce(tensor)
    return tensor / ranks.count
