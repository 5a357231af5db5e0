"""Settings of sliding windows in config.json, as functions for `HuggingFaceNames.computed`.

Source: transformers, whose classes of configurations have `layer_types` and `sliding_window`.
"""

from __future__ import annotations

from typing import Any

from zigai_core.contracts.errors import UnsupportedError, quote

_HAS_WINDOW = {"full_attention": False, "sliding_attention": True}


def windows_by_layer_types(kinds: Any) -> dict[str, list[bool]]:
    """Returns which layers have the sliding window, from `layer_types`; nothing for null.

    Raises `ValueError` for what is no array, and `UnsupportedError` for another kind of layer.

    >>> windows_by_layer_types(["sliding_attention", "full_attention"])
    {'attention.sliding_window_pattern': [True, False]}
    """
    if kinds is None:
        return {}
    if not isinstance(kinds, list):
        raise ValueError("layer_types must be an array")
    unknown = [kind for kind in kinds if not isinstance(kind, str) or kind not in _HAS_WINDOW]
    if unknown:
        raise UnsupportedError(f"layers of {quote(unknown[0])} are not supported")
    return {"attention.sliding_window_pattern": [_HAS_WINDOW[kind] for kind in kinds]}


def window_of_some_layers(value: Any) -> dict[str, Any]:
    """Returns the length of the window of a family whose layers have one.

    Raises `UnsupportedError` for null and 0, with which transformers computes no such layer.
    """
    if value is None or (type(value) is int and value == 0):
        raise UnsupportedError(f"{quote(value)} is no window, but the family's layers have one")
    return {"attention.sliding_window": value}


def window_if_any(value: Any) -> dict[str, Any]:
    """Returns the length of the window; nothing for null.

    Raises `UnsupportedError` for 0, with which transformers lets a token see nothing.
    """
    if value is None:
        return {}
    if type(value) is int and value == 0:
        raise UnsupportedError("a window of 0 tokens is not supported; null is none")
    return {"attention.sliding_window": value}
