"""The first stage: facts of the machine, and whether what was asked for can be done on it."""

from __future__ import annotations

import dataclasses

from training.compact_state import read_compact_state
from training.rental.learn import open_sources
from training.rental.machine import machine_facts
from training.rental.plan import Plan
from training.rental.processes import Note
from training.rental.settings import base_weights, fitting_workers, make_start
from training.stream import LIVE, parse_weight


class NoGpuError(ValueError):
    """A rental on a GPU without one."""


def check(note: Note, plan: Plan) -> None:
    """Notes "machine" and "start", what the training starts from; or "fault", why it cannot."""
    machine = machine_facts(plan.out, plan.work)
    note(machine=machine)
    try:
        if plan.device == "cuda" and not machine["gpus"]:
            raise NoGpuError(
                f"no GPU: torch {machine['packages'].get('torch')} (CUDA {machine['cuda']}) finds none, the "
                f"driver is {machine['driver'] or 'missing'}; run this where nvidia-smi shows one, or rehearse "
                "with --device cpu"
            )
        start = make_start(plan)
        config = dataclasses.replace(start.config, device="cpu")
        for text, source in zip(plan.data, open_sources(plan, config), strict=True):
            samples = source.open_samples(width=config.width, height=config.height, seed=config.seed)
            if parse_weight(text)[0] != LIVE:
                samples[0]
        if plan.resume is not None:
            read_compact_state(plan.resume, base=base_weights(start), config=config)
    except (ValueError, OSError) as error:  # those of configurations, data sets and states are ValueErrors
        note(fault=str(error))
        return
    note(
        start={
            "network": dataclasses.asdict(config.network),
            "weights": "those of the shipped network" if start.is_shipped else "none, it starts from scratch",
            "size": f"{config.width}x{config.height}",
            "height": config.height,
            "width": config.width,
            "renderer": config.renderer,
            "is_shipped": start.is_shipped,
            "workers": fitting_workers(config),
            "workers_wanted": config.workers,
        }
    )
