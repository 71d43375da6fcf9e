"""Trains the shipped network on a rented GPU: `python -m training.rented_gpu --minutes 60 --out DIR`.

It needs no look after it is started: facts of the machine, GPU tests, trials, training, the new weights, their
error on held-out frames, a bench, and a report of all of it. It ends before the minutes are over; a stage that
fails, hangs or does not fit is reported and left out. See training/README.md, "On a rented GPU".

Ends with status 0, also when it was asked to stop (SIGTERM, Ctrl-C: what is learned is saved); 1 if the training
broke before it had learned anything, or no weights or no state could be written; 2 if it cannot be done as asked,
with nothing written.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from training.rental.folder import FolderError, check_out, check_resume, make_work_folder
from training.rental.plan import SHORTEST_MINUTES, Plan, margin_seconds
from training.rental.processes import StopRequest

PACK = Path(".training/pack")
DEFAULT_DATA = {False: ("live",), True: (f"{PACK}:7", "live:5")}  # without and with a pack


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, required=True, help="for everything; 0.5 or more")
    parser.add_argument("--out", type=Path, required=True, help="folder of the 8 files that come back")
    parser.add_argument(
        "--data",
        nargs="+",
        metavar="PATH[:WEIGHT]",
        help=f"what to train on, as training.train takes it; default: live, and {PACK} where that is",
    )
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on from the state of this earlier --out")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu is a rehearsal")
    parser.add_argument(
        "--config",
        type=Path,
        help="YAML or JSON of what is to differ, as for training.train; another network starts from scratch",
    )
    parser.add_argument(
        "--save-seconds",
        type=float,
        default=Plan.save_seconds,
        metavar="S",
        help="time between two saves, lost if the machine goes away; default: %(default)g",
    )
    return parser


def make_plan(options: argparse.Namespace, started: float) -> Plan:
    """Returns the plan of a rental that can begin.

    Raises:
        FolderError: A folder cannot be used.
        ValueError: The minutes are too few.
    """
    if not (math.isfinite(options.minutes) and options.minutes >= SHORTEST_MINUTES):
        raise ValueError(f"--minutes is {options.minutes:g}, expected {SHORTEST_MINUTES} or more")
    if not options.save_seconds > 0:
        raise ValueError(f"--save-seconds is {options.save_seconds:g}, expected more than 0")
    check_out(options.out, options.resume)
    if options.resume is not None:
        check_resume(options.resume)
    return Plan(
        minutes=options.minutes,
        ends=started + 60 * options.minutes - margin_seconds(options.minutes),
        out=options.out,
        work=make_work_folder(options.out),
        data=tuple(options.data or DEFAULT_DATA[PACK.is_dir()]),
        device=options.device,
        resume=options.resume,
        config=options.config,
        save_seconds=options.save_seconds,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    started = time.monotonic()
    parser = make_parser()
    try:
        plan = make_plan(parser.parse_args(arguments), started)
    except (FolderError, ValueError, OSError) as error:
        parser.exit(2, f"{error}\n")
    # Before torch: threads that spin while they wait let two busy cores train at a third of their pace.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    stop = StopRequest()  # from here on there is a work folder to remove
    try:
        try:
            from training.rental.run import run  # imports torch, which takes seconds of those that are counted
        except ImportError as error:
            parser.exit(2, f"{sys.executable}: {error}; run this with a python that has torch and what it needs\n")
        sys.exit(run(plan, started, stop))
    finally:
        shutil.rmtree(plan.work, ignore_errors=True)


if __name__ == "__main__":
    main()
