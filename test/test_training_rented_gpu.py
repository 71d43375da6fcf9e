"""An hour of a rented GPU in one command, rehearsed on a CPU: what comes back, and what no fault can take away."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from toy_shards import write_toy_shards

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")

from recon3d_ros.engines import default_model_path, load_engine  # noqa: E402
from training.checkpoints import load_network  # noqa: E402
from training.rental.folder import LARGEST_FILE, MOST_FILES, PLAIN_WEIGHTS, STATE_FILES, WEIGHTS  # noqa: E402
from training.rented_gpu import main  # noqa: E402

STAGES = ["facts", "tests", "trials", "training", "weights", "held_out", "bench"]
TINY = "network: {encoder: tiny, decoder_channels: [24, 16, 12, 8]}\nfirst_height: 32\nfirst_width: 96\n"
TINY += "height: 32\nwidth: 96\nbatch_size: 4\nchannels_last: true\nworkers: 1\n"
# Runs the command in a process whose steps need more memory than there is, for more than two images.
SMALL_MEMORY = """
import sys, torch, training.train
from training.rented_gpu import main
take_step = training.train.take_step
def small(state, batch, config):
    if len(batch["image"]) > 2:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return take_step(state, batch, config)
training.train.take_step = small
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shards to train on, and the configuration of a tiny network."""
    folder = tmp_path_factory.mktemp("desk")
    write_toy_shards(folder / "shards", frames=8)
    (folder / "tiny.yaml").write_text(TINY)
    return folder


@pytest.fixture(autouse=True)
def work_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the work folder of a rental that is killed out of the machine's own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def tiny_options(desk: Path, out: Path, *more: str, minutes: float = 3.0) -> list[str]:
    options = (
        f"--minutes {minutes} --device cpu --out {out} --data {desk / 'shards'} --config {desk / 'tiny.yaml'}"
    )
    return [*options.split(), *more]


@contextlib.contextmanager
def started(*options: str, program: tuple[str, ...] = ("-m", "training.rented_gpu")) -> Iterator[subprocess.Popen]:
    """The command in a process group of its own, of which nothing is left afterwards."""
    process = subprocess.Popen(
        [sys.executable, *program, *options], cwd=ROOT, text=True, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ended(*options: str, seconds: float = 120.0) -> tuple[int, str]:
    """Returns the exit status and the errors of the command."""
    with started(*options) as process:
        errors = process.communicate(timeout=seconds)[1]
    return process.returncode, errors


def wait_for(condition: Callable[[], bool], *, seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.1)


def report_of(out: Path) -> dict:
    return json.loads((out / "report.json").read_text())


def stages_of(out: Path) -> dict[str, dict]:
    return {stage["name"]: stage for stage in report_of(out)["stages"]}


def state_step(out: Path) -> int:
    """Returns the step that a state was written at; -1 without a state."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(out / STATE_FILES[0], framework="pt") as file:
            return json.loads(file.metadata()["counters"])["step"]
    except (FileNotFoundError, SafetensorError):
        return -1


def processes_of(out: Path) -> list[str]:
    """Returns the processes whose command names a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(out).encode() in path.read_bytes():
                found.append(path.parent.name)
    return found


def test_half_a_minute_of_a_tiny_network_brings_back_weights_state_report_logs_and_pictures(
    desk, tmp_path
) -> None:
    out, begun = tmp_path / "out", time.monotonic()
    status, errors = ended(*tiny_options(desk, out, minutes=0.5))
    assert status == 0, errors
    assert time.monotonic() - begun < 30.0
    files = {path.name: path.stat().st_size for path in out.iterdir()}
    # A machine that does much else at the time may not come to make a model file, and then says how to.
    weights = WEIGHTS if WEIGHTS in files else PLAIN_WEIGHTS
    assert weights == WEIGHTS or any("make it with" in note for note in report_of(out)["notes"])
    needed = {weights, *STATE_FILES, "report.json", "report.md", "logs.tar.gz"}
    assert needed <= files.keys() <= needed | {"pictures_drive.jpg", "pictures_rendered.jpg"}
    assert len(files) <= MOST_FILES and max(files.values()) <= LARGEST_FILE
    report, stages = report_of(out), stages_of(out)
    assert report["finished"] and [name for name in stages if name in STAGES] == STAGES
    assert stages["training"]["outcome"] == "done" and stages["training"]["result"]["new_samples"] > 0
    assert "starts from scratch" in report["start"]["weights"]
    assert report["machine"]["packages"]["torch"] == torch.__version__
    with tarfile.open(out / "logs.tar.gz") as logs:
        assert {"logs/training.log", "logs/log.csv"} <= set(logs.getnames())
    assert load_network(out / weights).config.encoder == "tiny"
    assert weights == PLAIN_WEIGHTS or load_engine(out / WEIGHTS).info.version == "0.0.0+rented"


def test_a_minute_of_the_shipped_network_with_all_defaults_ends_in_time_and_says_what_did_not_fit(
    tmp_path,
) -> None:
    out, begun = tmp_path / "out", time.monotonic()
    status, errors = ended("--minutes", "1", "--device", "cpu", "--out", str(out))
    assert status == 0, errors
    assert time.monotonic() - begun < 90.0
    stages = stages_of(out)
    skipped = [stage for stage in stages.values() if stage["outcome"] == "skipped"]
    assert skipped and all("were left for it" in stage["reason"] for stage in skipped)
    assert load_network(out / WEIGHTS).config == load_network(default_model_path()).config
    assert report_of(out)["start"]["weights"] == "those of the shipped network"


def test_a_killed_rental_leaves_a_state_to_go_on_from_and_one_that_is_told_to_stop_saves(desk, tmp_path) -> None:
    out = tmp_path / "out"
    options = tiny_options(desk, out, "--save-seconds", "0.5")
    with started(*options) as killed:
        wait_for(lambda: state_step(out) > 0)
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
    wait_for(lambda: not processes_of(out))  # none goes on training unseen
    left = state_step(out)
    assert left > 0 and not report_of(out)["finished"]
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    status, errors = ended(*options)
    assert status == 2 and f"--resume {out}" in errors
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    with started(*options, "--resume", str(out)) as stopped:
        wait_for(lambda: state_step(out) > left)
        os.killpg(stopped.pid, signal.SIGTERM)
        errors = stopped.communicate(timeout=60)[1]
    assert stopped.returncode == 0, errors
    report = report_of(out)
    assert report["finished"] and report["resumed_from"] == str(out)
    assert state_step(out) == stages_of(out)["training"]["result"]["step"] > left
    assert stages_of(out)["held_out"]["reason"] == "the rental was asked to stop"
    assert "not bit by bit" in (out / "report.md").read_text()


def test_a_batch_that_memory_is_too_small_for_is_halved_and_the_report_says_so(desk, tmp_path) -> None:
    out = tmp_path / "out"
    options = tiny_options(desk, out, "--save-seconds", "0.5")
    with started(*options, program=("-c", SMALL_MEMORY)) as process:
        wait_for(lambda: state_step(out) > 0)
        os.killpg(process.pid, signal.SIGTERM)
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == 0, errors
    assert "Out of memory at batch 4: halved to 2." in report_of(out)["notes"]
    tries = [stage for stage in report_of(out)["stages"] if stage["name"] == "training"]
    assert [one["result"]["config"]["batch_size"] for one in tries] == [4, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--minutes 0.4 --out {new}", "--minutes is 0.4, expected 0.5 or more"),
        ("--minutes nan --out {new}", "expected 0.5 or more"),
        ("--minutes 1 --out {new} --save-seconds nan", "--save-seconds is nan, expected more than 0"),
        ("--minutes 1 --out {full}", "is not empty; name a new folder"),
        ("--minutes 1 --out {file}", "is a file"),
        ("--minutes 1 --out {new} --resume {full}", "state_network.safetensors: no such file; --resume names"),
        ("--minutes 1 --out {full} --resume {new}", "is not empty"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence_and_nothing_is_written(
    options, message, tmp_path, capsys
) -> None:
    places = {name: tmp_path / name for name in ("new", "full", "file")}
    places["full"].mkdir()
    (places["full"] / "mine.txt").write_text("mine")
    places["file"].write_text("mine")
    with pytest.raises(SystemExit) as ending:
        main(options.format(**places).split())
    assert ending.value.code == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full", "mine.txt"]


def test_a_python_without_torch_is_named_and_nothing_is_left(tmp_path) -> None:
    program = "import sys; sys.modules['torch'] = None; from training.rented_gpu import main; main()"
    command = [sys.executable, "-c", program, "--minutes", "1", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith(sys.executable), done.stderr
    assert "torch" in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_a_gpu_it_says_so_in_one_sentence(tmp_path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    status, errors = ended("--minutes", "1", "--out", str(tmp_path / "out"))
    assert status == 2 and errors.startswith("no GPU: torch ") and errors.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_state_of_another_network_and_data_that_are_not_there_are_refused_by_name(desk, tmp_path) -> None:
    from training.compact_state import write_compact_state
    from training.rental.plan import Plan
    from training.rental.settings import base_weights, make_start
    from training.trainer import build_state

    plan = Plan(1.0, 0.0, tmp_path, tmp_path, (), "cpu", config=desk / "tiny.yaml")
    start = make_start(plan)
    write_compact_state(tmp_path / "tiny", build_state(start.config), start.config, base=base_weights(start))
    options = ["--minutes", "1", "--device", "cpu", "--out", str(tmp_path / "out")]
    status, errors = ended(*options, "--resume", str(tmp_path / "tiny"))
    assert status == 2 and f"{tmp_path / 'tiny'}: holds the state of a network of" in errors
    status, errors = ended(*options, "--data", str(tmp_path / "nowhere"))
    assert status == 2 and "nowhere" in errors and "Traceback" not in errors
    assert not (tmp_path / "out").exists()


def test_make_asks_for_the_minutes() -> None:
    done = subprocess.run(["make", "-n", "train-gpu"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "MINUTES is missing" in done.stderr


def test_make_starts_it_with_the_python_that_is_there_and_installs_nothing() -> None:
    command = ["make", "-n", "--no-print-directory", "train-gpu", "MINUTES=9", "PYTHON=/opt/python", "OUT=back"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.split() == '/opt/python -m training.rented_gpu --minutes "9" --out "back"'.split()
