"""The user's settings: a TOML file whose keys are options of the commands.

A key at the top holds for every command that has the option, and one in the table of a command for that
command. `model` at the top is the model that is used if none is named.

    model = "~/models/qwen2.5-0.5b.gguf"
    threads = 4
    history = false

    [chat]
    temperature = 0.7
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zigai_cli import places
from zigai_cli.failure import InputError

PAIRS = frozenset({"sampling", "template_keyword", "backend_option"})
"""Options whose value may be a table; any other table is one of a command."""


@dataclass(frozen=True)
class Setting:
    """A value in the file, and the number of its line, or 0 if it is not known."""

    value: Any
    line: int = 0


def path() -> Path:
    """The file, which may not exist."""
    return places.config_folder() / "config.toml"


def text() -> str:
    """The content of the file; empty if it does not exist.

    Raises `InputError` if it is not a regular file of UTF-8 text, and `OSError`.
    """
    file = path()
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise InputError(f"{file}: not a regular file")
        return file.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 text (at byte {error.start})") from error


def read() -> Mapping[str, Setting]:
    """The settings by key: `threads`, or `chat.temperature` in the table of a command.

    Raises `InputError`, with file and line, if the file is not valid TOML.
    """
    content = text()
    if not content.strip():
        return {}
    import tomllib  # takes a twentieth of the time of --help, and most users have no file

    try:
        values = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"^(.*) \(at (?:line (\d+), column \d+|end of document)\)$", str(error), re.DOTALL)
        what, line = (found[1], found[2]) if found else (str(error), None)
        where = line or len(content.splitlines())
        raise InputError(f"{path()}:{where}: {what}: correct it with zig-ai config edit") from error
    except RecursionError as error:
        raise InputError(f"{path()}: values are nested too deeply") from error
    lines = content.splitlines()
    settings = {}
    for key, value in values.items():
        if isinstance(value, dict) and key not in PAIRS:
            for name, own in value.items():
                settings[f"{key}.{name}"] = Setting(own, line_of(lines, key, name))
        else:
            settings[key] = Setting(value, line_of(lines, "", key))
    return settings


def line_of(lines: list[str], table: str, key: str) -> int:
    """Number of the line that sets a key of a table (`""`: at the top); 0 if none is found."""
    current = ""
    assignment = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*[=.]""")
    dotted = re.compile(rf"""\s*["']?{re.escape(table)}["']?\s*\.\s*["']?{re.escape(key)}["']?\s*[=.]""")
    for number, line in enumerate(lines, start=1):
        header = re.match(r"""\s*\[\s*["']?([^\]"']+?)["']?\s*\]""", line)
        if header:
            current = header[1]
        elif (current == table and assignment.match(line)) or (table and not current and dotted.match(line)):
            return number
        if header and not table and current == key:
            return number
    return 0
