"""`zig-ai completion`: completion of commands, options and models in a shell."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Optional

import typer

from zigai_cli.failure import InputError
from zigai_cli.terminal.output import note

PROGRAM = "zig-ai"
VARIABLE = "_ZIG_AI_COMPLETE"
"""The environment variable through which the shell asks for completions."""


class Action(StrEnum):
    """What to do with the completion script."""

    INSTALL = "install"
    SHOW = "show"
    REMOVE = "remove"


class Shell(StrEnum):
    """A shell with completion."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    action: Annotated[
        Action,
        typer.Argument(help="Install completion for your shell, print the script, or remove it."),
    ],
    shell: Annotated[
        Optional[Shell],  # noqa: UP045
        typer.Argument(help="The shell.", show_default="that of the variable SHELL"),
    ] = None,
) -> None:
    """Set up completion in bash, zsh or fish.

    Commands, options, models and values are completed. install writes the script below your home folder and,
    for bash and zsh, adds a line that reads it to ~/.bashrc or ~/.zshrc if it is not there. It takes effect
    in the next shell.
    """
    chosen = shell or _own_shell()
    if action is Action.SHOW:
        sys.stdout.write(script(chosen) + "\n")
        return
    path = script_path(chosen)
    settings = _settings_file(chosen)
    lines = _settings_lines(chosen, path)
    if action is Action.REMOVE:
        path.unlink(missing_ok=True)
        note(
            f"removed {path}" + (f"; lines in {settings} that read it may stay" if settings else ""),
            sys.stderr,
        )
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script(chosen) + "\n", encoding="utf-8")
    added = settings is not None and _append(settings, lines)
    note(
        f"completion for {chosen.value} is in {path}"
        + (f"; a line in {settings} reads it" if added else "")
        + "; start a new shell to use it",
        sys.stderr,
    )


def script(shell: Shell) -> str:
    """The completion script, as typer makes it."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    text: str = get_completion_script(prog_name=PROGRAM, complete_var=VARIABLE, shell=shell.value)
    return text


def script_path(shell: Shell) -> Path:
    """Where the script of a shell is installed."""
    home = Path.home()
    if shell is Shell.BASH:
        return home / ".bash_completions" / f"{PROGRAM}.sh"
    if shell is Shell.ZSH:
        return home / ".zfunc" / f"_{PROGRAM}"
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    return config / "fish" / "completions" / f"{PROGRAM}.fish"


def _settings_file(shell: Shell) -> Path | None:
    """The file that a shell reads when it starts; None for fish, which finds scripts by their folder."""
    if shell is Shell.BASH:
        return Path.home() / ".bashrc"
    return Path(os.environ.get("ZDOTDIR") or Path.home()) / ".zshrc" if shell is Shell.ZSH else None


def _settings_lines(shell: Shell, path: Path) -> list[str]:
    if shell is Shell.BASH:
        return [f"[ -f '{path}' ] && source '{path}'"]
    return [f"fpath+=('{path.parent}'); autoload -Uz compinit; compinit"]


def _append(settings: Path, lines: list[str]) -> bool:
    """Append the lines that a file lacks. It is never rewritten, so that a full disk cannot empty it."""
    text = settings.read_text(encoding="utf-8", errors="replace") if settings.exists() else ""
    present = text.splitlines()
    missing = [line for line in lines if line not in present]
    if missing:
        with settings.open("a", encoding="utf-8") as out:
            out.write("\n" * bool(text and not text.endswith("\n")) + "\n".join(missing) + "\n")
    return bool(missing)


def _own_shell() -> Shell:
    name = Path(os.environ.get("SHELL", "")).name
    try:
        return Shell(name)
    except ValueError:
        known = ", ".join(shell.value for shell in Shell)
        raise InputError(
            f"no completion for {name or 'a shell that SHELL does not name'}: name one of {known}"
        ) from None
