"""The repository's GPU tests as a stage: the result of each, even where the process does not come to its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.rental.plan import Plan
from training.rental.processes import Note

ROOT = Path(__file__).resolve().parents[2]
LINES = "RENTED_GPU_TEST_LINES"  # names the file that training.rental.pytest_lines writes to
COMMAND = (
    "-m", "pytest", "-m", "gpu", "-q", "-rA", "--continue-on-collection-errors", "-p", "no:cacheprovider",
    "-p", "training.rental.pytest_lines",
)  # fmt: skip


def run_gpu_tests(note: Note, plan: Plan) -> None:
    """Runs `pytest -m gpu` in the checkout.

    Raises:
        RuntimeError: A test failed, or pytest itself did.
    """
    lines = lines_path(plan)
    environment = {**os.environ, LINES: str(lines)}
    done = subprocess.run([sys.executable, *COMMAND], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL)
    note(exit_status=done.returncode)
    if done.returncode == 5:
        raise RuntimeError("pytest found no GPU test; is this a whole checkout, with test/?")
    if done.returncode != 0:
        raise RuntimeError(f"{count_text(read_results(lines))}; see tests.log in the logs")


def lines_path(plan: Plan) -> Path:
    return plan.logs / "test_lines.jsonl"


def read_results(lines: Path) -> dict[str, dict[str, Any]]:
    """Returns by test its "outcome" (passed, failed, error, skipped, crashed or not run), "seconds" and "reason".

    Args:
        lines: What training.rental.pytest_lines wrote; of a process that was ended, the last line may be cut off.
    """
    results: dict[str, dict[str, Any]] = {}
    if not lines.is_file():
        return results
    for text in lines.read_text().splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        for test in line.get("collected", ()):
            results[test] = {"outcome": "not run", "seconds": 0.0, "reason": ""}
        if "test" in line:
            results[line["test"]] = _joined(results.get(line["test"]), line)
    return results


def _joined(before: Mapping[str, Any] | None, line: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a test's result from its phases, set-up, call and tear-down: the first that is no success stands."""
    seconds = (before["seconds"] if before else 0.0) + line["seconds"]
    if before and before["outcome"] not in ("not run", "crashed", "passed"):
        return {**before, "seconds": seconds}
    return {"outcome": line["outcome"], "seconds": seconds, "reason": line["reason"]}


def count_text(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns "12 passed, 1 failed"."""
    counts = Counter(result["outcome"] for result in results.values())
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()) or "no test ran"


def failed(results: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    """Returns the names of the tests that neither passed nor were skipped."""
    return [name for name, result in results.items() if result["outcome"] not in ("passed", "skipped")]
