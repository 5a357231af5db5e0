"""The checkpoints of llama2.c as a format of ZigAI."""

from __future__ import annotations

from zigai_llama2c.format import Llama2cFormat

__all__ = ["Llama2cFormat"]
