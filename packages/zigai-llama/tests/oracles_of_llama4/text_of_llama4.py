"""The outputs of Llama 4's text model, whose class names another part as its base model."""

from __future__ import annotations

from typing import Any


def forward(network: Any, ids: Any) -> dict[str, Any]:
    """Logits and normalised states `[tokens, width]`, of a text model alone or with images."""
    text = getattr(network, "language_model", network)
    return {"logits": text(ids).logits[0], "hidden": text.model(ids).last_hidden_state[0]}
