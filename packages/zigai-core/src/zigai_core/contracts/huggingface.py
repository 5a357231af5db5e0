"""The contract of `zigai.huggingface`: how Hugging Face names the parts of a family's models.

An entry is a `HuggingFaceNames`; its name is the `model_type` of config.json. A format reader of folders of
Hugging Face translates with it, so that it knows no family itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class HuggingFaceNames:
    """Names of tensors and configuration keys of one `model_type`, as data.

    In names of tensors `{}` stands for the number of a layer, and `[]` for that of an expert: the tensors of
    a layer's experts are joined.
    """

    architecture: str
    """Name under which the `Architecture` is registered: GGUF's `general.architecture`."""
    tensors: Mapping[str, str]
    """GGUF's name of each tensor: `model.layers.{}.mlp.up_proj.weight` is `blk.{}.ffn_up.weight`."""
    keys: Mapping[str, str]
    """The hyperparameter of each configuration key: `hidden_size` is `embedding_length`."""
    required: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Values that a configuration key may have, the first if it is missing; all others are not supported."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Configuration keys, and patterns of tensors, that do not change results: the reason by name."""
