"""Runs `zig-ai` in this process."""

from __future__ import annotations

from typing import Any

from typer.testing import CliRunner

from zigai_cli.app import app


def zig_ai(*arguments: object, input: str | None = None) -> Any:
    """Run `zig-ai` with these arguments and standard input. Fails if a traceback is printed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=input)
    assert "Traceback" not in result.output
    return result
