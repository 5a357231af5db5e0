"""Formats results as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from limits import Limits, Rate, table

HEADS = "| work | threads | ZigAI | llama.cpp | setting | ratio | limit | ZigAI's share | llama.cpp's share |"


def markdown(measured: Sequence[Mapping[str, Any]]) -> str:
    """The results of one or more runs: for each the machine, its limits, and a table per model."""
    parts = []
    for run in measured:
        parts += [conditions(run)]
        known = {result["threads"]: result["limits"] for result in run["results"]}
        if known:
            parts += [table([limits_of(known[threads]) for threads in sorted(known)])]
        models = dict.fromkeys(result["model"] for result in run["results"])
        parts += [_model([r for r in run["results"] if r["model"] == model]) for model in models]
    return "\n\n".join(parts) + "\n"


def conditions(run: Mapping[str, Any]) -> str:
    """A paragraph about the machine, the date and the method."""
    machine, options = run["machine"], run["options"]
    commit = machine["commit"]
    others = [share for result in run["results"] for share in result["others"]]
    used = f"{statistics.median(others):.0%} in the median run, {max(others):.0%} at most" if others else ""
    ours = f"ZigAI {machine['zigai']}" + (f" (commit {commit})" if commit else "")
    return (
        f"Measured on {run['date']}: {machine['cpu']}, {machine['cores']} cores, {machine['system']}, Python "
        f"{machine['python']}; {ours}, llama-cpp-python {run['peer_version']}. Medians of "
        f"{options['rounds']} rounds (minimum–maximum); in each round every system does every job once, in "
        f"alternation, in a process of its own, which reports the median of {options['repeat']} after a "
        f"warm-up; {options['generate']} tokens are decoded."
        + (f" CPU use of other processes: {used}." if others else "")
    )


def limits_of(stored: Mapping[str, Any]) -> Limits:
    """Limits from the values of a JSON file."""
    rates = {name: Rate(**stored[name]) for name in ("read", "int8", "f32")}
    return Limits(threads=stored["threads"], int8_sequence=stored["int8_sequence"], **rates)


def _model(results: Sequence[Mapping[str, Any]]) -> str:
    lines = [f"### {results[0]['model']}, {results[0]['bytes'] / 1e9:.2f} GB", "", HEADS, "|---" * 9 + "|"]
    for result in results:
        for row in result["rows"]:
            cells = [
                f"{row['figure']}, {row['unit']}",
                str(result["threads"]),
                _value(row, "ours", "ZigAI"),
                _value(row, "peer", row["peer_setting"]),
                row["peer_setting"] or "",
                "" if row["ratio"] is None else f"{row['ratio']:.2f}",
                _number(row["bound"], row["unit"]),
                _share(row["our_share"]),
                _share(row["peer_share"]),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    notes = dict.fromkeys(note for result in results for note in result["notes"])
    return "\n".join(lines + (["", *(f"- {note}" for note in notes)] if notes else []))


def _value(row: Mapping[str, Any], which: str, system: str | None) -> str:
    if row[which] is None or system is None:
        return ""
    text = _number(row[which], row["unit"])
    values = row["values"][system]
    if len(values) > 1:
        text += f" ({_number(min(values), row['unit'])}–{_number(max(values), row['unit'])})"
    return text


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if unit == "GB":
        value /= 1e9
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"
