"""The parts of a rental: stages that fail, hang and crash, the choice of settings, files in parts, the report."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")

from recon3d_ros.engines import default_model_path  # noqa: E402
from training.checkpoints import CheckpointError, load_network, save_published  # noqa: E402
from training.config import ConfigError, TrainConfig  # noqa: E402
from training.export import relative_differences  # noqa: E402
from training.onnx_file import ExportError  # noqa: E402
from training.rental import folder as folder_module  # noqa: E402
from training.rental import settings as settings_module  # noqa: E402
from training.rental.folder import (  # noqa: E402
    PLAIN_WEIGHTS,
    STATE_FILES,
    FolderError,
    check_out,
    claim,
    join_line,
    make_work_folder,
    write_parts,
)
from training.rental.gpu_tests import LINES, count_text, failed, read_results  # noqa: E402
from training.rental.learn import Saver  # noqa: E402
from training.rental.plan import AFTER_TRAINING, SHARES, Plan, margin_seconds, stage_seconds  # noqa: E402
from training.rental.processes import Note, Outcome, RunningStage, StopRequest, error_text  # noqa: E402
from training.rental.retries import next_try  # noqa: E402
from training.rental.settings import Start, base_weights, fitting_workers, make_start  # noqa: E402
from training.rental.trials import Trial, fastest, measured, search  # noqa: E402
from training.rental.weights import publish  # noqa: E402
from training.trainer import build_state  # noqa: E402


@pytest.fixture
def stop() -> Iterator[StopRequest]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield StopRequest()
    for number, handler in before.items():
        signal.signal(number, handler)


def succeed(note: Note, value: int) -> None:
    print("working")
    note(value=value)


def fail(note: Note) -> None:
    note(half="done")
    raise ValueError("the disk is upside down\nsecond line")


def crash(note: Note) -> None:
    note(half="done")
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(note: Note, child_file: Path) -> None:
    """Never ends, deaf to SIGTERM, with a process of its own that never ends either."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    child_file.write_text(str(child.pid))
    note(half="done")
    time.sleep(600)


def is_running(pid: int) -> bool:
    """Says whether a process runs; one that has ended may wait, as a zombie, to be noticed."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_stage_that_is_done_has_its_notes_and_its_output_in_the_logs(tmp_path, stop) -> None:
    outcome = RunningStage("one", succeed, 7, logs=tmp_path).wait(20.0, stop)
    assert (outcome.outcome, outcome.reason, outcome.result) == ("done", "", {"value": 7})
    assert (tmp_path / "one.log").read_text() == "working\n"


def test_a_stage_that_fails_gives_its_error_and_what_it_had_noted(tmp_path, stop) -> None:
    outcome = RunningStage("one", fail, logs=tmp_path).wait(20.0, stop)
    assert (outcome.outcome, outcome.reason) == ("failed", "ValueError: the disk is upside down")
    assert outcome.result == {"half": "done"}
    assert "Traceback" in (tmp_path / "one.log").read_text()


def test_a_stage_that_crashes_takes_nothing_with_it(tmp_path, stop) -> None:
    outcome = RunningStage("one", crash, logs=tmp_path).wait(20.0, stop)
    assert outcome.outcome == "crashed" and "SIGSEGV" in outcome.reason
    assert outcome.result == {"half": "done"}


def test_a_stage_that_hangs_is_ended_at_its_deadline_with_the_processes_that_it_started(tmp_path, stop) -> None:
    stage, begun = RunningStage("one", hang, tmp_path / "child", logs=tmp_path), time.monotonic()
    outcome = stage.wait(2.0, stop)
    assert outcome.outcome == "timed out" and outcome.result == {"half": "done"}
    assert 2.0 <= time.monotonic() - begun < 6.0
    assert not is_running(int((tmp_path / "child").read_text()))


def test_a_stop_is_passed_on_to_the_stage(tmp_path, stop) -> None:
    stage = RunningStage("one", time_out, logs=tmp_path)
    stop.is_set = True
    assert stage.wait(60.0, stop).outcome == "stopped"


def time_out(note: Note) -> None:
    time.sleep(60)


@pytest.mark.parametrize("minutes", [0.5, 1.0, 9.0, 60.0, 600.0])
def test_the_stages_fit_into_the_minutes_and_half_of_a_longer_rental_is_training(minutes) -> None:
    """All of them at their longest, one after another, on a clock that goes on by what each may take."""
    total, spent, training = 60 * minutes - margin_seconds(minutes), 3.0, 0.0
    for name in ("facts", "tests", "trials", "training", *AFTER_TRAINING):
        plan = Plan(minutes, time.monotonic() + total - spent, Path(), Path(), (), "cuda")
        took = {"facts": 3.0, "weights": 5.0}.get(name, stage_seconds(name, plan))
        spent += took if took >= SHARES[name].least else 0.0
        training = took if name == "training" else training
    assert spent <= total + 0.1
    assert training > (0.25 if minutes < 20 else 0.5) * total


def rates(trial: Trial) -> Trial:
    """Two thousand images a second in NHWC, bf16, compiled; less otherwise; no memory for 256."""
    if trial.batch_size == 256:
        return dataclasses.replace(trial, fault="out of memory")
    rate = {32: 900.0, 64: 1000.0, 128: 1400.0}[trial.batch_size]
    rate *= 1.0 if trial.channels_last else 0.8
    rate *= 1.43 if trial.compile else 1.0
    rate *= 0.5 if trial.precision == "fp32" else 1.0
    return dataclasses.replace(trial, images_per_second=rate)


def tried(seconds_left: Callable[[], float], fixed: frozenset[str] = frozenset()) -> list[Trial]:
    done: list[Trial] = []

    def measure(trial: Trial) -> Trial:
        done.append(rates(trial))
        return done[-1]

    config = TrainConfig(device="cuda", batch_size=64, precision="bf16")
    search(measure, config, fixed, seconds_left)
    return done


def test_the_fastest_way_is_found_by_one_choice_after_another() -> None:
    trials = tried(lambda: 100.0)
    assert fastest(trials) == Trial(128, True, True, "bf16", images_per_second=1400.0 * 1.43)
    assert [trial.fault for trial in trials if trial.batch_size == 256] == ["out of memory"]
    assert not any(not trial.channels_last and trial.batch_size != 64 for trial in trials)


def test_compiling_is_left_out_where_it_would_not_end_in_time_and_what_the_user_chose_is_not_tried() -> None:
    assert not any(trial.compile for trial in tried(lambda: 20.0))
    assert {trial.batch_size for trial in tried(lambda: 100.0, frozenset({"batch_size"}))} == {64}
    assert len(tried(lambda: 0.0)) == 1


def test_a_larger_batch_is_taken_only_for_a_real_gain() -> None:
    small = Trial(64, True, False, "bf16", images_per_second=100.0)
    large = Trial(128, True, False, "bf16", images_per_second=104.0)
    assert fastest([small, large]) == fastest([large, small]) == small
    assert fastest([Trial(64, True, False, "bf16", fault="out of memory")]) is None


def test_a_trial_trains_a_real_network_and_notes_a_lack_of_memory(monkeypatch) -> None:
    from toy_runs import TINY

    config = dataclasses.replace(TINY, height=32, width=96)
    trial = measured(Trial(2, False, False, "fp32"), config, 0.05)
    assert trial.images_per_second and trial.first_step_seconds > 0 and not trial.fault

    def no_memory(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("training.rental.trials.take_step", no_memory)
    assert measured(Trial(2, False, False, "fp32"), config, 0.05).fault == "out of memory"


def failure(reason: str = "", **result: Any) -> Outcome:
    config = {"batch_size": 64, "workers": 15, "compile": False, "renderer": "cuda"} | result.pop("config", {})
    return Outcome("training", "failed", reason=reason, result={"config": config, **result})


@pytest.mark.parametrize(
    ("outcome", "settings"),
    [
        (failure("CUDA out of memory", out_of_memory=64), {"batch_size": 32}),
        (failure("Caught in worker", out_of_memory=64, is_in_worker=True), {"workers": 7}),
        (failure("DataLoader worker (pid 7) is killed by signal: Bus error."), {"workers": 7}),
        (failure("DivergedError: step 7: loss is nan", config={"learning_rate": 1e-3}), {"learning_rate": 5e-4}),
        (failure("no kernel image", config={"compile": True}), {"compile": False}),
        (failure("CUDA error: an illegal memory access"), {"renderer": "cpu"}),
    ],
)
def test_a_training_that_failed_is_tried_again_in_another_way(outcome, settings) -> None:
    change = next_try(outcome, ("live:5",))
    assert change is not None and change.settings == settings


def test_a_training_that_is_done_or_cannot_be_helped_is_not_tried_again() -> None:
    assert next_try(Outcome("training", "done", result={"config": {}}), ("live",)) is None
    assert next_try(failure("out", out_of_memory=1, config={"batch_size": 1}), ("live",)) is None
    assert next_try(failure("no such sample", config={"renderer": "cpu"}), ("live",)) is None


def test_as_many_loaders_are_started_as_shared_memory_holds_batches_of(monkeypatch) -> None:
    """A sample of 640x192 takes 0.983 MB; five batches of 64 each, 315 MB a loader."""
    config = TrainConfig(batch_size=64, workers=16, first_height=192, first_width=640)
    monkeypatch.setattr(settings_module, "memory_gb", lambda: 100.0)
    for room_gb, workers in ((0.064, 0), (1.0, 2), (100.0, 16)):
        monkeypatch.setattr(settings_module, "free_gb", lambda path, room=room_gb: room)
        assert fitting_workers(config) == workers


def test_a_file_that_is_too_large_comes_back_in_parts_that_one_command_joins(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(folder_module, "LARGEST_FILE", 1000)
    content = os.urandom(2500)
    (tmp_path / "net.onnx").write_bytes(b"old")
    names = write_parts(tmp_path / "net.onnx", content)
    assert names == ["net.onnx.part1", "net.onnx.part2", "net.onnx.part3"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    subprocess.run(["bash", "-c", join_line(names)], cwd=tmp_path, check=True)
    assert (tmp_path / "net.onnx").read_bytes() == content
    assert write_parts(tmp_path / "net.onnx", b"small") == ["net.onnx"]
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"] and join_line(["net.onnx"]) == ""


def test_the_state_files_are_those_that_the_state_is_written_to() -> None:
    from training.state_files import NAMES

    assert STATE_FILES == NAMES


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_written(tmp_path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for out, message in (("file/out", "file is no folder"), ("link", "is a link to nothing")):
        with pytest.raises(FolderError, match=message):
            check_out(tmp_path / out, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


def test_of_two_rentals_only_one_writes_to_a_folder(tmp_path) -> None:
    out = tmp_path / "a" / "out"
    held = claim(out, None)
    with pytest.raises(FolderError, match="another rental writes to it now"):
        claim(out, out)
    os.close(held)
    (out / "mine.txt").write_text("mine")
    with pytest.raises(FolderError, match="is not empty"):
        claim(out, None)
    os.close(claim(out, out))


def test_only_a_folder_with_a_state_is_said_to_be_one_to_go_on_from(tmp_path) -> None:
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(FolderError, match="name a new folder"):
        check_out(tmp_path, None)
    for name in STATE_FILES:
        (tmp_path / name).write_text("")
    with pytest.raises(FolderError, match="go on with --resume"):
        check_out(tmp_path, None)


@pytest.mark.parametrize("line", ["device: cuda", "schedule: cosine"])
def test_a_configuration_that_is_at_odds_with_the_rental_is_refused(tmp_path, line: str) -> None:
    (tmp_path / "mine.yaml").write_text(line)
    plan = Plan(1.0, 0.0, tmp_path, tmp_path, ("live",), "cpu", config=tmp_path / "mine.yaml")
    with pytest.raises(ConfigError, match=r"mine\.yaml: \w+ is '\w+'; this rental's is '\w+'"):
        make_start(plan)


def test_the_error_of_a_loading_process_is_the_one_that_is_reported() -> None:
    from torch._utils import ExceptionWrapper

    try:
        raise OSError("/a/drive/x.jpg: is cut off")
    except OSError:
        wrapped = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(OSError, match="cut off") as caught:
        wrapped.reraise()
    assert error_text(caught.value).endswith("OSError: /a/drive/x.jpg: is cut off")
    assert error_text(ValueError("one\ntwo")) == "ValueError: one"


def test_a_recording_that_cannot_be_read_is_left_out_where_there_is_another() -> None:
    outcome = failure("DriveError: /a/drive/image/7.jpg: is cut off", config={"compile": True})
    change = next_try(outcome, ("/a/drive:3", "/a/drive2", "live:5"))
    assert change is not None and change.data == ("/a/drive2", "live:5") and not change.settings
    assert "/a/drive:3 was left out" in change.sentence and "7.jpg: is cut off" in change.sentence
    change = next_try(outcome, ("/a/drive",))
    assert change is not None and not change.data


def test_a_full_disk_is_named_before_anything_is_written(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(folder_module, "free_gb", lambda path: 0.01)
    with pytest.raises(FolderError, match=r"out: 10 MB are free on its disk, expected 80 MB"):
        check_out(tmp_path / "out", None)
    with pytest.raises(FolderError, match="set TMPDIR"):
        make_work_folder(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_at_a_save_is_noted_by_name_and_ends_no_training(tmp_path, monkeypatch) -> None:
    from toy_runs import TINY

    start = Start(TINY, is_shipped=False, fixed=frozenset())
    state, base = build_state(TINY), base_weights(start)
    plan = Plan(1.0, 0.0, tmp_path / "out", tmp_path, ("live",), "cpu")
    noted: dict[str, Any] = {}
    save = Saver(lambda **values: noted.update(values), plan, start, TINY, base, first_samples=0)
    save(state)
    assert noted["is_saved"] and {path.name for path in plan.out.iterdir()} == {*STATE_FILES, PLAIN_WEIGHTS}

    def full(folder: Path, *_: Any, **__: Any) -> None:
        raise CheckpointError(f"{folder / STATE_FILES[0]}: cannot be written (No space left on device)")

    before = {path.name: path.read_bytes() for path in plan.out.iterdir()}
    monkeypatch.setattr("training.rental.learn.write_compact_state", full)
    save(state)
    assert not noted["is_saved"]
    assert f"{STATE_FILES[0]}: cannot be written (No space left on device)" in noted["save_faults"][0]
    assert {path.name: path.read_bytes() for path in plan.out.iterdir()} == before


def test_new_weights_in_the_shipped_file_are_what_the_network_says(tmp_path) -> None:
    network = load_network(default_model_path())
    with torch.no_grad():
        for value in network.parameters():
            value.mul_(1.01)
    save_published(tmp_path / "weights.safetensors", network)
    plan = Plan(1.0, 0.0, tmp_path / "out", tmp_path, ("live:5", "/home/me/drive:2"), "cpu")
    [name] = publish(plan, tmp_path / "weights.safetensors", default_model_path(), samples=640)
    model = tmp_path / "out" / name
    again = load_network(model).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in network.state_dict().items())
    assert relative_differences(network, model, height=64, width=96).max() < 1e-3
    from recon3d_ros.core.model import read_metadata

    metadata = read_metadata(model)
    assert metadata["training_data"].endswith(
        "; then 640 samples of: rendered streets (training.render), 5 parts; drive, 2 parts"
    )


def test_weights_of_another_network_are_not_put_into_a_model_file(tmp_path) -> None:
    from training.models.depth_network import DepthNetwork, DepthNetworkConfig

    save_published(tmp_path / "tiny.safetensors", DepthNetwork(DepthNetworkConfig(encoder="tiny")))
    plan = Plan(1.0, 0.0, tmp_path / "out", tmp_path, ("live",), "cpu")
    with pytest.raises(ExportError, match="it is a file of another network"):
        publish(plan, tmp_path / "tiny.safetensors", default_model_path(), samples=1)
    assert not (tmp_path / "out").exists()


SUITE = """
import os
import pytest

def test_good(): pass
def test_bad(): assert 1 == 2
@pytest.mark.skip(reason="no GPU here")
def test_skipped(): pass
def test_crashing(): os._exit(3)
def test_after(): pass
"""


def test_the_result_of_each_test_is_known_also_where_pytest_crashes(tmp_path) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)
    lines = tmp_path / "lines.jsonl"
    environment = {**os.environ, LINES: str(lines), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "training.rental.pytest_lines", str(tmp_path)]
    subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
    with open(lines, "a") as file:
        file.write('{"test": "cut o')
    results = {name.rpartition("::")[2]: result for name, result in read_results(lines).items()}
    outcomes = {name: result["outcome"] for name, result in results.items()}
    assert outcomes == {
        "test_good": "passed",
        "test_bad": "failed",
        "test_skipped": "skipped",
        "test_crashing": "crashed",
        "test_after": "not run",
    }
    assert results["test_bad"]["reason"] == "assert 1 == 2"
    assert results["test_skipped"]["reason"] == "Skipped: no GPU here"
    assert failed(results) == ["test_bad", "test_crashing", "test_after"]
    assert count_text(results) == "1 passed, 1 failed, 1 skipped, 1 crashed, 1 not run"
