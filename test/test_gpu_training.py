"""A step of training on the GPU is the step that it should be. Most of it is tested on the CPU too.

`pytest -m gpu` runs those of the GPU alone; without one they skip, and say so.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Iterator

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")

from torch import nn  # noqa: E402
from toy_runs import TINY, a_batch, losses_of, toy_source  # noqa: E402

from training.compact_state import read_compact_state, write_compact_state  # noqa: E402
from training.config import TrainConfig  # noqa: E402
from training.rental.trials import Trial, measured  # noqa: E402
from training.train import train  # noqa: E402
from training.trainer import (  # noqa: E402
    DivergedError,
    TrainState,
    batches,
    build_state,
    loss_terms,
    resume_state,
    save_state,
    set_train_mode,
    take_step,
    train_step,
)

ON_GPU = pytest.param("cuda", marks=pytest.mark.gpu)
CONFIG = dataclasses.replace(TINY, warm_up_part=0.0, steps=100)


@pytest.fixture(params=["cpu", ON_GPU])
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each device, with float32 that is float32: TF32 rounds to 10 bits."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU that torch can use")
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield request.param
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = convolutions, products


def ready_state(config: TrainConfig) -> TrainState:
    state = build_state(config)
    set_train_mode(state.network, config)
    return state


def vector(values: Iterator[torch.Tensor]) -> torch.Tensor:
    return torch.cat([value.detach().cpu().flatten() for value in values])


def weights(network: nn.Module) -> torch.Tensor:
    return vector(network.parameters())


def gradients(state: TrainState) -> torch.Tensor:
    return vector(p.grad for p in state.network.parameters())


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def test_a_step_is_the_cpu_s_plain_one_in_float32(device: str) -> None:
    # On the CPU, with torch's unfused AdamW, in contiguous memory, written out.
    plain = ready_state(dataclasses.replace(CONFIG, channels_last=False)).network
    before = weights(plain)
    optimizer = torch.optim.AdamW(
        [
            {"params": plain.encoder.parameters(), "lr": CONFIG.learning_rate * CONFIG.encoder_rate},
            {"params": [*plain.decoder.parameters(), *plain.head.parameters()], "lr": CONFIG.learning_rate},
        ],
        weight_decay=CONFIG.weight_decay,
        fused=False,
        foreach=False,
    )
    batch = a_batch()
    loss = loss_terms(plain(batch["image"], batch["K"][:, 0, 0]), batch, CONFIG)["loss"]
    loss.backward()
    norm = nn.utils.clip_grad_norm_(plain.parameters(), CONFIG.max_gradient_norm)
    optimizer.step()

    config = dataclasses.replace(CONFIG, device=device)
    state = ready_state(config)
    values = train_step(state, batch, config)
    assert values["loss"] == pytest.approx(loss.item(), rel=1e-4)
    assert values["gradient_norm"] == pytest.approx(norm.item(), rel=1e-3)
    assert relative_error(gradients(state), vector(p.grad for p in plain.parameters())) < 1e-3
    # AdamW's first step divides each gradient by its own size, and so rounding errors where there is none: 2 %.
    assert relative_error(weights(state.network) - before, weights(plain) - before) < 0.02
    for name, value in plain.named_buffers():
        torch.testing.assert_close(state.network.get_buffer(name).cpu(), value, rtol=1e-4, atol=1e-5)
    assert all(p.device.type == device for p in [*state.network.parameters(), *state.averaged.parameters()])


def test_bfloat16_stays_finite_and_near(device: str) -> None:
    curves = []
    for precision in ("fp32", "bf16"):
        config = dataclasses.replace(CONFIG, device=device, precision=precision)
        state = ready_state(config)
        curves.append([train_step(state, a_batch(), config)["loss"] for _ in range(4)])
        assert all(p.dtype == torch.float32 for p in state.network.parameters())
        assert weights(state.network).isfinite().all()
    assert curves[0] != curves[1]  # it was in use
    assert curves[1] == pytest.approx(curves[0], rel=0.03)


@pytest.mark.parametrize("device", [ON_GPU], indirect=True)  # on a CPU the compiler takes a minute
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_compiled_step_is_the_eager_one(device: str, precision: str) -> None:
    states, values = [], []
    for compiled in (False, True):
        config = dataclasses.replace(CONFIG, device=device, precision=precision, compile=compiled)
        states.append(ready_state(config))
        values.append(train_step(states[-1], a_batch(), config))
    tolerance = {"fp32": 1e-3, "bf16": 0.03}[precision]
    assert values[1] == pytest.approx(values[0], rel=tolerance)
    assert relative_error(gradients(states[1]), gradients(states[0])) < {"fp32": 2e-3, "bf16": 0.1}[precision]


@pytest.mark.parametrize("device", [ON_GPU], indirect=True)  # the CPU's turn: test_training_trainer.py
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_does_not_wait_for_the_gpu(device: str, precision: str) -> None:
    config = dataclasses.replace(CONFIG, device=device, precision=precision)
    state = ready_state(config)
    batch = {name: value.pin_memory() for name, value in a_batch().items()}
    take_step(state, batch, config)  # the first makes moments and plans
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")  # whatever waits raises
    try:
        steps = [take_step(state, batch, config) for _ in range(3)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(step.values.isfinite().all() for step in steps)


def test_a_batch_of_nan_leaves_the_weights_alone(device: str) -> None:
    config = dataclasses.replace(CONFIG, device=device)
    state = ready_state(config)
    train_step(state, a_batch(), config)
    before = copy.deepcopy(state.network.state_dict())
    bad = a_batch()
    bad["image"] = bad["image"] * torch.nan
    with pytest.raises(DivergedError, match="step 2: loss is nan"):
        train_step(state, bad, config)
    for name, value in state.network.state_dict().items():
        assert torch.equal(value, before[name]) or name.endswith("num_batches_tracked"), name
    assert all(value.isfinite().all() for value in state.averaged.state_dict().values())
    assert all(moments["step"].item() == 1 for moments in state.optimizer.state.values())
    assert math.isfinite(train_step(state, a_batch(), config)["loss"])


def test_a_checkpoint_comes_back_on_the_device(device: str, tmp_path) -> None:
    config = dataclasses.replace(CONFIG, device=device)
    state = ready_state(config)
    train_step(state, a_batch(), config)
    save_state(tmp_path / "last.pt", state)
    found = resume_state(tmp_path / "last.pt", config)
    set_train_mode(found.network, config)
    assert torch.equal(weights(found.network), weights(state.network))
    assert torch.equal(weights(found.averaged), weights(state.averaged))
    for own, other in zip(state.network.parameters(), found.network.parameters(), strict=True):
        for name, value in state.optimizer.state[own].items():
            assert torch.equal(found.optimizer.state[other][name], value), name
            assert found.optimizer.state[other][name].device == value.device, name
    losses = [train_step(own, a_batch(focal=100.0), config)["loss"] for own in (state, found)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert relative_error(weights(found.network), weights(state.network)) < 1e-4


def test_a_compact_state_comes_back_on_the_device(device: str, tmp_path) -> None:
    config = dataclasses.replace(CONFIG, device=device)
    state = ready_state(config)
    base = copy.deepcopy(state.averaged.state_dict())
    for _ in range(3):
        train_step(state, a_batch(), config)
    write_compact_state(tmp_path, state, config, base=base)
    found = read_compact_state(tmp_path, base={name: value.cpu() for name, value in base.items()}, config=config)
    set_train_mode(found.network, config)
    assert relative_error(weights(found.network), weights(state.network)) < 1e-3
    assert relative_error(weights(found.averaged), weights(state.averaged)) < 1e-3
    before = [weights(own.network) for own in (state, found)]
    losses = [train_step(own, a_batch(), config)["loss"] for own in (state, found)]
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
    exact, near = ((weights(own.network) - b).abs().max() for own, b in zip((state, found), before, strict=True))
    assert 0.8 * exact < near < 1.05 * exact


def test_batches_come_in_memory_that_the_device_reads_by_itself(device: str, tmp_path) -> None:
    config = dataclasses.replace(CONFIG, device=device, workers=1)
    loaded = batches(toy_source(tmp_path), config, build_state(config), final=False)
    batch = next(loaded)
    assert {name: value.is_pinned() for name, value in batch.items()} == dict.fromkeys(batch, device == "cuda")
    start = time.monotonic()
    loaded.close()
    assert time.monotonic() - start < 10


def test_a_run_trains_on_the_device(device: str, tmp_path) -> None:
    config = dataclasses.replace(CONFIG, device=device, workers=2, steps=6, first_part=0.5)
    start = time.monotonic()
    train(config, toy_source(tmp_path), tmp_path / "run", validation=tmp_path / "data")
    assert len(losses_of(tmp_path / "run")) == 6
    assert all(map(math.isfinite, losses_of(tmp_path / "run")))
    assert time.monotonic() - start < 120


def test_a_trial_of_throughput_gives_a_positive_number(device: str) -> None:
    config = dataclasses.replace(CONFIG, device=device)
    trial = measured(Trial(batch_size=2, channels_last=True, compile=False, precision="fp32"), config, 0.1)
    assert trial.fault == ""
    assert trial.images_per_second > 0
