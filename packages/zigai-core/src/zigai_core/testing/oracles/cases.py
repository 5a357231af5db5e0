"""The cases of a folder's cases.toml: which oracles are recorded, and how."""

from __future__ import annotations

import runpy
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zigai_core.contracts.errors import FormatError, quote
from zigai_core.testing.oracles.foreign import foreign

KEYS = ("class", "config", "tokens", "pair", "seed", "forward", "save", "change", "without")
"""The keys of a case."""

SCRIPTS = ("forward", "save", "change")
"""Those that name a script in the folder, which defines the function of that name."""

TOKENS = range(3, 4097)
"""Lengths of a text: a third of it comes twice, and an oracle is a small file."""

SEEDS = range(1 << 32)
"""Seeds of `numpy.random.RandomState`."""


def cases(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns the cases of a folder by name, each as arguments of `record`, and the function `change`.

    Raises `FormatError`, with the file, the case and the key, for a file that is missing, has no case, other
    keys or values that are not valid, and for a script that cannot be run or lacks its function.
    """
    path = folder / "cases.toml"
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FormatError(
            f"{path}: cannot be read: {error.strerror or error}; name a folder that holds cases.toml"
        ) from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: is not TOML in UTF-8: {error}") from error
    if not tables:
        raise FormatError(f"{path}: has no case: write a table for each oracle, such as [gemma]")
    return {name: _case(f"{path}: {quote(name)}", folder, name, table) for name, table in tables.items()}


def _case(where: str, folder: Path, name: str, table: object) -> dict[str, Any]:
    if not name.isprintable() or not name.strip(". ") or {"/", "\\"} & {*name} or len(name) > 200:
        raise FormatError(f"{where} is not the name of a file, which the oracle's is; choose another")
    if not isinstance(table, dict):
        raise FormatError(f"{where} is {quote(table)}, but must be a table with the keys {', '.join(KEYS)}")
    unknown = {*table} - {*KEYS}
    if unknown or "class" not in table:
        wrong = f"has the key {quote(min(unknown))}" if unknown else "has no key class"
        raise FormatError(f"{where} {wrong}: keys are {', '.join(KEYS)}")
    settings = {"model_class": table["class"], "config": table.get("config", {})}
    settings |= {key: table[key] for key in ("tokens", "pair", "seed", "without") if key in table}
    _check(where, settings, table)
    for key in SCRIPTS:
        if key in table:
            settings[key] = _function(where, folder, key, table[key])
    return settings


def _check(where: str, settings: Mapping[str, Any], table: Mapping[str, Any]) -> None:
    """Raises `FormatError` for a value of a wrong type or out of range."""
    name, without = settings["model_class"], settings.get("without", [])
    if not isinstance(name, str) or not name.isidentifier():
        raise FormatError(f"{where}: class is {quote(name)}, but must be the name of a class of transformers")
    if not isinstance(settings["config"], dict):
        raise FormatError(f"{where}: config is {quote(settings['config'])}, but must be a table")
    for key, allowed in (("tokens", TOKENS), ("seed", SEEDS)):
        value = settings.get(key, allowed[0])
        if type(value) is not int or value not in allowed:
            raise FormatError(
                f"{where}: {key} is {quote(value)}, but must be a whole number within "
                f"{allowed[0]}..{allowed[-1]}"
            )
    pair, count = settings.get("pair", 1), settings.get("tokens", 40)
    if type(pair) is not int or not 0 < pair < count:
        raise FormatError(
            f"{where}: pair is {quote(pair)}, but must be the place of the token that begins the second "
            f"text, within 1..{count - 1}"
        )
    if "pair" in settings and "forward" in table:
        raise FormatError(f"{where}: has pair and forward, which is given no types: leave one of them out")
    if not isinstance(without, list) or not all(isinstance(each, str) for each in without):
        raise FormatError(f"{where}: without is {quote(without)}, but must be an array of hyperparameters")


def _function(where: str, folder: Path, key: str, name: object) -> Callable[..., Any]:
    """The function `key` of the script `name`; what it raises later names the script."""
    if not isinstance(name, str) or not name or {"/", "\\", "\0"} & {*name}:
        raise FormatError(f"{where}: {key} is {quote(name)}, but must be the name of a script in the folder")
    script = folder / name
    if not script.is_file():
        raise FormatError(f"{where}: {key} names {script}, which is no file")
    with foreign(f"{script}: the script"):
        found = runpy.run_path(str(script)).get(key)
    if not callable(found):
        raise FormatError(f"{where}: {key} names {script}, which must define the function {key}")
    function: Callable[..., Any] = found

    def called(*arguments: Any) -> Any:
        with foreign(f"{script}: the function {key}"):
            return function(*arguments)

    return called
