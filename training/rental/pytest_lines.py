"""A plug-in of pytest that writes each test's result at once, so that a crash or a deadline leaves it readable."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

CRASHED = "crashed"


def pytest_collection_finish(session: pytest.Session) -> None:
    _write({"collected": [item.nodeid for item in session.items]})


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _write({"test": report.nodeid, "outcome": "error", "seconds": 0.0, "reason": _reason(report)})


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    outcome = "error" if report.failed and report.when != "call" else report.outcome
    if report.when == "setup" and report.passed:
        outcome = CRASHED  # unless another line follows
    _write({"test": report.nodeid, "outcome": outcome, "seconds": report.duration, "reason": _reason(report)})


def _reason(report: pytest.CollectReport | pytest.TestReport) -> str:
    if report.passed or report.longrepr is None:
        return ""
    if isinstance(report.longrepr, tuple):  # of a skip: file, line, reason
        return str(report.longrepr[2])
    lines = [line[1:].strip() for line in str(report.longrepr).splitlines() if line.startswith("E ")]
    return (lines or str(report.longrepr).splitlines()[-1:] or [""])[0][:300]


def _write(line: dict[str, Any]) -> None:
    with open(os.environ["RENTED_GPU_TEST_LINES"], "a") as file:
        file.write(json.dumps(line) + "\n")
