"""The kinds of pooling: how the hidden states of a text's tokens become one embedding."""

from __future__ import annotations

from typing import Literal

PoolKind = Literal["last", "mean", "cls"]
"""The state of the last token, the mean of all states, or the state of the first token."""
