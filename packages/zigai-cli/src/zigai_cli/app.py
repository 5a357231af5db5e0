"""The commands of `zig-ai`: its own, and those that plugins bring."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from zigai_cli import failure
from zigai_cli.bench import bench
from zigai_cli.chat import chat
from zigai_cli.generate import generate
from zigai_cli.inspect import inspect
from zigai_cli.plugins import plugins
from zigai_cli.tokenize import tokenize
from zigai_cli.version import show_version, version

# Typer 0.20 and later carry a copy of click; under either name this is the base of usage errors.
_UsageFault: type[Exception] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)


class CommandGroup(TyperGroup):
    """Turns errors into exit codes, and finds the commands of plugins without importing the others."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except (typer.Exit, typer.Abort, _UsageFault):
            raise
        except (Exception, KeyboardInterrupt) as error:
            raise typer.Exit(failure.tell(error)) from error

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Our own command of that name, else the one that a plugin registers."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        from zigai_core.api.calling import call
        from zigai_core.api.registry import Plugins

        commands = Plugins.installed().commands
        if cmd_name not in commands:
            return None
        function = commands.get(cmd_name)

        def made() -> Any:
            single = typer.Typer(add_completion=False, rich_markup_mode=None)
            single.command(cmd_name)(function)
            return typer.main.get_command(single)

        return call(f"the command {cmd_name!r} of a plugin", made)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List our own commands, and those of plugins by name and origin: they are not imported for this."""
        super().format_commands(ctx, formatter)
        if not _any_declared():
            return
        from zigai_core.api.registry import Plugins

        own = self.list_commands(ctx)
        rows = [
            (entry.name, f"of {entry.distribution} {entry.version}")
            for entry in Plugins.installed().commands.entries()
            if entry.name not in own
        ]
        if rows:
            with formatter.section("Commands of plugins"):
                formatter.write_dl(rows)


def _any_declared() -> bool:
    """Whether a distribution declares a command: a glance that spares --help a fifth of its time.

    What lies elsewhere than in folders of `sys.path` is not listed, but it can be run.
    """
    found = (path for place in sys.path for path in Path(place).glob("*-info/entry_points.txt"))
    try:
        return any(b"zigai.commands" in path.read_bytes() for path in found)
    except OSError:
        return True  # let the registry look: it knows how to pass over what cannot be read


# Rich would double the time that --help takes, and its boxes serve nobody who reads help through a pipe.
app = typer.Typer(
    cls=CommandGroup,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (chat, generate, bench, inspect, tokenize, plugins, version):
    app.command()(command)


def _version_and_leave(wanted: bool) -> None:
    if wanted:
        show_version()
        raise typer.Exit


@app.callback()
def zig_ai(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_version_and_leave, help="Show versions."),
    ] = False,
) -> None:
    """Run language models on the machine at hand.

    Exit codes: 0, 1 for an error you can mend, 2 for wrong usage, 130 for an interrupt.
    """
