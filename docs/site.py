"""MkDocs hooks: files that lie outside docs/ become pages, and links to others become plain text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Page -> the file of the repository that it shows.
SHOWN = {"training.md": "training/README.md", "security.md": "SECURITY.md"}
# File of the repository -> the page that says the same.
PAGES = {**{file: page for page, file in SHOWN.items()}, "README.md": "index.md"}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Returns a page's text: that of the file that it shows, its links leading to pages of the site."""
    name = page.file.src_uri
    if name in SHOWN:
        markdown = (ROOT / SHOWN[name]).read_text(encoding="utf-8")
    home = (ROOT / SHOWN.get(name, f"docs/{name}")).parent

    def resolve(match: re.Match[str]) -> str:
        mark, text, target, anchor = match[1], match[2], match[3], match[4] or ""
        if not target or "://" in target:
            return match[0]
        path = (home / target).resolve()
        file = path.relative_to(ROOT).as_posix()
        if file in PAGES:
            return f"[{text}]({PAGES[file]}{anchor})"
        if file.startswith("docs/"):
            return f"{mark}[{text}]({file.removeprefix('docs/')}{anchor})"
        return f"{text} (`{file}`)" if text != file else f"`{file}`"

    return LINK.sub(resolve, markdown)
