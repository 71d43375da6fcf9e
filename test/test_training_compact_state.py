"""A run's state in two small files: near to the exact one, small enough, and refused by name where it is wrong."""

from __future__ import annotations

import copy
import dataclasses
import errno
import json
import logging
import math
import os
import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")
pytest.importorskip("safetensors", reason="needs safetensors: pip install -r requirements/training.txt")

from toy_runs import TINY, a_batch, losses_of, toy_source  # noqa: E402

from recon3d_ros.engines import default_model_path  # noqa: E402
from training.checkpoints import CheckpointError, load_network  # noqa: E402
from training.compact_state import (  # noqa: E402
    name_published,
    read_compact_state,
    weights_sha256,
    write_compact_state,
)
from training.config import TrainConfig  # noqa: E402
from training.models.depth_network import DepthNetworkConfig  # noqa: E402
from training.state_files import MOMENTS_NAME, NETWORK_NAME, read_both, tidy, write_both  # noqa: E402
from training.train import train  # noqa: E402
from training.trainer import TrainState, build_state, set_train_mode, train_step  # noqa: E402

CONFIG = dataclasses.replace(TINY, warm_up_part=0.0, steps=100)
MIB = 2**20


def trained(steps: int = 4) -> tuple[TrainState, dict[str, torch.Tensor]]:
    """Returns a state after a few steps, and the weights that it started from."""
    state = build_state(CONFIG)
    set_train_mode(state.network, CONFIG)
    base = copy.deepcopy(state.averaged.state_dict())
    for focal in range(80, 80 + steps):
        train_step(state, a_batch(focal=float(focal)), CONFIG)
    return state, base


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, TrainState, dict[str, torch.Tensor]]:
    state, base = trained()
    write_compact_state(tmp_path / "state", state, CONFIG, base=base)
    return tmp_path / "state", state, base


def parameters(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def test_a_state_comes_back_nearly(saved, caplog) -> None:
    folder, state, base = saved
    with caplog.at_level(logging.WARNING):
        found = read_compact_state(folder, base=base, config=CONFIG)
    assert "not bit-exact" in caplog.text
    moved = parameters(state.averaged) - torch.cat(
        [base[n].flatten() for n, _ in state.network.named_parameters()]
    )
    assert moved.abs().max() > 1e-4
    for exact, own in ((state.network, found.network), (state.averaged, found.averaged)):
        error = parameters(exact) - parameters(own)
        assert 0 < error.norm() < 0.01 * moved.norm()
    for name, value in state.network.named_buffers():
        assert torch.equal(dict(found.network.named_buffers())[name], value), name
        assert torch.equal(found.averaged.get_buffer(name), state.averaged.get_buffer(name)), name
    assert (found.step, found.samples, found.average.n_averaged) == (4, 12, 4)
    assert found.progress(CONFIG) == 0.0


def test_the_next_step_is_no_larger_than_the_exact_one(saved) -> None:
    folder, state, base = saved
    found = read_compact_state(folder, base=base, config=CONFIG)
    for batch in (None, a_batch(focal=120.0)):
        updates = []
        for own in (state, found):
            before = parameters(own.network)
            if batch is None:  # the moments alone
                for parameter in own.network.parameters():
                    parameter.grad = torch.zeros_like(parameter)
                own.optimizer.param_groups[0]["lr"] = own.optimizer.param_groups[1]["lr"] = 1e-3
                own.optimizer.step()
            else:
                set_train_mode(own.network, CONFIG)
                train_step(own, batch, CONFIG)
            updates.append((parameters(own.network) - before).abs())
        exact, near = updates
        assert 0.8 * exact.max() < near.max() <= 1.05 * exact.max()
        assert near.norm() == pytest.approx(exact.norm().item(), rel=0.2)
        if batch is None:  # for each weight; one float32 step of rounding beside
            assert (near <= 1.01 * exact + 1e-7).all()


def test_training_goes_on_from_a_state_with_a_new_schedule(saved, tmp_path) -> None:
    folder, _, base = saved
    sources = toy_source(tmp_path)
    config = dataclasses.replace(TINY, steps=3, first_part=1.0)
    state = read_compact_state(folder, base=base, config=config)
    train(config, sources, tmp_path / "run", state=state)
    assert (state.step, state.samples, state.progress(config)) == (7, 24, 1.0)
    assert len(losses_of(tmp_path / "run")) == 3
    # Its own checkpoints resume under that schedule.
    longer = dataclasses.replace(config, steps=5)
    train(longer, sources, tmp_path / "run", resume=True)
    lines = (tmp_path / "run" / "log.csv").read_text().splitlines()
    assert [int(line.split(",")[0]) for line in lines] == [5, 6, 7, 8, 9]


def test_a_checkout_that_ships_the_published_weights_goes_on_from_them(saved) -> None:
    folder, state, base = saved
    shipped = copy.deepcopy(state.averaged.state_dict())
    found = read_compact_state(folder, base=shipped, config=CONFIG)
    assert torch.equal(parameters(found.averaged), parameters(state.averaged))
    decayed = {name: value * 1.001 for name, value in shipped.items()}
    with pytest.raises(CheckpointError, match="needs base weights of sha256"):
        read_compact_state(folder, base=decayed, config=CONFIG)
    name_published(folder, decayed)
    found = read_compact_state(folder, base=decayed, config=CONFIG)
    assert torch.equal(found.averaged.state_dict()["head.weight"], decayed["head.weight"])
    assert read_compact_state(folder, base=base, config=CONFIG).step == 4


def test_the_digest_of_weights_is_that_of_values_and_not_of_layout_or_counters() -> None:
    weights = {"a": torch.arange(24.0).view(1, 4, 2, 3), "n.num_batches_tracked": torch.tensor(3)}
    same = {"a": weights["a"].to(memory_format=torch.channels_last)}
    assert weights_sha256(weights) == weights_sha256(same)
    assert weights_sha256({"a": weights["a"] + 1e-6}) != weights_sha256(weights)
    assert weights_sha256({"b": weights["a"]}) != weights_sha256(weights)


def test_the_shipped_network_s_state_is_small_enough_to_travel(tmp_path) -> None:
    shipped = load_network(default_model_path())
    config = TrainConfig(network=shipped.config, initial=str(default_model_path()), freeze_stride=0)
    state = build_state(config)
    for parameter in state.network.parameters():  # as after a step: zeros would take no less
        parameter.grad = torch.full_like(parameter, 1e-3)
    state.optimizer.step()
    files = write_compact_state(tmp_path, state, config, base=shipped.state_dict())
    sizes = [path.stat().st_size for path in files]
    assert [path.name for path in files] == [NETWORK_NAME, MOMENTS_NAME]
    assert max(sizes) < 16 * MIB
    assert 15_000_000 < sum(sizes) <= 20_000_000


@pytest.mark.parametrize("name", [NETWORK_NAME, MOMENTS_NAME])
def test_a_missing_or_damaged_file_is_named(saved, name: str) -> None:
    folder, _, base = saved
    good = (folder / name).read_bytes()
    for content in (good[: len(good) // 2], good[:-100] + bytes([good[-100] ^ 1]) + good[-99:], b"no state"):
        (folder / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=rf"{name}: damaged"):
            read_compact_state(folder, base=base, config=CONFIG)
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{name}: no such file"):
        read_compact_state(folder, base=base, config=CONFIG)


def test_files_of_two_saves_are_refused(saved, tmp_path) -> None:
    folder, state, base = saved
    old = (folder / MOMENTS_NAME).read_bytes()
    train_step(state, a_batch(), CONFIG)
    write_compact_state(folder, state, CONFIG, base=base)
    (folder / MOMENTS_NAME).write_bytes(old)
    with pytest.raises(CheckpointError, match="of two different saves"):
        read_compact_state(folder, base=base, config=CONFIG)


def test_a_save_killed_between_its_two_files_is_whole(saved, tmp_path, monkeypatch) -> None:
    folder, state, base = saved
    train_step(state, a_batch(), CONFIG)

    class Killed(BaseException):
        pass

    replaced = iter(range(10))

    def replace(source: Path, target: Path) -> None:
        if next(replaced) == 1:
            raise Killed
        shutil.move(source, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("os.replace", replace)
        write_compact_state(folder, state, CONFIG, base=base)
    assert read_compact_state(folder, base=base, config=CONFIG).step == 5


def test_what_a_killed_save_has_left_is_ended_or_removed(saved, tmp_path, monkeypatch) -> None:
    folder, state, base = saved
    shutil.copytree(folder, tmp_path / "old")
    waiting = folder / f".{MOMENTS_NAME}.partial"
    train_step(state, a_batch(), CONFIG)
    write_compact_state(folder, state, CONFIG, base=base)
    shutil.move(folder / MOMENTS_NAME, waiting)  # killed between the two names
    shutil.copy(tmp_path / "old" / MOMENTS_NAME, folder)
    tidy(folder)
    assert sorted(path.name for path in folder.iterdir()) == [MOMENTS_NAME, NETWORK_NAME]
    assert read_compact_state(folder, base=base, config=CONFIG).step == 5
    for name in (NETWORK_NAME, MOMENTS_NAME):  # killed while it wrote
        (folder / f".{name}.partial").write_bytes((tmp_path / "old" / name).read_bytes()[:1000])
    tidy(folder)
    assert sorted(path.name for path in folder.iterdir()) == [MOMENTS_NAME, NETWORK_NAME]
    assert read_compact_state(folder, base=base, config=CONFIG).step == 5


def first_scale(tensors: dict[str, torch.Tensor], part: str) -> torch.Tensor:
    return next(value for name, value in tensors.items() if name.startswith(part) and name.endswith(".scales"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda network, moments, facts: facts.pop("base_sha256"), r"lacks \['base_sha256'\] in its metadata"),
        (lambda network, moments, facts: facts.update(counters="[]"), "not a state of this run's network"),
        (
            lambda network, moments, facts: facts.update(counters=counted(step="x")),
            "step is 'x', expected",
        ),
        (lambda network, moments, facts: facts.update(counters=counted(samples=-5)), "samples is -5"),
        (lambda network, moments, facts: facts.update(counters=counted(seconds=math.nan)), "seconds are nan"),
        (lambda network, moments, facts: facts.update(counters=counted(averaged=10**30)), "averaged is 1000"),
        (lambda network, moments, facts: first_scale(network, "network.").fill_(math.nan), "are not finite"),
        (lambda network, moments, facts: first_scale(moments, "exp_avg_sq.").fill_(math.inf), "are not finite"),
    ],
)
def test_a_state_that_lies_is_refused_by_name(saved, change, message: str) -> None:
    folder, _, base = saved
    network, moments, facts = read_both(folder)
    change(network, moments, facts)
    write_both(folder, network, moments, facts)
    with pytest.raises(CheckpointError, match=rf"state: .*{message}"):
        read_compact_state(folder, base=base, config=CONFIG)


def counted(**changes: object) -> str:
    return json.dumps({"step": 4, "samples": 12, "seconds": 1.0, "best": math.inf, "averaged": 4, **changes})


def test_a_state_of_a_newer_version_is_refused_by_name(saved, monkeypatch) -> None:
    folder, _, base = saved
    monkeypatch.setattr("training.state_files.FORMAT", "0")
    with pytest.raises(CheckpointError, match=r"state_network\.safetensors: is of format '1', expected '0'"):
        read_compact_state(folder, base=base, config=CONFIG)


def test_another_network_s_state_and_base_are_refused(saved, tmp_path) -> None:
    folder, state, base = saved
    other = dataclasses.replace(
        CONFIG, network=DepthNetworkConfig(encoder="tiny", decoder_channels=(16, 12, 8, 8))
    )
    with pytest.raises(CheckpointError, match="holds the state of a network of"):
        read_compact_state(folder, base=base, config=other)
    with pytest.raises(CheckpointError, match="the base lacks"):
        write_compact_state(tmp_path / "new", state, CONFIG, base=build_state(other).network.state_dict())
    assert not (tmp_path / "new").exists()
    with pytest.raises(CheckpointError, match=r"needs base weights of sha256 \w{12} or \w{12}, got \w{12}"):
        read_compact_state(folder, base=build_state(other).network.state_dict(), config=CONFIG)


def test_a_full_disk_is_named_and_leaves_the_state_of_before(saved, monkeypatch) -> None:
    folder, state, base = saved
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    train_step(state, a_batch(), CONFIG)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CheckpointError, match=r"state: the state cannot be written .*No space left.* is kept"):
        write_compact_state(folder, state, CONFIG, base=base)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
