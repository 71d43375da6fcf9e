"""Two processes of torchrun take the step of one with both of their batches."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from toy_shards import write_toy_shards

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")

from training.checkpoints import read_checkpoint  # noqa: E402
from training.distributed import Ranks, mean_over_ranks, torch_device  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
# The norms are frozen: in training mode each rank on a CPU normalises by its own half of the batch.
OPTIONS = (
    "--encoder tiny --no-pretrained --freeze-stride 0 --freeze-norms --workers 0 --no-board --first-part 1 "
    "--first-height 32 --first-width 96 --max-gradient-norm 1e9"
).split()


def command(ranks: int, *arguments: object) -> list[str]:
    start = [sys.executable, "-m"]
    if ranks > 1:
        start += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m"]
    return [*start, "training.train", *map(str, arguments), *OPTIONS]


def run(ranks: int, *arguments: object) -> str:
    """Returns the command's output; ends torchrun's processes with it where it hangs."""
    process = subprocess.Popen(
        command(ranks, *arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=120)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output
    return output


def test_two_ranks_take_the_gradient_of_one_double_batch(tmp_path) -> None:
    data = write_toy_shards(tmp_path / "data")
    states = []
    for name, ranks, batch_size in (("one", 1, 4), ("two", 2, 2)):
        out = tmp_path / name
        output = run(ranks, data, "--out", out, "--steps", 1, "--batch-size", batch_size)
        assert f"training on {ranks} x cpu" in output
        states.append(read_checkpoint(out / "last.pt")["training"])
        assert sorted(path.name for path in out.iterdir()) == ["config.json", "last.pt", "log.csv"]
        assert (out / "log.csv").read_text().count("\n") == 1
    one, two = states
    assert one["samples"] == two["samples"] == 4
    # After one step of AdamW its first moment is a tenth of the gradient.
    compared = 0
    for key, moments in one["optimizer"]["state"].items():
        torch.testing.assert_close(
            two["optimizer"]["state"][key]["exp_avg"], moments["exp_avg"], rtol=1e-3, atol=1e-6
        )
        compared += int(moments["exp_avg"].abs().max() > 1e-4)
    assert compared > 10


def test_a_rank_alone_has_its_own_values() -> None:
    assert mean_over_ranks([1.0, 2.5], torch.device("cpu"), Ranks()) == [1.0, 2.5]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_missing_gpu_is_told() -> None:
    with pytest.raises(ValueError, match=r"process 1 of this machine needs a GPU of its own and 0 are usable"):
        torch_device("cuda", Ranks(1, 2, 1))
