"""Values of config.json that families check or compute with in the same way."""

from __future__ import annotations

from typing import Any

from zigai_core.contracts.errors import UnsupportedError, quote

_MOST = (1 << 31) - 1


def whole(name: str, value: Any, *, least: int = 1) -> int:
    """Returns a whole number from `least` to 2³¹ - 1. Raises `ValueError`, with the name, for others."""
    if type(value) is not int or not least <= value <= _MOST:
        above = f" above {least - 1}" if least else ""
        raise ValueError(f"{name} is {quote(value)}, but must be a whole number{above}")
    return value


def rotated_elements(share: Any, head_dim: Any, width: Any, heads: Any, *, default: float) -> tuple[int, int]:
    """Returns how many elements of a head RoPE rotates, and the size of a head.

    They are `partial_rotary_factor` of a head, rounded down; `default` of it for null. The size is
    `head_dim`, or for null `hidden_size` by `num_attention_heads`. Raises `ValueError` for values that are
    none of these, and `UnsupportedError` for elements that are not pairs.

    >>> rotated_elements(0.5, None, 64, 4, default=1.0)
    (8, 16)
    """
    if head_dim is None:
        size = whole("hidden_size", width) // whole("num_attention_heads", heads)
    else:
        size = whole("head_dim", head_dim)
    share = default if share is None else share
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 1:
        raise ValueError(f"partial_rotary_factor is {quote(share)}, but must be above 0 and at most 1")
    count = int(size * share)
    if count < 2 or count % 2:
        raise UnsupportedError(
            f"{quote(share)} of a head of {size} elements is {count} rotated elements, which are not pairs"
        )
    return count, size
