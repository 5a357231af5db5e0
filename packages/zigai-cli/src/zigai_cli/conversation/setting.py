"""Settings of a conversation by name: sampling options, and how replies are limited and shown."""

from __future__ import annotations

import difflib
import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from zigai_cli.conversation.answer import Settings
from zigai_cli.options import Overflow, Reasoning, sampling_value
from zigai_core.contracts.errors import ZigAIError, escape

if TYPE_CHECKING:
    from zigai_core.contracts.options import SamplingOptions

STOP = "stop"
"""The texts before which a reply ends: among the options of `Chat.send`, but none of sampling."""
OWN = ("max_tokens", "reasoning", "overflow", "stats", "markdown")
_SWITCHES = {"on": True, "off": False, "true": True, "false": False}


class SettingError(ZigAIError):
    """A setting does not exist, or a value cannot be used."""


def names() -> list[str]:
    """The names of all settings."""
    from zigai_core.contracts.options import SamplingOptions

    return [*(field.name for field in fields(SamplingOptions)), STOP, *OWN]


def values_of(name: str) -> list[str]:
    """Values that a setting takes, if they are few."""
    if name in ("stats", "markdown"):
        return ["on", "off"]
    choices: dict[str, list[str]] = {"reasoning": [*Reasoning], "overflow": [*Overflow]}
    return [*choices.get(name, ()), "default"]


def value(name: str, settings: Settings, defaults: SamplingOptions | None) -> str:
    """The value of a setting as it is typed, `random` for no seed and `none` for no limit."""
    found: Any
    if name in OWN:
        found = getattr(settings, name)
        if name == "max_tokens" and found is None:
            return "none"
        return ("on" if found else "off") if isinstance(found, bool) else str(found)
    found = settings.sampling.get(name, getattr(defaults, name, None))
    if name == "seed" and found is None:
        return "random"
    if name == STOP and not found:
        return "none"
    return json.dumps(sorted(found) if isinstance(found, frozenset) else found, ensure_ascii=False)


def change(name: str, text: str, settings: Settings, defaults: Settings) -> None:
    """Give a setting a value, or its default if `text` is `default`. Raises `SettingError`."""
    if name not in names():
        begun = [known for known in names() if known.startswith(name)]
        near = begun or difflib.get_close_matches(name, names(), n=1, cutoff=0.5)
        raise SettingError(
            f"there is no setting {escape(name)}" + (f"; did you mean {near[0]}?" if near else "; see /set")
        )
    if name in OWN:
        _change_own(name, text, settings, defaults)
    elif text == "default" or (name, text) in ((STOP, "none"), ("seed", "random")):
        settings.sampling.pop(name, None)
    elif name == STOP:
        settings.sampling[STOP] = _texts(text)
    else:
        settings.sampling[name] = _sampling(name, text)


def _change_own(name: str, text: str, settings: Settings, defaults: Settings) -> None:
    if text == "default" or (name == "max_tokens" and text == "none"):
        setattr(settings, name, getattr(defaults, name))
    elif name == "max_tokens":
        if not text.isdecimal() or int(text) < 1:
            raise SettingError(
                f"max_tokens must be a whole number of at least 1, or none, not {escape(text)}"
            )
        settings.max_tokens = int(text)
    elif name in ("stats", "markdown"):
        if text.lower() not in _SWITCHES:
            raise SettingError(f"{name} must be on or off, not {escape(text)}")
        setattr(settings, name, _SWITCHES[text.lower()])
    else:
        kind = Reasoning if name == "reasoning" else Overflow
        if text.lower() not in list(kind):
            raise SettingError(f"{name} must be one of {', '.join(kind)}, not {escape(text)}")
        setattr(settings, name, kind(text.lower()))


def _texts(text: str) -> tuple[str, ...]:
    """One text as it is written, or a list of texts as JSON."""
    if not text.startswith(("[", '"')):
        return (text,)
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingError(f'stop {escape(text)}: give a text, or a list such as ["a", "b"]') from error
    found = given if isinstance(given, list) else [given]
    if not all(isinstance(each, str) and each for each in found):
        raise SettingError(f'stop {escape(text)}: give a text, or a list such as ["a", "b"]')
    return tuple(found)


def _sampling(name: str, text: str) -> Any:
    from zigai_core.contracts.options import SamplingOptions

    try:
        changed: dict[str, Any] = {name: sampling_value(name, text)}
    except ValueError as error:
        raise SettingError(f"{name} {escape(text)}: {error}") from error
    SamplingOptions(**changed)  # raises SamplingError for a value out of range
    return changed[name]
