"""The commands of `zig-ai`: built-in ones and those of plugins."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from zigai_cli import failure
from zigai_cli.commands.bench import bench
from zigai_cli.commands.chat import chat
from zigai_cli.commands.compare import compare
from zigai_cli.commands.completion import VARIABLE, completion
from zigai_cli.commands.config import config
from zigai_cli.commands.doctor import doctor
from zigai_cli.commands.embed import embed
from zigai_cli.commands.generate import generate
from zigai_cli.commands.history import history
from zigai_cli.commands.inspect import inspect
from zigai_cli.commands.models import list_models, rm, show
from zigai_cli.commands.new import new
from zigai_cli.commands.perplexity import perplexity
from zigai_cli.commands.plugins import plugins
from zigai_cli.commands.pull import pull
from zigai_cli.commands.rerank import rerank
from zigai_cli.commands.tokenize import tokenize
from zigai_cli.commands.version import show_version, version
from zigai_cli.failure import InputError
from zigai_cli.settings import defaults

# The base class of usage errors: click's own, or that of the copy of click inside recent versions of Typer.
_ClickException: type[Exception] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)

COMMANDS: Mapping[str, Mapping[str, Callable[..., None] | typer.Typer]] = {
    "Talk": {
        "chat": chat,
        "history": history,
        "generate": generate,
        "embed": embed,
        "rerank": rerank,
    },
    "Models": {"pull": pull, "list": list_models, "show": show, "rm": rm},
    "Look inside a model": {
        "inspect": inspect,
        "tokenize": tokenize,
        "perplexity": perplexity,
        "compare": compare,
    },
    "Write a plugin": {"new": new},
    "This machine": {
        "bench": bench,
        "config": config,
        "doctor": doctor,
        "plugins": plugins,
        "completion": completion,
        "version": version,
    },
}
"""The built-in commands by name, in the order and under the headings of --help."""


MAY_BE_EMPTY = frozenset({"--system", "--prompt"})
"""Options whose value may be an empty text."""


class CommandGroup(TyperGroup):
    """All commands. Turns exceptions into exit codes, and imports a plugin only to run its command."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the options before the command. A reader that closes the pipe of --help is no error."""
        try:
            return super().make_context(*arguments, **options)
        except BrokenPipeError as error:
            raise typer.Exit(failure.report(error)) from error

    def invoke(self, ctx: Any) -> Any:
        """Run a command. Raises `typer.Exit` with the exit code for any exception but a usage error."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except (typer.Exit, typer.Abort, _ClickException):
            raise
        except (Exception, KeyboardInterrupt) as error:
            raise typer.Exit(failure.report(error)) from error

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the built-in command of this name, or else a plugin's; None if there is neither."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        from zigai_core.api.calling import call
        from zigai_core.api.registry import Plugins

        commands = Plugins.installed().commands
        if cmd_name not in commands:
            return None
        function = commands.get(cmd_name)

        def make() -> Any:
            if isinstance(function, typer.Typer):
                group = typer.main.get_group(function)
                group.name = cmd_name
                return group
            single = typer.Typer(add_completion=False, rich_markup_mode=None)
            single.command(cmd_name)(function)
            return typer.main.get_command(single)

        return call(f"the command {cmd_name!r} of a plugin", make)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command, and make the user's settings the defaults of its options.

        Settings that cannot be used stop every command but --help.
        """
        name, command, rest = super().resolve_command(ctx, args)
        if not ctx.resilient_parsing and name in self.commands:
            own = getattr(command, "commands", {}).get(next(iter(rest), None), command)
            _refuse_empty(ctx, own, rest)
        if (
            name is not None
            and command is not None
            and not hasattr(command, "commands")
            and not ctx.resilient_parsing
        ):
            flat = {own: each for own, each in self.commands.items() if not hasattr(each, "commands")}
            try:
                values = defaults.default_map(name, command, flat)
            except (InputError, OSError):
                if not {"-h", "--help"} & set(rest) and name != "version":
                    raise
                values = {}
            ctx.default_map = {name: values}
            defaults.show(command, values)
        return name, command, rest

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the built-in commands, then those of plugins by name and package, without importing them."""
        for heading, names in COMMANDS.items():
            with formatter.section(heading):
                named = [(name, self.get_command(ctx, name)) for name in names]
                width = formatter.width - 6 - max(map(len, self.list_commands(ctx)))
                formatter.write_dl(
                    [(name, command.get_short_help_str(width)) for name, command in named],
                    col_max=30,
                )
        if not _any_declared():
            return
        from zigai_core.api.registry import Plugins

        own = self.list_commands(ctx)
        rows = [
            (entry.name, f"from {entry.distribution} {entry.version}")
            for entry in Plugins.installed().commands.entries()
            if entry.name not in own
        ]
        if rows:
            with formatter.section("Commands of plugins"):
                formatter.write_dl(rows)


def _refuse_empty(ctx: Any, command: Any, arguments: Sequence[str]) -> None:
    """Raise `typer.BadParameter` for an option with an empty value, such as `--id "$UNSET"` in a shell."""
    taking = {name for each in getattr(command, "params", ()) for name in each.opts if not _is_flag(each)}
    before = ""
    for argument in arguments:
        option = argument[:-1] if argument.endswith("=") else before if not argument else ""
        if argument == "--":
            return
        if option in taking - MAY_BE_EMPTY:
            raise typer.BadParameter(f"{option}: its value is empty", ctx=ctx)
        before = argument


def _is_flag(parameter: Any) -> bool:
    return bool(getattr(parameter, "is_flag", False)) or parameter.param_type_name != "option"


def _any_declared() -> bool:
    """True if an installed distribution declares a command.

    Cheaper than reading the registry, which takes a fifth of the time of --help. Only folders of `sys.path`
    are searched; a command of a distribution elsewhere, such as in a zip file, is not listed but runs.
    """
    found = (path for folder in sys.path for path in Path(folder).glob("*-info/entry_points.txt"))
    try:
        return any(b"zigai.commands" in path.read_bytes() for path in found)
    except OSError:
        return True  # the registry skips distributions that cannot be read


# Without Rich --help takes half the time, and help in a pipe has no boxes.
app = typer.Typer(
    cls=CommandGroup,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for names in COMMANDS.values():
    for name, command in names.items():
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)

if VARIABLE in os.environ:  # a shell asks for completions
    from typer.completion import completion_init  # type: ignore[attr-defined]

    completion_init()


def _version_and_exit(given: bool) -> None:
    if given:
        show_version()
        raise typer.Exit


@app.callback()
def zig_ai(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_version_and_exit, help="Show versions and exit."),
    ] = False,
) -> None:
    """Run language models on this machine.

    zig-ai COMMAND --help describes a command. Exit codes: 0 success, 1 error or a reply cut by the context,
    2 wrong usage, 130 interrupted (Ctrl-C).
    """
