"""The defaults of a command's options that the user's settings replace.

The command line goes before environment variables, these before the settings, and these before the defaults.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from typing import Any

import typer

from zigai_cli.failure import InputError
from zigai_cli.load_options import to_load_options
from zigai_cli.options import sampling, template_keywords
from zigai_cli.settings import config_file
from zigai_cli.settings.config_file import Setting
from zigai_cli.settings.settable import Settable, common_options, options_of
from zigai_core.contracts.errors import escape
from zigai_core.contracts.load_options import LoadOptions

ENVIRONMENT = {"threads": "ZIGAI_NUM_THREADS", "packed_cache": "ZIGAI_PACKED_CACHE"}
"""Environment variables that go before the settings, by key."""

_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed")

# `Any` for commands: they are click's, or those of the copy of click inside Typer.


def default_map(name: str, command: Any, commands: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a command's options in the user's settings, by the name of the option's parameter.

    `commands` are the built-in commands. Raises `InputError`, with file and line, for a key that does not
    exist and for a value of a wrong type or out of range.
    """
    settings = config_file.read()
    if not settings:
        return {}
    check(settings, {**commands, name: command})
    common = common_options(commands)
    values = {}
    for key, option in options_of(command).items():
        setting = settings.get(f"{name}.{key}")
        if setting is None and key in common and key != "model":  # `loader.choose` reads that one
            setting = settings.get(key)
        if setting is not None and not os.environ.get(ENVIRONMENT.get(key, "")):
            values[option.parameter] = option.converted(setting.value)
    _one_of_drafts(name, values, settings)
    return values


def _one_of_drafts(name: str, values: dict[str, Any], settings: Mapping[str, Setting]) -> None:
    """Of `draft` and `speculate`, which both propose draft tokens, keep that of the command's own table.

    `check` refuses both in one table.
    """
    if "draft" in values and values.get("speculate", "off") != "off":
        del values["speculate" if f"{name}.draft" in settings else "draft"]


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
        table, dot, option = key.rpartition(".")
        if dot and table not in commands:
            if table in _commands_of_plugins():
                continue  # its options are checked when the command is run
            raise InputError(
                f"{where}: no command {escape(table)!r} takes settings{nearest(table, commands)}"
            )
        check_one(where, key, setting.value, options_of(commands[table]) if dot else common)
        other = settings.get(f"{table}{dot}speculate", Setting("off"))
        if option == "draft" and other.value != "off":
            raise InputError(f"{where}: draft and speculate both propose draft tokens: keep one of them")


def check_one(where: str, key: str, value: Any, known: Mapping[str, Settable]) -> None:
    """Raise `InputError`, which names the place `where`, if the options `known` do not take the value."""
    name = key.rpartition(".")[2]
    if name not in known:
        raise InputError(f"{where}: there is no option {escape(key)!r}{nearest(name, known)}")
    try:
        converted = known[name].converted(value)
        if name in _SAMPLING:
            sampling(**{**dict.fromkeys(_SAMPLING), name: converted})
        elif name == "sampling":
            sampling(**dict.fromkeys(_SAMPLING), further=converted)
        elif name == "template_keyword":
            template_keywords(converted)
        elif name == "backend_option":
            to_load_options({"backend_options": converted})
        elif name in {field.name for field in LoadOptions.fields()}:
            to_load_options({name: converted})
    except (typer.BadParameter, ValueError) as error:
        raise InputError(f"{where}: {escape(key)}: {getattr(error, 'message', error)}") from error


def nearest(name: str, known: Mapping[str, Any]) -> str:
    """The end of an error about an unknown name: the nearest one, or where to look."""
    close = difflib.get_close_matches(name.replace("-", "_").lower(), known, n=1)
    return f": did you mean {close[0]!r}?" if close else "; zig-ai config lists what can be set"


def _commands_of_plugins() -> frozenset[str]:
    from zigai_core.api.registry import Plugins  # slow, and needed for the tables of plugins only

    return frozenset(entry.name for entry in Plugins.installed().commands.entries())
