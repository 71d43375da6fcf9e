"""report.md: what a person wants to know of a rental, on one screen or two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recon3d_ros.core.metrics import RANGES, WHOLE_RANGE, range_name
from training.rental.folder import PICTURES
from training.rental.gpu_tests import count_text, failed

JUDGED = {"drive": "the bundled drive", "rendered": "held-out rendered streets"}
SHOWN_FAILURES = 20


def report_text(content: Mapping[str, Any]) -> str:
    """Returns the report of report.json's content, as Markdown."""
    stages = {stage["name"]: stage for stage in content["stages"]}
    lines = [
        f"# {content['minutes']:g} minutes on {device_text(content['machine'])}",
        "",
        *(f"- {note}" for note in content["notes"]),
        "",
        "| stage | outcome | seconds | |",
        "|---|---|---|---|",
        *(
            f"| {one['name']} | {one['outcome']} | {one['seconds']:.1f} | {one['reason'] or summary(one)} |"
            for one in content["stages"]
        ),
        "",
        *_held_out(stages.get("held_out", {}).get("result", {})),
        *_training(stages.get("training", {}).get("result", {})),
        *_tests(stages.get("tests", {}).get("result", {})),
        *_bench(stages.get("bench", {}).get("result", {})),
        "## Files",
        "",
        *(f"- {name}: {size / 1e6:.2f} MB" for name, size in content["files"].items()),
        "",
        content["state"],
    ]
    if join := stages.get("weights", {}).get("result", {}).get("join"):
        lines += ["", f"The model is in parts; join them with `{join}`."]
    return "\n".join(lines) + "\n"


def device_text(machine: Mapping[str, Any]) -> str:
    """Returns the GPUs' names, or the CPU's."""
    gpus = [gpu["name"] for gpu in machine.get("gpus", ())]
    return ", ".join(gpus) or f"a CPU ({machine.get('cores')} cores)"


def summary(stage: Mapping[str, Any]) -> str:
    """Returns the most useful figure of a stage that is done."""
    result = stage["result"]
    if stage["name"] == "tests":
        return count_text(result.get("tests", {}))
    if stage["name"] == "trials" and (best := result.get("best")):
        return f"{best['images_per_second']:.0f} images/s: {way_text(best)}"
    if stage["name"] == "training" and "samples" in result:
        return (
            f"{result['step']} steps, {result['images_per_second']:.1f} images/s, batch "
            f"{result['config']['batch_size']}"
        )
    if stage["name"] == "weights":
        return f"{', '.join(result.get('files', ()))} {result.get('version', '')}".strip()
    if stage["name"] == "held_out":
        return ", ".join(f"{result[part].get('frames', 0)} frames of {part}" for part in JUDGED if part in result)
    return ""


def way_text(trial: Mapping[str, Any]) -> str:
    """Returns "batch 64, NHWC, eager, bf16"."""
    layout = "NHWC" if trial["channels_last"] else "NCHW"
    mode = "compiled" if trial["compile"] else "eager"
    return f"batch {trial['batch_size']}, {layout}, {mode}, {trial['precision']}"


def _held_out(result: Mapping[str, Any]) -> Iterator[str]:
    if not any("shipped" in result.get(part, {}) for part in JUDGED):
        return
    ranges = [range_name(limits) for limits in RANGES]
    yield from (
        "## Held-out frames",
        "",
        "abs_rel / delta1 (share of pixels within a factor of 1.25), by true depth.",
        "",
    )
    yield from (f"| | frames | {' | '.join(ranges)} |", "|---|---|" + "---|" * len(ranges))
    for part, name in JUDGED.items():
        figures = result.get(part, {})
        for network in ("shipped", "new"):
            if network in figures:
                cells = [_cell(figures[network].get(limits)) for limits in ranges]
                yield f"| {name}, {network} | {figures['frames']} | {' | '.join(cells)} |"
    yield ""
    yield from (
        f"![{picture}]({picture})" for part, picture in zip(JUDGED, PICTURES, strict=True) if part in result
    )
    yield ""


def _cell(metrics: Mapping[str, float] | None) -> str:
    return f"{metrics['abs_rel']:.3f} / {metrics['delta1']:.3f}" if metrics else "-"


def is_better(result: Mapping[str, Any]) -> bool | None:
    """Says whether the new network is better on both kinds of frames; None where that was not measured."""
    whole = range_name(WHOLE_RANGE)
    found = [result[part] for part in JUDGED if "new" in result.get(part, {})]
    if len(found) < len(JUDGED):
        return None
    return all(part["new"][whole]["abs_rel"] < part["shipped"][whole]["abs_rel"] for part in found)


def _training(result: Mapping[str, Any]) -> Iterator[str]:
    losses: Sequence[tuple[int, float]] = result.get("losses", ())
    if not losses:
        return
    yield from ("## Training", "", "| step | mean loss until then |", "|---|---|")
    yield from (f"| {step} | {loss:.4f} |" for step, loss in losses)
    yield ""


def _tests(result: Mapping[str, Any]) -> Iterator[str]:
    tests = result.get("tests", {})
    if bad := failed(tests):
        yield from ("## GPU tests that did not pass", "")
        yield from (
            f"- {tests[name]['outcome']}: `{name}`: {tests[name]['reason']}" for name in bad[:SHOWN_FAILURES]
        )
        if len(bad) > SHOWN_FAILURES:
            yield f"- and {len(bad) - SHOWN_FAILURES} more, in report.json"
        yield ""


def _bench(result: Mapping[str, Any]) -> Iterator[str]:
    if rows := result.get("rows"):
        yield from ("## Bench", "", "| engine | size | batch | median ms | p99 ms |", "|---|---|---|---|---|")
        for row in rows:
            yield (
                f"| {row['engine']} | {row['width']}x{row['height']} | {row['batch']} | {row['median_ms']:.2f} | "
                f"{row['p99_ms']:.2f} |"
            )
        yield ""
