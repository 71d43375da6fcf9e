"""The report of `recon3d eval --html`, as a real browser shows it."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx, which makes the model of these tests, is not installed")

from drives import write_drive
from onnx_models import write_model

from recon3d_ros.tools import cli
from recon3d_ros.tools.html_report import html_of

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-headless-shell", "google-chrome"))), None)


class Elements(HTMLParser):
    """Collects each start tag with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on three frames, of which the middle one is all white and so the worst."""
    folder = tmp_path_factory.mktemp("report")
    drive = write_drive(folder / "a <b>drive & more", 3)
    cv2.imwrite(str(drive / "image" / "000001.png"), np.full((48, 80, 3), 255, np.uint8))
    model = write_model(folder / "tiny.onnx", height=24, width=40)
    file = folder / "out" / "report.html"
    assert cli.main(["eval", str(drive), "--model", str(model), "--html", str(file)]) == 0
    return file


def test_the_worst_frame_comes_first_and_each_has_its_picture(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    captions = re.findall(r"<figcaption>(\d)\. (\w+): abs_rel ([0-9.]+)</figcaption>", page)
    assert [rank for rank, _, _ in captions] == ["1", "2", "3"]
    errors = [float(error) for _, _, error in captions]
    assert errors == sorted(errors, reverse=True) and len(set(errors)) > 1
    images = [attributes["src"] for tag, attributes in Elements(page).found if tag == "img"]
    assert len(images) == 3 and all(source.startswith("data:image/jpeg;base64,") for source in images)


def test_it_needs_no_other_file_and_runs_no_script(report: Path) -> None:
    elements = Elements(report.read_text(encoding="utf-8")).found
    assert {tag for tag, _ in elements}.isdisjoint({"script", "link", "iframe", "b"})
    assert "a <b>drive & more" not in report.read_text(encoding="utf-8")
    sources = [value for _, attributes in elements for key, value in attributes.items() if key in ("src", "href")]
    assert all(source.startswith("data:") for source in sources)


def test_tables_become_tables() -> None:
    html = html_of("2 frames, a < b\n\n| by range | near | far |\n|---|---|---|\n| net | 0.1 / 0.9 | - |")
    assert html == (
        "<p>2 frames, a &lt; b</p>\n"
        "<table><thead><tr><th>by range</th><th>near</th><th>far</th></tr></thead>"
        "<tbody><tr><td>net</td><td>0.1 / 0.9</td><td>-</td></tr></tbody></table>"
    )


@pytest.mark.skipif(BROWSER is None, reason="no browser is installed: apt install chromium")
def test_a_real_browser_shows_every_picture(report: Path, tmp_path: Path) -> None:
    screenshot = tmp_path / "report.png"
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
        f"--screenshot={screenshot}", "--window-size=1400,2200", report.as_uri(),
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]
    shown = cv2.imread(str(screenshot))
    assert shown.shape == (2200, 1400, 3)
    # The page is white, its lines grey and its text black, so what has colour is a picture.
    spread = shown.max(axis=2).astype(int) - shown.min(axis=2)
    coloured_rows = (spread > 60).sum(axis=1) > 20
    starts = np.flatnonzero(coloured_rows[1:] & ~coloured_rows[:-1])
    assert len(starts) >= 3, "fewer pictures are drawn than the report has"
