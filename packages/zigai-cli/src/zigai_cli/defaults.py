"""The defaults of a command's options that the user's settings replace.

The command line goes before environment variables, these before the settings, and these before the defaults.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from zigai_cli import config_file
from zigai_cli.config_file import Setting
from zigai_cli.failure import InputError
from zigai_cli.load_options import to_load_options
from zigai_cli.options import sampling
from zigai_core.contracts.errors import escape
from zigai_core.contracts.load_options import LoadOptions

ENVIRONMENT = {"threads": "ZIGAI_NUM_THREADS", "packed_cache": "ZIGAI_PACKED_CACHE"}
"""Environment variables that go before the settings, by key."""

PATHS = frozenset({"model", "draft", "packed_cache"})
"""Options that may name a file or folder."""

COMMON = ("chat", "generate")
"""Commands whose options may be set for all commands."""
_ONCE = frozenset({"help", "version", "json", "continue", "id", "prompt", "image"})
"""Options that make sense on a command line only."""
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed")

# `Any` for commands, options and contexts: they are click's, or those of the copy of click inside Typer.


def options_of(command: Any) -> dict[str, Any]:
    """The options of a command that may be set, by key: `--kv-dtype` is `kv_dtype`."""
    found = {}
    for option in command.params:
        long = [name for name in option.opts if name.startswith("--")]
        if long:
            found[long[0][2:].replace("-", "_")] = option
    has_argument = any(
        each.param_type_name == "argument" and each.metavar == "MODEL" for each in command.params
    )
    return {
        key: option
        for key, option in found.items()
        if key not in _ONCE and not (key == "model" and has_argument)
    }


def common_options(commands: Mapping[str, Any]) -> dict[str, Any]:
    """The options that may be set for all commands, by key."""
    found: dict[str, Any] = {}
    for name in COMMON:
        found = options_of(commands[name]) | found
    return found


def default_map(name: str, command: Any, commands: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a command's options in the user's settings, by the name of the option's parameter.

    `commands` are the built-in commands. Raises `InputError`, with file and line, for a key that does not
    exist and for a value of a wrong type or out of range.
    """
    settings = config_file.read()
    check(settings, {**commands, name: command})
    mine = options_of(command)
    values = {}
    for key, option in mine.items():
        setting = settings.get(f"{name}.{key}")
        if setting is None and key in common_options(commands) and key != "model":
            setting = settings.get(key)
        if setting is not None and not os.environ.get(ENVIRONMENT.get(key, "")):
            values[option.name] = converted(key, option, setting.value)
    return values


def show(command: Any, values: Mapping[str, Any]) -> None:
    """Make --help of a command show these defaults."""
    for option in command.params:
        if option.name in values and option.param_type_name == "option":
            value = values[option.name]
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            option.show_default = f"{escape(shown)}, from {config_file.path().name}"


def check(settings: Mapping[str, Setting], commands: Mapping[str, Any]) -> None:
    """Raise `InputError`, with file and line, for the first setting that no command takes."""
    common = common_options(commands)
    for key, setting in settings.items():
        where = f"{config_file.path()}:{setting.line}" if setting.line else str(config_file.path())
        table, dot, name = key.rpartition(".")
        if dot and table not in commands:
            if table in _plugins_commands():
                continue  # its options are checked when the command is run
            raise InputError(f"{where}: there is no command {table!r}{_nearest(table, commands)}")
        known = options_of(commands[table]) if dot else common
        check_one(where, key, name, setting.value, known)
    _check_together(settings, common)


def check_one(where: str, key: str, name: str, value: Any, known: Mapping[str, Any]) -> None:
    """Raise `InputError`, which names the place `where`, if the options `known` do not take the value."""
    if name not in known:
        raise InputError(f"{where}: there is no option {escape(key)!r}{_nearest(name, known)}")
    try:
        converted(name, known[name], value)
        if name in _SAMPLING:
            sampling(**{**dict.fromkeys(_SAMPLING), name: value})
        elif name in {field.name for field in LoadOptions.fields()}:
            to_load_options({name: value})
    except (typer.BadParameter, ValueError) as error:
        raise InputError(f"{where}: {escape(key)}: {_message(error)}") from error


def converted(key: str, option: Any, value: Any) -> Any:
    """The value as the option takes it. Raises `ValueError` or `typer.BadParameter` for a wrong one."""
    if option.multiple:
        if isinstance(value, dict):
            return [f"{name}={json.dumps(each)}" for name, each in value.items()]
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return value
        pairs = "=" in (option.metavar or "")
        raise ValueError("must be a list of texts" + (", or a table such as {name = value}" if pairs else ""))
    kind = option.type.name.split()[0]
    if kind == "boolean":
        if not isinstance(value, bool):
            raise ValueError("must be true or false")
        return value
    if kind in ("integer", "float"):
        fits = isinstance(value, int) or (kind == "float" and isinstance(value, float))
        if isinstance(value, bool) or not fits:
            raise ValueError("must be a whole number" if kind == "integer" else "must be a number")
    elif key == "budget" and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    elif not isinstance(value, str) or not value:
        raise ValueError("must be a text that is not empty, in quotes")
    if key in PATHS:
        value = expanded(value)
    option.type.convert(value, option, None)
    return value


def expanded(name: str) -> str:
    """The name with the home folder in place of `~`."""
    return str(Path(name).expanduser()) if name.startswith("~") else name


def _check_together(settings: Mapping[str, Setting], common: Mapping[str, Any]) -> None:
    """Nothing is set both ways: draft tokens come from one source."""
    if "draft" in settings and settings.get("speculate", Setting("off")).value != "off" and "draft" in common:
        where = f"{config_file.path()}:{settings['draft'].line}"
        raise InputError(f"{where}: draft and speculate both propose draft tokens: keep one of them")


def _message(error: Exception) -> str:
    return str(getattr(error, "message", error))


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name.replace("-", "_").lower(), known, n=1)
    return f": did you mean {close[0]!r}?" if close else "; zig-ai config lists what can be set"


def _plugins_commands() -> Iterator[str] | frozenset[str]:
    from zigai_core.api.registry import Plugins  # slow, and needed for the tables of plugins only

    return frozenset(entry.name for entry in Plugins.installed().commands.entries())
