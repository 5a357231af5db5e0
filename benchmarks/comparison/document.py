"""Replaces a generated part of a Markdown page, between two marker comments."""

from __future__ import annotations

import re
from pathlib import Path


def replace_part(page: Path, name: str, text: str) -> None:
    """Replace the text between `<!-- name: begin -->` and `<!-- name: end -->`.

    Raises `SystemExit` unless the page has exactly one such part.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    content = page.read_text(encoding="utf-8")
    part = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", flags=re.DOTALL)
    if len(part.findall(content)) != 1:
        raise SystemExit(f"{page}: must hold one part between {begin} and {end}")
    page.write_text(part.sub(lambda _: f"{begin}\n\n{text.strip()}\n\n{end}", content), encoding="utf-8")
