"""The model that comes with this package, so that there is something to talk to without a download."""

from __future__ import annotations

from pathlib import Path

from zigai_core.contracts.plugins import BundledModel


def default() -> BundledModel:
    """`reference-qwen2` in Q8_0: how it was made and what it knows stands in docs/reference-models.md."""
    return BundledModel(
        path=Path(__file__).parent / "models" / "reference-qwen2.Q8_0.gguf",
        about=(
            "reference-qwen2, a toy of 3.5 M parameters that comes with zigai: it adds and counts small "
            "numbers, spells, knows some capitals, days and colours, and remembers what you tell it"
        ),
    )
