"""`zig-ai doctor`: checks the machine and the installation."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import typer

from zigai_cli import failure, memory_limit
from zigai_cli.options import Json
from zigai_cli.terminal.output import note, table


def doctor(context: typer.Context, as_json: Json = False) -> None:
    """Check the machine and the installation.

    Says what is wrong, and shows the CPU, memory and its speed, versions, plugins that fail and why,
    backends, folders, and the environment variables in use. The exit code is 1 if something is broken.
    """
    memory_limit.check()
    from zigai_cli.commands.plugins import own_commands
    from zigai_cli.measure.checkup import checks

    note("measuring the memory and importing every plugin …", sys.stderr)
    found = list(checks(own_commands(context)))
    errors = [check for check in found if check.status == "error"]
    warnings = [check for check in found if check.status == "warning"]
    if as_json:
        answer = {
            "ok": not errors,
            "errors": len(errors),
            "warnings": len(warnings),
            "checks": [asdict(check) for check in found],
        }
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    else:
        marks = {"ok": "", "warning": "WARNING: ", "error": "ERROR: "}
        rows, group = [], ""
        for check in found:
            if check.group != group:
                group = check.group
                rows.append([group, ""])
            rows.append([f"  {check.name}", f"{marks[check.status]}{check.text}"])
        table(rows)
        counts = [
            f"{len(some)} {what}{'s' if len(some) > 1 else ''}"
            for some, what in ((errors, "error"), (warnings, "warning"))
            if some
        ]
        verdict = "everything works" if not counts else " and ".join(counts) + ", listed above"
        sys.stdout.write(f"\n{verdict}\n")
    if errors:
        raise typer.Exit(failure.FAILED)
