"""Calls into plugins. Unexpected exceptions become `PluginError`, which names the plugin."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from zigai_core.contracts.errors import PluginError, ZigAIError

R = TypeVar("R")


def call(what: str, function: Callable[[], R]) -> R:
    """Returns `function()`, a call into the plugin `what`.

    Raises `PluginError`, which names `what`, in place of any exception but `ZigAIError`, `OSError` and
    `MemoryError`, which are not changed.
    """
    try:
        return function()
    except (ZigAIError, OSError, MemoryError):
        raise
    except Exception as cause:
        raise PluginError(
            f"{what} failed: {type(cause).__name__}: {cause}. Update the package that has it, or report this"
        ) from cause
