"""Folders made byte by byte, and a family's names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.api.registry import Plugins
from zigai_core.contracts.huggingface import HuggingFaceNames

TYPES = {"<f4": "F32", "<f2": "F16", "<f8": "F64", "<i4": "I32", "<i8": "I64", "|u1": "U8"}
Tensor = np.ndarray[Any, Any] | tuple[str, np.ndarray[Any, Any]]
"""An array, or the name of its type in the file, which numpy lacks, and the array of its bits."""
NAMES = HuggingFaceNames(
    architecture="toy",
    tensors={
        "model.embed_tokens.weight": "token_embd.weight",
        "model.layers.{}.up.weight": "blk.{}.ffn_up.weight",
        "model.layers.{}.experts.[].up.weight": "blk.{}.ffn_up_exps.weight",
        "model.layers.{}.experts.up": "blk.{}.ffn_up_exps.weight",
        "lm_head.weight": "output.weight",
    },
    keys={"vocab_size": "vocab_size", "num_hidden_layers": "block_count", "hidden_size": "embedding_length"},
    required={"hidden_act": ("silu", "gelu")},
    keys_without_effect={"dropout": "for training"},
    tensors_without_effect={"*.inv_freq": "computed"},
)
CONFIG = {"model_type": "toy", "vocab_size": 8, "num_hidden_layers": 2, "hidden_size": 4}
TENSORS = {
    "model.embed_tokens.weight": np.arange(32, dtype="<f4").reshape(8, 4),
    "model.layers.0.up.weight": np.full((6, 4), 0.5, "<f2"),
    "model.layers.1.up.weight": np.full((6, 4), 2, "<f4"),
    "lm_head.weight": np.ones((8, 4), "<f4"),
    "rotary.inv_freq": np.ones(2, "<f4"),
}


def shard(header: dict[str, Any] | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A file with this header; `length` is what it says of its own length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entries(tensors: dict[str, Tensor]) -> tuple[dict[str, Any], bytes]:
    """The header of these tensors, and their bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, tensor in tensors.items():
        begin = len(data)
        kind, array = tensor if isinstance(tensor, tuple) else (TYPES[tensor.dtype.str], tensor)
        data += array.tobytes()
        header[name] = {"dtype": kind, "shape": [*array.shape], "data_offsets": [begin, len(data)]}
    return header, data


class Make:
    """The functions above, for tests, which cannot import this file."""

    shard = staticmethod(shard)
    entries = staticmethod(entries)
    config = CONFIG
    tensors = TENSORS


@pytest.fixture
def make() -> type[Make]:
    return Make


@pytest.fixture(autouse=True)
def family(monkeypatch: pytest.MonkeyPatch) -> HuggingFaceNames:
    plugins = Plugins(huggingface={"toy": NAMES})
    monkeypatch.setattr(Plugins, "installed", classmethod(lambda cls, path=None: plugins))
    return NAMES


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Write a folder of one file; keywords are other values of config.json, None leaves a key out."""

    def write(tensors: dict[str, Tensor] | None = None, **changed: Any) -> Path:
        config = {key: value for key, value in {**CONFIG, **changed}.items() if value is not None}
        (tmp_path / "config.json").write_text(json.dumps(config))
        (tmp_path / "model.safetensors").write_bytes(shard(*entries(tensors or TENSORS)))
        return tmp_path

    return write
