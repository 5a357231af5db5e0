"""`zig-ai config`: shows and changes the user's settings."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zigai_cli import input_text, whole_file
from zigai_cli.failure import InputError
from zigai_cli.options import Json
from zigai_cli.settings import config_file, defaults
from zigai_cli.settings.settable import Settable, common_options, expanded, options_of
from zigai_cli.terminal.editor import edit_file
from zigai_cli.terminal.output import clean, note, table

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

config = typer.Typer(rich_markup_mode=None)


def _keys(ctx: typer.Context, incomplete: str) -> list[str]:
    """Completions of a key."""
    commands = _commands(ctx)
    known = [*common_options(commands)]
    known += [f"{name}.{key}" for name, command in commands.items() for key in options_of(command)]
    return [key for key in known if key.startswith(incomplete)]


Key = Annotated[
    str,
    typer.Argument(
        metavar="KEY",
        help="Name of an option, such as threads or chat.temperature.",
        autocompletion=_keys,
    ),
]

TEMPLATE = """\
# Settings of zig-ai. A key is the name of an option; at the top it holds for every command that has it.
# model = "~/models/model.gguf"
# threads = 4
# history = false

# [chat]
# temperature = 0.7
"""


@config.callback(invoke_without_command=True)
def show(ctx: typer.Context, as_json: Json = False) -> None:
    """Show and change settings.

    They are the default model and the defaults of options. A setting is the name of an option: `threads` for
    every command that has --threads, `chat.threads` for `zig-ai chat` alone. The command line goes before
    environment variables, and these before the settings.
    """
    if ctx.invoked_subcommand is not None:
        if as_json:
            raise typer.BadParameter(f"--json comes after `{ctx.invoked_subcommand}`, if it has it")
        return
    commands = _commands(ctx)
    settings = config_file.read()
    defaults.check(settings, commands)
    rows = [_effective(key, option, settings) for key, option in common_options(commands).items()]
    rows += [
        {"key": key, "value": setting.value, "source": _source(setting)}
        for key, setting in settings.items()
        if "." in key
    ]
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2, default=str) + "\n")
        return
    table([[row["key"], _shown(row["value"]), row["source"]] for row in rows], ["setting", "value", "from"])


@config.command()
def get(ctx: typer.Context, key: Key, as_json: Json = False) -> None:
    """Print a setting. Exit code 1 if it is not set."""
    option = _option(ctx, key)
    settings = config_file.read()
    found = settings.get(key)
    if found is None:
        raise InputError(f"{key} is not set: its default is {option.default}")
    sys.stdout.write((json.dumps(found.value, default=str) if as_json else clean(_shown(found.value))) + "\n")


@config.command("set", context_settings={"ignore_unknown_options": True})
def set_value(
    ctx: typer.Context,
    key: Key,
    values: Annotated[
        list[str],
        typer.Argument(
            metavar="VALUE", help="The value; several for an option that may be given several times."
        ),
    ],
) -> None:
    """Set a setting. Comments in the file are kept."""
    option = _option(ctx, key)
    value = _parsed(key, option, [input_text.encodable("the value", value) for value in values])
    table_name, _, name = key.rpartition(".")
    defaults.check_one("not set", key, value, {name: option})
    document = _document()
    if table_name:
        if table_name not in document:
            document[table_name] = {}
        document[table_name][name] = value
    else:
        document[name] = value
    _write(document)


@config.command()
def unset(key: Key) -> None:
    """Remove a setting, so that the default holds again."""
    if key not in config_file.read():
        raise InputError(f"{key} is not set")
    document = _document()
    table_name, _, name = key.rpartition(".")
    if not table_name:
        del document[name]
    else:
        own: Any = document[table_name]
        del own[name]
        if not own:
            del document[table_name]
    _write(document)


@config.command()
def path() -> None:
    """Print the path of the settings file, which may not exist."""
    sys.stdout.write(f"{config_file.path()}\n")


@config.command()
def edit(ctx: typer.Context) -> None:
    """Open the settings file in an editor.

    It is that of $VISUAL or $EDITOR. The file is checked afterwards.
    """
    file = config_file.path()
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(TEMPLATE, encoding="utf-8")
    edit_file(file)
    defaults.check(config_file.read(), _commands(ctx))


def _commands(ctx: typer.Context) -> dict[str, Any]:
    """The built-in commands that have options, by name."""
    group: Any = ctx.find_root().command
    return {name: each for name, each in group.commands.items() if not hasattr(each, "commands")}


def _option(ctx: typer.Context, key: str) -> Settable:
    """The option that a key names. Raises `InputError` if there is none."""
    commands = _commands(ctx)
    table_name, dot, name = key.rpartition(".")
    if dot and table_name not in commands:
        group: Any = ctx.find_root().command
        plugin = group.get_command(ctx, table_name)
        commands |= {table_name: plugin} if plugin is not None and not hasattr(plugin, "commands") else {}
    if dot and table_name in commands:
        known = options_of(commands[table_name])
    elif dot:
        raise InputError(f"there is no command {table_name!r}: zig-ai --help lists them")
    else:
        known = common_options(commands)
    if name not in known:
        raise InputError(f"there is no option {key!r}{defaults.nearest(name, known)}")
    return known[name]


def _effective(key: str, option: Settable, settings: Mapping[str, config_file.Setting]) -> dict[str, Any]:
    """The value that holds for all commands, and where it comes from."""
    variable = defaults.ENVIRONMENT.get(key, "")
    if os.environ.get(variable):
        return {"key": key, "value": os.environ[variable], "source": f"environment variable {variable}"}
    if key in settings:
        return {"key": key, "value": settings[key].value, "source": _source(settings[key])}
    return {"key": key, "value": option.default, "source": "default"}


def _source(setting: config_file.Setting) -> str:
    return f"{config_file.path().name}:{setting.line}" if setting.line else config_file.path().name


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _parsed(key: str, option: Settable, values: list[str]) -> Any:
    """The words of the command line as a value of TOML."""
    if option.several:
        return values
    if len(values) > 1:
        raise typer.BadParameter(f"{key} takes one value: put several words in quotes")
    word = values[0]
    if option.kind is bool:
        known = {
            "true": True,
            "on": True,
            "yes": True,
            "1": True,
            "false": False,
            "off": False,
            "no": False,
            "0": False,
        }
        return known.get(word.lower(), word)
    if option.kind in (int, float):
        for convert in (int, option.kind):
            with contextlib.suppress(ValueError):
                return convert(word)
    if option.is_path:
        path = Path(expanded(word))
        if option.key == "packed_cache" or path.exists():
            return str(path.absolute())  # the same from any folder
    return word


def _document() -> TOMLDocument:
    import tomlkit

    config_file.read()  # its errors name file and line
    return tomlkit.parse(config_file.text())


def _write(document: TOMLDocument) -> None:
    import tomlkit

    try:
        whole_file.replace(config_file.path(), tomlkit.dumps(document).encode())
    except OSError as error:
        raise InputError(f"{config_file.path()}: {error.strerror}: nothing was changed") from error
    note(f"wrote {config_file.path()}", sys.stderr)
