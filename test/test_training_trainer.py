"""One step of training, and the state it starts from."""

from __future__ import annotations

import copy
import dataclasses
import math

import pytest
from host_reads import HostReads
from toy_shards import write_toy_shards

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")

from toy_runs import TINY, a_batch, toy_source  # noqa: E402

from training.checkpoints import CheckpointError, load_network  # noqa: E402
from training.config import TrainConfig  # noqa: E402
from training.models.depth_network import DepthNetworkConfig  # noqa: E402
from training.stream import shard_source  # noqa: E402
from training.tasks import TASKS  # noqa: E402
from training.train import train  # noqa: E402
from training.trainer import (  # noqa: E402
    DivergedError,
    build_state,
    learning_rate,
    loss_terms,
    read_steps,
    resume_state,
    save_state,
    set_train_mode,
    take_step,
    train_step,
)


def test_one_batch_can_be_overfitted() -> None:
    config = dataclasses.replace(TINY, steps=120, learning_rate=1e-2, encoder_rate=1.0, error_weight=0.0)
    generator = torch.manual_seed(0)
    depth = torch.full((3, 32, 64), 4.0)
    depth[:, :, 32:] = 20.0
    depth[:, :8] = torch.inf
    batch = {
        "image": torch.randint(0, 256, (3, 32, 64, 3), dtype=torch.uint8, generator=generator),
        "depth": depth,
        "valid_mask": torch.ones_like(depth, dtype=torch.bool),
        "K": torch.eye(3).repeat(3, 1, 1) * 90.0,
    }
    state = build_state(config)
    curve = [train_step(state, batch, config)["loss"] for _ in range(config.steps)]
    assert curve[-1] < 0.1 * curve[0]


def test_shallow_encoder_layers_keep_their_weights(tmp_path) -> None:
    folder = write_toy_shards(tmp_path / "data")
    config = dataclasses.replace(TINY, freeze_stride=4, steps=3)
    before = build_state(config).network.encoder.stages
    after = load_network(train(config, [shard_source(folder)], tmp_path / "run")).encoder.stages
    assert torch.equal(before[1][0].weight, after[1][0].weight)
    assert not torch.equal(before[2][0].weight, after[2][0].weight)


def test_the_learning_rate_rises_then_falls_to_a_hundredth() -> None:
    rates = [learning_rate(TINY, progress) for progress in (0.0, TINY.warm_up_part, 0.5, 1.0)]
    assert rates[0] < rates[1] == TINY.learning_rate > rates[2] > rates[3]
    assert rates[3] == pytest.approx(TINY.learning_rate / 100)


def test_a_run_starts_from_the_weights_of_another(tmp_path) -> None:
    folder = write_toy_shards(tmp_path / "data")
    first = train(dataclasses.replace(TINY, steps=2), [shard_source(folder)], tmp_path / "first")
    state = build_state(dataclasses.replace(TINY, seed=99, initial=str(first)))
    for name, value in load_network(first).state_dict().items():
        assert torch.equal(value, state.network.state_dict()[name]), name
        assert torch.equal(value, state.average.module.state_dict()[name]), name


def test_a_run_does_not_start_from_a_network_of_another_kind(tmp_path) -> None:
    folder = write_toy_shards(tmp_path / "data")
    first = train(dataclasses.replace(TINY, steps=1), [shard_source(folder)], tmp_path / "first")
    other = dataclasses.replace(TINY, network=DepthNetworkConfig(encoder="tiny"), initial=str(first))
    with pytest.raises(CheckpointError, match="give the options that made it"):
        build_state(other)


def test_compiling_keeps_the_names_of_the_weights() -> None:
    compiled = build_state(dataclasses.replace(TINY, compile=True)).network
    assert compiled.state_dict().keys() == build_state(TINY).network.state_dict().keys()


def test_frozen_norms_keep_their_statistics(tmp_path) -> None:
    config = dataclasses.replace(TINY, freeze_norms=True, steps=2)
    state = build_state(config)
    before = {name: value.clone() for name, value in state.network.named_buffers()}
    after = dict(load_network(train(config, toy_source(tmp_path), tmp_path / "run")).named_buffers())
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert any("running_mean" in name for name in before)


def test_the_loss_is_the_weighted_sum_of_the_chosen_terms() -> None:
    batch = a_batch()
    log_depth = torch.log(torch.full((3, 32, 64), 9.0))
    log_error = torch.full((3, 32, 64), -1.0)
    none = {f.name: 0.0 for f in dataclasses.fields(TrainConfig) if f.name.endswith("_weight")}
    chosen = dataclasses.replace(TINY, **{**none, "mae_weight": 0.5, "normal_weight": 3.0})
    terms = loss_terms((log_depth, log_error), batch, chosen)
    assert set(terms) == {"loss", "mae", "normal"}
    assert terms["loss"].item() == pytest.approx(0.5 * terms["mae"].item() + 3.0 * terms["normal"].item())
    # A wall ahead against level ground: right angles; the sky has no normal and does not dilute the mean.
    assert terms["normal"].item() == pytest.approx(1.0, abs=1e-3)
    everything = dataclasses.replace(TINY, **{f"{name}_weight": 1.0 for name in TASKS["depth"].losses})
    terms = loss_terms((log_depth, log_error), batch, everything)
    assert set(terms) == {"loss", "silog", "log_l1", "gradient", "error", "mae", "mse", "cosine", "normal"}
    assert all(math.isfinite(value.item()) for value in terms.values())


def test_bfloat16_takes_nearly_the_step_of_float32() -> None:
    results = []
    for precision in ("fp32", "bf16"):
        config = dataclasses.replace(TINY, precision=precision)
        state = build_state(config)
        set_train_mode(state.network, config)
        results.append(train_step(state, a_batch(), config))
        assert all(p.dtype == torch.float32 for p in state.network.parameters())
    assert results[0]["loss"] != results[1]["loss"]  # it was in use
    assert results[1]["loss"] == pytest.approx(results[0]["loss"], rel=0.02)
    assert results[1]["gradient_norm"] == pytest.approx(results[0]["gradient_norm"], rel=0.1)


def test_an_image_without_a_valid_pixel_teaches_nothing_and_stops_nothing() -> None:
    batch = a_batch()
    batch["depth"][:] = torch.nan
    batch["valid_mask"][:] = False
    state = build_state(TINY)
    values = train_step(state, batch, TINY)
    assert values["gradient_norm"] == pytest.approx(0.0, abs=1e-6)
    assert math.isfinite(values["loss"])


@pytest.mark.parametrize("name", ["depth", "K"])
def test_a_loss_that_is_not_finite_ends_the_run_before_it_harms_the_weights(name: str) -> None:
    state = build_state(TINY)
    train_step(state, a_batch(), TINY)
    before = {key: value.clone() for key, value in state.network.named_parameters()}
    bad = a_batch()
    bad[name][1] = torch.nan  # the mask still says valid
    bad["valid_mask"][:] = True
    with pytest.raises(DivergedError, match=r"step 2: loss is nan.* on samples 3 to 5 of seed 1"):
        train_step(state, bad, TINY)
    assert all(torch.equal(before[key], value) for key, value in state.network.named_parameters())


@pytest.mark.parametrize("name", ["image", "K"])
def test_a_step_that_is_not_finite_leaves_weights_moments_statistics_and_average(name: str) -> None:
    state = build_state(TINY)
    set_train_mode(state.network, TINY)
    take_step(state, a_batch(), TINY)
    before = copy.deepcopy([state.network.state_dict(), state.optimizer.state_dict()["state"]])
    average = copy.deepcopy(state.averaged.state_dict())
    state.network.train()
    bad = a_batch()
    bad[name] = bad[name] * torch.nan  # an image of NaN spoils the running statistics in the forward pass
    steps = [take_step(state, bad, TINY)]
    network, moments = state.network.state_dict(), state.optimizer.state_dict()["state"]
    for key, value in before[0].items():
        assert torch.equal(network[key], value) or key.endswith("num_batches_tracked"), key
        if value.is_floating_point():  # on its way to the same weights
            expected = average[key] + (1 - TINY.ema_decay) * (value - average[key])
            torch.testing.assert_close(state.averaged.state_dict()[key], expected)
    assert {i: {k: v.tolist() for k, v in m.items()} for i, m in moments.items()} == {
        i: {k: v.tolist() for k, v in m.items()} for i, m in before[1].items()
    }
    # It is said when the values are read, after steps that went well.
    set_train_mode(state.network, TINY)
    steps = [take_step(state, a_batch(), TINY), *steps, take_step(state, a_batch(), TINY)]
    reading = read_steps(steps)
    assert math.isfinite(next(reading)[1]["loss"])
    with pytest.raises(DivergedError, match=r"step 2: loss is nan.* on samples 3 to 5 of seed 1"):
        next(reading)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_asks_nothing_of_the_device(precision: str) -> None:
    config = dataclasses.replace(TINY, precision=precision)
    state = build_state(config)
    set_train_mode(state.network, config)
    take_step(state, a_batch(), config)  # makes the moments
    with HostReads() as reads:
        take_step(state, a_batch(), config)
    assert [read is state.average.n_averaged for read in reads.tensors] == [True]  # a counter of the CPU


def test_a_checkpoint_of_unfused_moments_in_the_other_layout_is_resumed(tmp_path) -> None:
    config = dataclasses.replace(TINY, channels_last=False)
    state = build_state(config)
    set_train_mode(state.network, config)
    train_step(state, a_batch(), config)
    save_state(tmp_path / "last.pt", state)
    content = torch.load(tmp_path / "last.pt", weights_only=True)
    for group in content["training"]["optimizer"]["param_groups"]:
        group["fused"] = None
    del content["training"]["first_step"], content["training"]["first_seconds"]
    torch.save(content, tmp_path / "last.pt")
    other = resume_state(tmp_path / "last.pt", TINY)
    set_train_mode(other.network, TINY)
    for own, own_config in ((state, config), (other, TINY)):
        for focal in (80.0, 100.0):
            train_step(own, a_batch(focal=focal), own_config)
    for name, value in state.network.named_parameters():
        # Adam's first steps divide rounding errors by their own size; a moment in the wrong place differs by 1e-3.
        torch.testing.assert_close(dict(other.network.named_parameters())[name], value, rtol=0, atol=2e-4)
