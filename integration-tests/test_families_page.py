"""docs/families.md has a row for each oracle, with the mutations that it notices.

The suites of families hold that each oracle notices all; here one of each package is computed again.
"""

from __future__ import annotations

import runpy
from pathlib import Path

FAMILIES = Path(__file__).resolve().parent / "oracle" / "families.py"


def test_the_page_of_families_is_up_to_date() -> None:
    script = runpy.run_path(str(FAMILIES))
    text = script["PAGE"].read_text(encoding="utf-8")
    assert text.startswith(script["HEAD"]), "run integration-tests/oracle/families.py"
    shown = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text[len(script["HEAD"]) :].splitlines()
    ]
    made = list(script["rows"](peer=False))
    assert [row[:3] for row in shown] == [row[:3] for row in made]
    assert [row for row in made if row[6]]
    assert all(ours[6] in ("", row[6]) for row, ours in zip(shown, made, strict=True))
    for row in shown:
        assert all(row[3:6]), row
        noticed, total = row[6].split(" of ")
        assert noticed == total, row
