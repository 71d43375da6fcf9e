"""The samples of a run: an endless, numbered stream mixed from several sources by weight.

A source is a function of (width, height, seed) that opens numbered samples: sample i depends on (seed, i)
alone, so that the number of samples seen is all that resuming needs, and processes can share the numbers out.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.utils.data import Dataset

from training.datasets import FrameSamples, TrainingSamples, open_frames
from training.distributed import Ranks
from training.models.pointnet import PointNetConfig
from training.workers import Loader, is_timeout

Sample = dict[str, Tensor]
LIVE = "live"  # in place of a folder
MAX_WEIGHT = 10_000  # the samples of a row, as many as all weights together, are shuffled in memory


class NumberedSamples(Protocol):
    """Samples by number, without end: see `training.datasets.TrainingSamples` for what one holds."""

    def __getitem__(self, number: int) -> Sample: ...


@dataclass(frozen=True)
class Source:
    """Samples to train on.

    Attributes:
        open_samples: Called with width, height and seed by keyword; returns the samples at that size.
        weight: How many samples to take of this source, in proportion to the others' weights.
    """

    open_samples: Callable[..., NumberedSamples]
    weight: int = 1


def shard_source(folder: Path, weight: int = 1) -> Source:
    """Returns the rendered shards of a folder as a source; shards written meanwhile join at the next epoch."""
    return Source(partial(TrainingSamples, [folder]), weight)


def recording_source(path: Path, weight: int = 1) -> Source:
    """Returns a recording with depth as a source: whatever training.datasets.open_frames knows."""

    def open_samples(*, width: int, height: int, seed: int) -> NumberedSamples:
        return FrameSamples(open_frames(path), width=width, height=height, seed=seed)

    return Source(open_samples, weight)


def live_source(weight: int = 1, renderer: str = "embree") -> Source:
    """Returns streets that the loading processes render as they are asked for, as a source.

    Args:
        renderer: See training.render.renderers; cuda is the GPU that torch uses in the process that opens them.
    """

    def open_samples(*, width: int, height: int, seed: int) -> NumberedSamples:
        from training.render.live import LiveSamples  # the ray caster is not needed to train on files

        return LiveSamples(width=width, height=height, seed=seed, renderer=renderer)

    return Source(open_samples, weight)


def depth_source(name: str, weight: int, renderer: str = "embree") -> Source:
    """Returns what a run of depth trains on: `live`, a folder of rendered shards, or another recording.

    Args:
        renderer: Of `live`.
    """
    if name == LIVE:
        return live_source(weight, renderer)
    path = Path(name)
    is_rendered = next(path.glob("shard_*"), None) is not None
    return shard_source(path, weight) if is_rendered else recording_source(path, weight)


def shape_source(name: str, weight: int) -> Source:
    """Returns the shapes of a folder, rendered as they are asked for, as a source; see training.shapes."""

    def open_samples(*, width: int, height: int, seed: int) -> NumberedSamples:
        from training.shapes import open_shapes  # as above
        from training.shapes.samples import ShapeSamples

        return ShapeSamples(open_shapes(Path(name)), width=width, height=height, seed=seed)

    return Source(open_samples, weight)


def label_source(name: str, weight: int, network: PointNetConfig) -> Source:
    """Returns the labelled clouds of a folder as a source; see training.labels."""

    def open_samples(*, width: int, height: int, seed: int) -> NumberedSamples:
        from training.labels.samples import LabelSamples, labelled_clouds  # as above

        return LabelSamples(labelled_clouds(Path(name), network), points=network.points, seed=seed)

    return Source(open_samples, weight)


# For each task what a run's TrainConfig makes of a source's name and weight.
SOURCES: dict[str, Callable[[Any], Callable[[str, int], Source]]] = {
    "depth": lambda config: partial(depth_source, renderer=config.renderer),
    "points": lambda config: shape_source,
    "labels": lambda config: partial(label_source, network=config.network),
}


def parse_source(text: str, open_source: Callable[[str, int], Source] = depth_source) -> Source:
    """Returns the source that `PATH`, `PATH:WEIGHT`, `live` or `live:WEIGHT` names.

    Args:
        text: As it stands on the command line.
        open_source: What to make of the name and the weight; one of SOURCES.

    Raises:
        ValueError: The weight is 0.
    """
    return open_source(*parse_weight(text))


def parse_weight(text: str) -> tuple[str, int]:
    """Returns the name and the weight, 1 where there is none, of `NAME` or `NAME:WEIGHT`.

    Raises:
        ValueError: The weight is 0, or above MAX_WEIGHT.
    """
    name, colon, digits = text.rpartition(":")
    if not colon or not digits.isdecimal():
        return text, 1
    if not digits.strip("0"):
        raise ValueError(f"{text}: weight 0 takes no sample; leave it out, or give 1 or more")
    if len(digits) > 9 or int(digits) > MAX_WEIGHT:
        raise ValueError(f"{text[:80]}: the weight is above {MAX_WEIGHT}; weights are parts, such as 3 and 1")
    return name, int(digits)


class MixedSamples(Dataset[Sample]):
    """Samples of several sources in turn: of each (sum of weights) in a row, its weight from each source.

    Which source comes when is shuffled; each source's own numbers go up without a gap, so that it is gone through
    as evenly as it would be alone.
    """

    def __init__(self, sources: Sequence[Source], *, width: int, height: int, seed: int) -> None:
        self._samples = [s.open_samples(width=width, height=height, seed=seed + i) for i, s in enumerate(sources)]
        self._weights = [source.weight for source in sources]
        self._seed = seed

    def place(self, number: int) -> tuple[int, int]:
        """Returns the source of a sample, and the sample's number within it."""
        row, column = divmod(number, sum(self._weights))
        slots = _shuffled_slots(tuple(self._weights), self._seed, row)
        source = int(slots[column])
        return source, row * self._weights[source] + int((slots[:column] == source).sum())

    @property
    def uses_gpu(self) -> bool:
        """Whether a source makes its samples on a GPU; see training.render.live."""
        return any(getattr(samples, "uses_gpu", False) for samples in self._samples)

    def __getitem__(self, number: int) -> Sample:
        source, own_number = self.place(number)
        return self._samples[source][own_number]

    def __getitems__(self, numbers: Sequence[int]) -> list[Sample]:
        """Returns samples by their numbers; a source that can make many at once is asked for all of its own."""
        places = [self.place(number) for number in numbers]
        made: dict[tuple[int, int], Sample] = {}
        for source, samples in enumerate(self._samples):
            own = [own_number for of, own_number in places if of == source]
            many = samples.__getitems__(own) if hasattr(samples, "__getitems__") else (samples[n] for n in own)
            made.update(zip(((source, number) for number in own), many, strict=True))
        return [made[place] for place in places]


@lru_cache(maxsize=8)
def _shuffled_slots(weights: tuple[int, ...], seed: int, row: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng((seed, row)).permutation(np.repeat(np.arange(len(weights)), weights))


@dataclass(frozen=True)
class BatchNumbers:
    """The sample numbers of one rank's batches: of each `batch_size * ranks.count` in a row, every count-th."""

    first: int
    batch_size: int
    ranks: Ranks

    def __iter__(self) -> Iterator[list[int]]:
        stride = self.batch_size * self.ranks.count
        for start in itertools.count(self.first, stride):
            yield list(range(start + self.ranks.rank, start + stride, self.ranks.count))


def load_batches(
    samples: Dataset[Sample],
    *,
    first: int,
    batch_size: int,
    workers: int,
    ranks: Ranks,
    pin_memory: bool,
    given_up: Callable[[], bool] = lambda: False,
) -> Iterator[Sample]:
    """Yields this rank's batches from sample `first` on, without end, or until `given_up` while one is waited for.

    Only processes that load (workers > 0) can be left waiting: a batch that is loaded in this process is finished.
    """
    loader = Loader(
        samples,
        batch_sampler=BatchNumbers(first, batch_size, ranks),
        workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=pin_memory,
        multiprocessing_context="spawn" if workers and getattr(samples, "uses_gpu", False) else None,
    )
    with contextlib.closing(loader):
        while True:
            try:
                yield next(loader)
            except RuntimeError as error:
                if not is_timeout(error):
                    raise
                if given_up():
                    return
