"""Calls into plugins: an exception that is none of ours becomes one that names the plugin."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from zigai_core.contracts.errors import PluginError, ZigAIError

R = TypeVar("R")


def call(what: str, function: Callable[[], R]) -> R:
    """What `function` gives. `PluginError`, which names `what`, for an exception of a faulty plugin.

    Errors of ours, of the system and of memory are raised as they are.
    """
    try:
        return function()
    except (ZigAIError, OSError, MemoryError):
        raise
    except Exception as cause:
        raise PluginError(
            f"{what} failed: {type(cause).__name__}: {cause}. Update the package it is of, or report this"
        ) from cause
