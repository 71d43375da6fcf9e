"""The order of a rental's stages, and what one hands to the next."""

from __future__ import annotations

import dataclasses
import multiprocessing.util
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from training.rental.bench import run_bench
from training.rental.check import check
from training.rental.folder import (
    PLAIN_WEIGHTS,
    STATE_FILES,
    WEIGHTS,
    FolderError,
    claim,
    remove_partial,
    too_large,
)
from training.rental.gpu_tests import lines_path, read_results, run_gpu_tests
from training.rental.held_out import judge_held_out
from training.rental.learn import learn, weights_path
from training.rental.notes import end_notes, stage_notes, start_notes
from training.rental.plan import SHARES, Plan, stage_seconds
from training.rental.processes import Outcome, RunningStage, StopRequest
from training.rental.report import Report
from training.rental.retries import MOST_TRIES, next_try
from training.rental.trials import Trial, fastest, run_trials
from training.rental.weights import finish_weights, make_template
from training.state_files import tidy

# Stages end by themselves after their seconds; one that does not is killed so much later.
GRACE_PART, GRACE_SECONDS = 0.2, 15.0


def run(plan: Plan, started: float, stop: StopRequest) -> int:
    """Runs a rental to its end.

    Args:
        started: When it began, by time.monotonic().
        stop: Ends it early.

    Returns:
        The exit status; see training.rented_gpu.
    """
    multiprocessing.util.get_temp_dir()  # made here it goes with this process; a killed stage would leave its own
    checked = RunningStage("facts", check, plan, logs=plan.logs).wait(stage_seconds("facts", plan), stop)
    if fault := checked.result.pop("fault", ""):
        print(fault, file=sys.stderr)
        return 2
    if checked.outcome != "done":
        print(f"looking at the machine {checked.outcome}: {checked.reason}", file=sys.stderr)
        return 1
    try:
        claim(plan.out, plan.resume)  # held until this process ends
    except FolderError as error:
        print(error, file=sys.stderr)
        return 2
    rental = Rental(plan, stop, checked)
    try:
        rental.run()
    finally:
        rental.end(time.monotonic() - started)
    for fault in rental.faults:
        print(fault, file=sys.stderr)
    return 1 if rental.faults else 0


class Rental:
    """A rental whose first stage is done.

    Attributes:
        faults: Why what comes back is not whole, in sentences.
    """

    def __init__(self, plan: Plan, stop: StopRequest, checked: Outcome) -> None:
        remove_partial(plan.out)
        self.plan, self.stop, self.faults = plan, stop, list[str]()
        self.report = Report(plan)
        self._start = checked.result.pop("start", {})
        self.report.content |= {"machine": checked.result.pop("machine", {}), "start": self._start}
        self._note(start_notes(plan, self.report.content))
        self._add(checked)
        # A network that is not the shipped one has no model file yet, and exporting one takes up to half a minute.
        self._template = (
            None if self._start["is_shipped"] else RunningStage("template", make_template, plan, logs=plan.logs)
        )

    def run(self) -> None:
        """Runs the stages."""
        self._stage("tests", run_gpu_tests, self.plan)
        found = self._trials()
        trained = self._train(found)
        if not trained.get("is_saved", True):
            self.faults.append(f"the last save failed: {trained['save_faults'][-1]}")
        if fault := self._why_nothing_new(trained):
            self.faults.append(fault)
        weights = weights_path(self.plan)
        self._end_template(wanted=weights.is_file())
        if weights.is_file():
            self._stage("weights", finish_weights, self.plan, weights, trained.get("samples", 0))
        else:
            self._add(Outcome("weights", "skipped", reason="nothing was trained"))
        seconds = stage_seconds("held_out", self.plan)
        self._stage("held_out", judge_held_out, self.plan, weights if weights.is_file() else None, seconds)
        self._stage("bench", run_bench, self.plan, stage_seconds("bench", self.plan))

    def end(self, seconds: float) -> None:
        """Ends what still runs and writes the final report.

        Args:
            seconds: Since the start.
        """
        if self._template is not None:
            self._template.end()
        remove_partial(self.plan.out)
        tidy(self.plan.out)
        for name, other in ((WEIGHTS, PLAIN_WEIGHTS), *((name, name) for name in STATE_FILES)):
            if not any(self.plan.out.glob(f"{name}*")) and not (self.plan.out / other).is_file():
                self.faults.append(f"{self.plan.out / name}: was not written; see the report")
        self._note([*self.faults, *end_notes(self.plan)])
        try:
            self.report.finish(seconds)
            self._note(wrong := too_large(self.plan.out))
            if wrong:
                self.report.finish(seconds)
        except OSError as error:
            self.faults.append(f"the report cannot be written: {error}")

    def _stage(self, name: str, work: Callable[..., None], *args: Any) -> Outcome:
        """Runs a stage, or skips it, and reports that."""
        seconds = stage_seconds(name, self.plan)
        if self.stop.is_set:
            outcome = Outcome(name, "skipped", reason="the rental was asked to stop")
        elif seconds < SHARES[name].least:
            needed = f"needs {SHARES[name].least:.0f} s, {max(0.0, seconds):.0f} s were left for it"
            outcome = Outcome(name, "skipped", reason=needed)
        else:
            self._write(lambda: self.report.begin(name))
            stage = RunningStage(name, work, *args, logs=self.plan.logs)
            grace = min(GRACE_PART * seconds, GRACE_SECONDS)
            outcome = stage.wait(min(seconds + grace, self.plan.seconds_left), self.stop)
        if name == "tests":
            outcome.result["tests"] = read_results(lines_path(self.plan))
        if name == "trials" and (best := fastest([Trial(**one) for one in outcome.result.get("trials", ())])):
            outcome.result["best"] = best
        self._add(outcome)
        return outcome

    def _trials(self) -> dict[str, Any]:
        """Returns the settings of the training that are best here."""
        outcome = self._stage("trials", run_trials, self.plan, stage_seconds("trials", self.plan))
        best = outcome.result.get("best")
        return best.settings() if best is not None else {}

    def _train(self, found: dict[str, Any]) -> dict[str, Any]:
        """Trains, again in another way where it fails; returns what the training noted."""
        forced: dict[str, Any] = {}
        resume = self.plan.resume
        for _ in range(MOST_TRIES):
            seconds = stage_seconds("training", self.plan)
            outcome = self._stage("training", learn, self.plan, found, forced, seconds, resume)
            if outcome.result.get("state_step"):
                resume = self.plan.out
            change = next_try(outcome, self.plan.data)
            if change is None or self.stop.is_set:
                break
            self._note([change.sentence])
            forced |= change.settings
            self.plan = dataclasses.replace(self.plan, data=change.data or self.plan.data)
        return outcome.result

    def _why_nothing_new(self, trained: Mapping[str, Any]) -> str:
        """Returns why a training that broke has left nothing but what it started from; "" where it has."""
        last = [stage for stage in self.report.content["stages"] if stage["name"] == "training"][-1]
        if last["outcome"] not in ("failed", "crashed", "timed out") or trained.get("new_samples"):
            return ""
        return f"nothing was learned: training {last['outcome']}: {last['reason']}"

    def _end_template(self, *, wanted: bool) -> None:
        """Waits for the model file that the weights are put into, as long as there is time."""
        if self._template is None:
            return
        left = max(0.0, self.plan.seconds_left - SHARES["weights"].least) if wanted else 0.0
        outcome = self._template.wait(left, self.stop)
        self._template = None
        self._add(dataclasses.replace(outcome, reason=outcome.reason and "it could not be traced in time"))

    def _add(self, outcome: Outcome) -> None:
        line = f"{outcome.name}: {outcome.outcome}, {outcome.seconds:.1f} s"
        print(f"{line}; {outcome.reason}" if outcome.reason else line, flush=True)
        self._note(stage_notes(outcome))
        self._write(lambda: self.report.add(outcome))

    def _note(self, sentences: Sequence[str]) -> None:
        for sentence in sentences:
            self.report.note(sentence)

    def _write(self, write: Callable[[], None]) -> None:
        """Writes the report; a full disk must not end the training."""
        try:
            write()
        except OSError as error:
            print(f"the report cannot be written now: {error}", file=sys.stderr, flush=True)
