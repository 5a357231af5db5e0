"""Sampling: options, the chain of steps, the draw."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SamplingOptions:
    """How the next token is drawn."""

    temperature: float = 0.8
