"""Voxels and neighbours against plain counting, with numba and without."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from recon3d_ros.core import voxel

ROAD = np.random.default_rng(3).uniform((-8, -0.5, 2), (8, 1.6, 30), (3000, 3)).astype(np.float32)


@pytest.fixture(params=["numba", "numpy"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "numba":
        pytest.importorskip("numba", reason="numba is not installed")
    else:
        monkeypatch.setattr(voxel, "has_numba", lambda: False)
    yield request.param


def counted_neighbours(points: npt.NDArray[np.float32], radius: float) -> npt.NDArray[np.int64]:
    distance2 = ((points[:, None].astype(np.float64) - points[None]) ** 2).sum(axis=-1)
    return (distance2 <= radius**2).sum(axis=1) - 1


@pytest.mark.parametrize("size", [0.05, 0.5, 4.0])
def test_each_voxel_keeps_the_one_point_nearest_to_its_centre(way: str, size: float) -> None:
    best: dict[tuple[int, ...], tuple[float, int]] = {}
    for index, point in enumerate(ROAD.astype(np.float64)):
        cell = np.floor(point / size)
        distance = float(((point / size - cell - 0.5) ** 2).sum())
        best[tuple(cell.astype(int))] = min(best.get(tuple(cell.astype(int)), (np.inf, -1)), (distance, index))
    kept = voxel.nearest_to_voxel_centres(ROAD, size)
    assert sorted(np.flatnonzero(kept)) == sorted(index for _, index in best.values())


def test_of_equally_near_points_the_first_is_kept(way: str) -> None:
    points = np.array([[0.25, 0.5, 0.5], [0.75, 0.5, 0.5], [0.5, 0.25, 0.5], [1.5, 0.5, 0.5]], dtype=np.float32)
    np.testing.assert_array_equal(voxel.nearest_to_voxel_centres(points, 1.0), [True, False, False, True])


@pytest.mark.parametrize(("radius", "count"), [(0.3, 1), (0.8, 2), (0.8, 5), (2.5, 40)])
def test_a_point_is_kept_for_its_neighbours(way: str, radius: float, count: int) -> None:
    points = ROAD[:900]
    expected = counted_neighbours(points, radius) >= count
    assert 20 < expected.sum() < 880
    np.testing.assert_array_equal(voxel.has_neighbours(points, radius=radius, count=count), expected)


def test_twins_are_neighbours_and_a_point_is_not_its_own(way: str) -> None:
    points = np.array([[1, 1, 1], [1, 1, 1], [5, 5, 5]], dtype=np.float32)
    np.testing.assert_array_equal(voxel.has_neighbours(points, radius=0.1, count=1), [True, True, False])


def test_no_points_are_no_points(way: str) -> None:
    nothing = np.empty((0, 3), dtype=np.float32)
    assert voxel.nearest_to_voxel_centres(nothing, 0.1).shape == (0,)
    assert voxel.has_neighbours(nothing, radius=0.1, count=1).shape == (0,)


def test_both_ways_agree_to_the_point_on_a_dense_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba", reason="numba is not installed")
    rng = np.random.default_rng(5)
    points = (rng.normal(size=(40_000, 3)) * (4, 0.5, 10)).round(2).astype(np.float32)  # rounded: with ties
    fast = voxel.nearest_to_voxel_centres(points, 0.1), voxel.has_neighbours(points, radius=0.15, count=6)
    monkeypatch.setattr(voxel, "has_numba", lambda: False)
    np.testing.assert_array_equal(fast[0], voxel.nearest_to_voxel_centres(points, 0.1))
    np.testing.assert_array_equal(fast[1], voxel.has_neighbours(points, radius=0.15, count=6))


def test_without_numba_the_filters_work() -> None:
    # None in sys.modules makes an import fail as if the package were not installed.
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import numpy as np; from recon3d_ros.core import voxel\n"
        "voxel.compile_now(); assert not voxel.has_numba()\n"
        "print(voxel.nearest_to_voxel_centres(np.ones((4, 3), np.float32), 0.5).sum())\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout.strip()) == (0, "1"), result.stderr
