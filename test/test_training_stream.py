"""Samples from several sources: shares, resuming, and what each rank sees."""

from __future__ import annotations

import itertools
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from toy_shards import write_toy_shards

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")

from training.distributed import Ranks  # noqa: E402
from training.stream import (  # noqa: E402
    BatchNumbers,
    MixedSamples,
    NumberedSamples,
    Source,
    load_batches,
    parse_source,
    shard_source,
)

ROOT = Path(__file__).resolve().parents[1]


class NamedSamples(NumberedSamples):
    """A fake source whose samples say where they come from."""

    def __init__(self, name: int, *, width: int, height: int, seed: int) -> None:
        self.content = (name, width, height, seed)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        return {"where": torch.tensor([*self.content, number])}


def mixed(*weights: int, seed: int = 5) -> MixedSamples:
    def opener(name: int):
        return lambda **size: NamedSamples(name, **size)

    sources = [Source(opener(name), weight) for name, weight in enumerate(weights)]
    return MixedSamples(sources, width=96, height=32, seed=seed)


def test_sources_are_drawn_from_by_weight() -> None:
    samples = mixed(3, 1, 2)
    found = Counter(int(samples[number]["where"][0]) for number in range(600))
    assert found == {0: 300, 1: 100, 2: 200}


def test_each_source_is_gone_through_number_by_number() -> None:
    samples = mixed(3, 1)
    numbers: dict[int, list[int]] = {0: [], 1: []}
    for number in range(80):
        name, width, height, _, own_number = samples[number]["where"].tolist()
        numbers[name].append(own_number)
        assert (width, height) == (96, 32)
    assert numbers == {0: list(range(60)), 1: list(range(20))}


def test_samples_made_together_are_those_made_one_by_one() -> None:
    class Together(NamedSamples):
        def __getitems__(self, numbers: list[int]) -> list[dict[str, torch.Tensor]]:
            return [self[number] for number in numbers]

    kinds = (Together, NamedSamples)
    sources = [Source(partial(kind, name), 2) for name, kind in enumerate(kinds)]
    samples = MixedSamples(sources, width=96, height=32, seed=5)
    numbers = [3, 0, 17, 9, 4]
    made = [sample["where"].tolist() for sample in samples.__getitems__(numbers)]
    assert made == [samples[number]["where"].tolist() for number in numbers]


def test_which_source_comes_next_is_shuffled_by_seed() -> None:
    orders = [[mixed(2, 2, seed=seed).place(number)[0] for number in range(40)] for seed in (5, 5, 6)]
    assert orders[0] == orders[1] != orders[2]
    assert len({tuple(orders[0][i : i + 4]) for i in range(0, 40, 4)}) > 2


def test_two_sources_do_not_share_a_seed() -> None:
    samples = mixed(1, 1)
    assert {tuple(samples[number]["where"][[0, 3]].tolist()) for number in range(20)} == {(0, 5), (1, 6)}


def test_one_source_alone_keeps_its_numbers(tmp_path) -> None:
    source = shard_source(write_toy_shards(tmp_path))
    alone, mix = (
        source.open_samples(width=96, height=32, seed=3),
        MixedSamples([source], width=96, height=32, seed=3),
    )
    for number in (0, 1, 7):
        assert torch.equal(alone[number]["image"], mix[number]["image"])


@pytest.mark.parametrize(("text", "weight"), [("{}", 1), ("{}:1", 1), ("{}:12", 12)])
def test_a_folder_may_carry_a_weight(tmp_path, text: str, weight: int) -> None:
    folder = write_toy_shards(tmp_path / "rendered:by_night")
    source = parse_source(text.format(folder))
    assert source.weight == weight
    assert source.open_samples(width=96, height=32, seed=0)[0]["image"].shape == (32, 96, 3)


def test_a_recording_with_depth_mixes_with_rendered_shards(tmp_path) -> None:
    sources = [
        parse_source(str(ROOT / "recon3d_ros" / "demo_drive") + ":2"),
        shard_source(write_toy_shards(tmp_path)),
    ]
    samples = MixedSamples(sources, width=160, height=96, seed=0)
    assert Counter(samples.place(number)[0] for number in range(30)) == {0: 20, 1: 10}
    batches = load_batches(samples, first=0, batch_size=6, workers=0, ranks=Ranks(), pin_memory=False)
    batch = next(batches)
    assert batch["image"].shape == (6, 96, 160, 3)
    assert batch["valid_mask"].flatten(1).any(dim=1).all()


def test_live_streets_mix_with_shards(tmp_path) -> None:
    pytest.importorskip("embreex", reason="embreex is not installed; see requirements/training.txt")
    sources = [parse_source("live"), parse_source(f"{write_toy_shards(tmp_path)}:3")]
    samples = MixedSamples(sources, width=96, height=32, seed=0)
    number = next(n for n in range(4) if samples.place(n)[0] == 0)
    live, again = samples[number], samples[number]
    assert live["image"].shape == (32, 96, 3)
    assert live["valid_mask"].float().mean() > 0.9
    assert torch.equal(live["image"], again["image"])


def test_a_folder_without_samples_is_named(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: .*expected a folder with shard_NNNNN"):
        MixedSamples([parse_source(str(tmp_path / "empty"))], width=96, height=32, seed=0)


def test_a_weight_of_0_is_refused() -> None:
    with pytest.raises(ValueError, match=r"data:0: weight 0 takes no sample"):
        parse_source("data:0")


@pytest.mark.parametrize("weight", ["10001", "9" * 5000])
def test_a_weight_that_memory_is_too_small_for_is_refused(weight: str) -> None:
    with pytest.raises(ValueError, match=r"live:\d+: the weight is above 10000"):
        parse_source(f"live:{weight}")


@pytest.mark.parametrize("first", [0, 24])
def test_ranks_see_together_what_one_sees_with_a_batch_of_all(first: int) -> None:
    whole = list(itertools.islice(BatchNumbers(first, 6, Ranks()), 4))
    parts = [list(itertools.islice(BatchNumbers(first, 2, Ranks(rank, 3, rank)), 4)) for rank in range(3)]
    assert whole[0] == list(range(first, first + 6))
    for batch, shares in zip(whole, zip(*parts, strict=True), strict=True):
        assert sorted(itertools.chain(*shares)) == batch


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_the_order_of_their_numbers(workers: int) -> None:
    batches = load_batches(mixed(1), first=7, batch_size=3, workers=workers, ranks=Ranks(), pin_memory=False)
    found = [batch["where"][:, 4].tolist() for batch in itertools.islice(batches, 3)]
    assert found == [[7, 8, 9], [10, 11, 12], [13, 14, 15]]
