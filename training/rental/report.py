"""The report of a rental: report.json, rewritten after each stage, report.md for people, and the logs."""

from __future__ import annotations

import dataclasses
import io
import tarfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from recon3d_ros.core.atomic_file import open_atomically, write_json
from training.rental.folder import LOGS, REPORT_JSON, REPORT_TEXT
from training.rental.plan import Plan
from training.rental.processes import Outcome
from training.rental.report_text import report_text

LOG_BYTES = 20_000_000  # of each log, its end; they pack to a tenth and less
NOT_EXACT = (
    "The state continues the training, but not bit by bit: its moments are rounded to 8 bits. A run of "
    "training.train resumes exactly."
)


class Report:
    """What is known so far.

    Attributes:
        content: Of report.json.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.content: dict[str, Any] = {
            "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "minutes": plan.minutes,
            "device": plan.device,
            "data": list(plan.data),
            "resumed_from": str(plan.resume) if plan.resume else None,
            "finished": False,
            "running": None,
            "machine": {},
            "start": {},
            "notes": [],
            "stages": [],
            "files": {},
            "state": NOT_EXACT,
        }

    def begin(self, stage: str) -> None:
        """Says which stage runs now: a report that a killed rental left says where it was."""
        self.content["running"] = stage
        self.write()

    def add(self, outcome: Outcome) -> None:
        """Adds what became of a stage, and writes."""
        self.content["running"] = None
        self.content["stages"].append({**dataclasses.asdict(outcome), "seconds": round(outcome.seconds, 1)})
        self.write()

    def note(self, text: str) -> None:
        """Adds a sentence that the reader should know."""
        self.content["notes"].append(text)

    def write(self) -> None:
        """Writes report.json.

        Raises:
            OSError: It cannot be written.
        """
        write_json(self._plan.out / REPORT_JSON, self.content)

    def finish(self, seconds: float) -> None:
        """Writes logs and both reports for the last time.

        Args:
            seconds: Of the whole rental.

        Raises:
            OSError: They cannot be written.
        """
        self.content["seconds"] = round(seconds, 1)
        write_logs(self._plan)
        self.content["files"] = {
            path.name: path.stat().st_size
            for path in sorted(self._plan.out.iterdir())
            if path.is_file() and path.name not in (REPORT_JSON, REPORT_TEXT)
        }
        self.content["finished"] = True
        with open_atomically(self._plan.out / REPORT_TEXT) as file:
            file.write(report_text(self.content).encode(errors="backslashreplace"))  # paths may be any bytes
        self.write()


def write_logs(plan: Plan) -> None:
    """Packs the output of all stages, and what the training wrote beside its checkpoints, into one archive."""
    files = [*sorted(plan.logs.glob("*")), *(plan.work / "run").glob("*.csv"), *(plan.work / "run").glob("*.json")]
    with open_atomically(plan.out / LOGS) as stream, tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for path in files:
            content = _end_of(path)
            entry = tarfile.TarInfo(f"logs/{path.name}")
            entry.size, entry.mtime = len(content), int(path.stat().st_mtime)
            archive.addfile(entry, io.BytesIO(content))


def _end_of(path: Path) -> bytes:
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_BYTES))
        return file.read()
