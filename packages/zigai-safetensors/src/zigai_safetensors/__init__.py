"""Folders of Hugging Face for ZigAI: config.json, weights in safetensors files, and tokenizer.json."""

from __future__ import annotations

from zigai_safetensors.format import SafetensorsFormat

__all__ = ["SafetensorsFormat"]
