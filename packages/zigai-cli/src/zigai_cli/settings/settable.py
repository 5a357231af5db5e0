"""Options of commands that the user's settings may set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

COMMON = ("chat", "generate")
"""Commands whose options may be set for all commands."""
_ONCE = frozenset({"help", "version", "json", "continue", "id", "image"})
"""Options that make sense on a command line only; so does --prompt where it is a text."""
_PATHS = frozenset({"model", "draft", "packed_cache"})


@dataclass(frozen=True)
class Settable:
    """An option, by its key: `--kv-dtype` is `kv_dtype`. `option` is the parsed one, of click."""

    key: str
    option: Any
    kind: Any
    """The type of a value: int, float, bool, str, Path or an enumeration."""
    minimum: float | None = None
    maximum: float | None = None

    @property
    def parameter(self) -> str:
        """Name of the parameter of the command's function."""
        return str(self.option.name)

    @property
    def several(self) -> bool:
        """True if the option may be given several times."""
        return bool(self.option.multiple)

    @property
    def is_path(self) -> bool:
        """True if the value may name a file or folder."""
        return self.key in _PATHS

    @property
    def default(self) -> str:
        """The option's default, in words."""
        shown = self.option.show_default
        if isinstance(shown, str):
            return shown
        value = getattr(self.option.default, "value", self.option.default)
        return "none" if value in (None, [], ()) else value if isinstance(value, str) else json.dumps(value)

    def converted(self, value: Any) -> Any:
        """A value of the settings file as the option takes it. Raises `ValueError` for a wrong one."""
        if self.several:
            return self._list(value)
        if self.kind is bool:
            if not isinstance(value, bool):
                raise ValueError("must be true or false")
            return value
        if self.kind in (int, float):
            return self._number(value)
        if self.key == "budget" and isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str) or not value:
            raise ValueError("must be a text that is not empty, in quotes")
        if isinstance(self.kind, type) and issubclass(self.kind, Enum):
            names = [str(each.value) for each in self.kind]
            if value not in names:
                raise ValueError(f"must be one of {', '.join(names)}, not {value!r}")
        return expanded(value) if self.is_path else value

    def _list(self, value: Any) -> list[str]:
        if isinstance(value, dict) and "=" in (self.option.metavar or ""):
            return [f"{name}={json.dumps(each)}" for name, each in value.items()]
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return value
        pairs = ", or a table such as {name = value}" if "=" in (self.option.metavar or "") else ""
        raise ValueError(f"must be a list of texts{pairs}")

    def _number(self, value: Any) -> Any:
        fits = isinstance(value, int) or (self.kind is float and isinstance(value, float))
        if isinstance(value, bool) or not fits:
            raise ValueError("must be a whole number" if self.kind is int else "must be a number")
        if self.minimum is not None and value < self.minimum:
            raise ValueError(f"must be at least {self.minimum:g}")
        if self.maximum is not None and value > self.maximum:
            raise ValueError(f"must be at most {self.maximum:g}")
        return value


def expanded(name: str) -> str:
    """The name with the home folder in place of `~`."""
    try:
        return str(Path(name).expanduser()) if name.startswith("~") else name
    except RuntimeError:  # no such user: opening the path has the error
        return name


def options_of(command: Any) -> dict[str, Settable]:
    """The options of a command that may be set, by key.

    `model` is not one where the command takes the model as an argument: it may be given at the top.
    """
    hints = get_type_hints(command.callback, include_extras=True)
    takes_model = any(
        each.param_type_name == "argument" and each.metavar == "MODEL" for each in command.params
    )
    found = {}
    for option in command.params:
        long = [name for name in option.opts if name.startswith("--")]
        key = long[0][2:].replace("-", "_") if long else ""
        if not key or key in _ONCE or (key == "model" and takes_model) or option.name not in hints:
            continue
        settable = _settable(key, option, hints[option.name])
        if not (key == "prompt" and settable.kind is str):
            found[key] = settable
    return found


def common_options(commands: Mapping[str, Any]) -> dict[str, Settable]:
    """The options that may be set for all commands, by key."""
    found: dict[str, Settable] = {}
    for name in COMMON:
        found = options_of(commands[name]) | found
    return found


def _settable(key: str, option: Any, hint: Any) -> Settable:
    """The option, with the type in the annotation `Annotated[Optional[int], typer.Option(min=1)]`."""
    extras = getattr(hint, "__metadata__", ())
    kind = get_args(hint)[0] if extras else hint
    given = [part for part in get_args(kind) if part is not NoneType]
    kind = given[0] if given and not isinstance(kind, type(list[str])) else kind
    limits = extras[0] if extras else None
    return Settable(key, option, kind, getattr(limits, "min", None), getattr(limits, "max", None))
