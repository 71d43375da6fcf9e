"""The report of `recon3d eval` as one HTML file that needs nothing else: no script, no network."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from html import escape
from pathlib import Path

import cv2

from recon3d_ros.core.atomic_file import open_atomically
from recon3d_ros.core.worst_frames import WorstFrame

STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 1320px; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { border-bottom: 1px solid #ddd; padding: .25em .8em; text-align: right; }
th { background: #f4f4f4; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 2em 0; } figcaption { font-weight: bold; } img { max-width: 100%; }
"""
# A report holds names from recordings; whatever they are, a browser runs and loads nothing.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_html(
    path: Path, *, title: str, facts: dict[str, str], markdown: str, worst: Iterable[WorstFrame]
) -> None:
    """Writes the report.

    Args:
        path: of the file.
        title: of the page.
        facts: what was judged: the model, its hash, the drive.
        markdown: paragraphs and tables, see recon3d_ros.core.report_tables.
        worst: frames, the worst first.
    """
    figures = "".join(map(_figure, worst))
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in facts.items())
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<table>{rows}</table>
<h2>Worst frames first</h2>
{figures or "<p>No frame has a valid pixel of known depth.</p>"}
<h2>All frames</h2>
{html_of(markdown)}
</body>
</html>
"""
    with open_atomically(path) as file:
        file.write(page.encode())


def html_of(markdown: str) -> str:
    """Returns the HTML of Markdown that holds nothing but paragraphs and tables."""
    parts = []
    for block in markdown.strip().split("\n\n"):
        lines = block.splitlines()
        if not lines[0].startswith("|"):
            parts.append(f"<p>{escape(block)}</p>")
            continue
        head, _rule, *body = (re.split(r" \| ", line.removeprefix("| ").removesuffix(" |")) for line in lines)
        rows = "".join(f"<tr>{_cells(row, 'td')}</tr>" for row in body)
        parts.append(f"<table><thead><tr>{_cells(head, 'th')}</tr></thead><tbody>{rows}</tbody></table>")
    return "\n".join(parts)


def _cells(texts: list[str], tag: str) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)


def _figure(worst: WorstFrame) -> str:
    done, content = cv2.imencode(".jpg", worst.picture[..., ::-1])
    if not done:
        raise OSError(f"the picture of {worst.name} cannot be written as JPEG")
    caption = escape(f"{worst.rank}. {worst.name}: abs_rel {worst.abs_rel:.3f}")
    data = base64.b64encode(content.tobytes()).decode()
    image = f'<img alt="{caption}" src="data:image/jpeg;base64,{data}">'
    return f"<figure><figcaption>{caption}</figcaption>{image}</figure>\n"
