"""The conformance suite for formats: a folder, one of several files of weights, and a file in a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from zigai_core.contracts.descriptor import Hyperparameters, ModelDescriptor, TensorInfo, TokenizerSpec
from zigai_core.testing.format import FormatConformance
from zigai_safetensors import SafetensorsFormat

NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "blk.0.ffn_up.weight": "model.layers.0.up.weight",
    "blk.1.ffn_up.weight": "model.layers.1.up.weight",
    "output.weight": "lm_head.weight",
}
"""Those of the family of conftest.py."""
KEYS = {"vocab_size": "vocab_size", "block_count": "num_hidden_layers", "embedding_length": "hidden_size"}
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [
        {"id": 6, "content": "<s>", "special": True},
        {"id": 7, "content": "</s>", "special": True},
    ],
    "normalizer": None,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
    "post_processor": {"type": "ByteLevel"},
    "model": {
        "type": "BPE",
        "vocab": {"a": 0, "b": 1, "ab": 2, "c": 3, "1": 4, "abc": 5},
        "merges": [["a", "b"], ["ab", "c"]],
    },
}
VOCABULARY = TokenizerSpec(
    kind="gpt2",
    tokens=["a", "b", "ab", "c", "1", "abc", "<s>", "</s>"],
    types=np.array([1, 1, 1, 1, 1, 1, 3, 3], np.int32),
    merges=["a b", "ab c"],
    special_ids={"bos": 6, "eos": 7},
    end_ids=frozenset({7}),
)


def write_weights(path: Path, tensors: Sequence[TensorInfo], **changed: Any) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for tensor in tensors:
        end = len(data) + tensor.nbytes
        header[NAMES[tensor.name]] = {
            "dtype": tensor.dtype.name,
            "shape": tensor.shape,
            "data_offsets": [len(data), end],
            **changed,
        }
        data += tensor.data.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


class TestFolder(FormatConformance):
    reader = SafetensorsFormat
    pairing = "half"
    storage_types = frozenset({"F32", "F16", "BF16"})
    recognises_also = frozenset({"safetensors"})
    cuts, changes = 400, 100

    def toy(self, hidden: int = 12) -> ModelDescriptor:
        model = super().toy(hidden)
        values = {key: model.hyperparameters[key] for key in KEYS}
        return replace(
            model,
            architecture="toy",
            hyperparameters=Hyperparameters(values),
            tensors={name: model.tensors[name] for name in NAMES},
            tokenizer=VOCABULARY,
            metadata={"model_type": "toy", "torch_dtype": "bfloat16"},
        )

    def write(self, model: ModelDescriptor, path: Path) -> Path:
        path.mkdir()
        config = {**model.metadata, **{KEYS[key]: value for key, value in model.hyperparameters.items()}}
        generation = {"do_sample": True, "eos_token_id": 7, **model.sampling}  # the options' names are ours
        settings = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": model.chat_template}
        for name, content in (
            ("config.json", config),
            ("generation_config.json", generation),
            ("tokenizer.json", TOKENIZER),
            ("tokenizer_config.json", settings),
        ):
            (path / name).write_text(json.dumps(content))
        write_weights(path / "model.safetensors", [*model.tensors.values()])
        return path

    def damaged(self, path: Path) -> Iterable[tuple[str, Path]]:
        """Headers by hand; many more are in test_safetensors_shard.py."""
        model = self.toy()
        for what, changed in (
            ("tensors that overlap", {"data_offsets": [0, 256], "shape": [8, 8]}),
            ("a dimension of zero", {"shape": [0, 8]}),
            ("a product beyond 64 bits", {"shape": [1 << 40, 1 << 40]}),
        ):
            written = self.write(model, path)
            write_weights(path / "model.safetensors", [*model.tensors.values()], **changed)
            yield what, written
        written = self.write(model, path)
        text = (path / "config.json").read_text()
        (path / "config.json").write_text(text[:-1] + ', "vocab_size": 9}')
        yield "a key twice", written


class TestFolderOfSeveralFiles(TestFolder):
    def write(self, model: ModelDescriptor, path: Path) -> Path:
        super().write(model, path)
        (path / "model.safetensors").unlink()
        tensors = [*model.tensors.values()]
        places = {}
        for file, own in (("a.safetensors", tensors[:1]), ("b.safetensors", tensors[1:])):
            write_weights(path / file, own)
            places |= {NAMES[tensor.name]: file for tensor in own}
        (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
        return path

    def damaged(self, path: Path) -> Iterable[tuple[str, Path]]:
        written = self.write(self.toy(), path)
        index = path / "model.safetensors.index.json"
        index.write_text(index.read_text().replace('"b.safetensors"', '"../b.safetensors"', 1))
        yield "a file outside the folder", written


class TestFileInAFolder(TestFolder):
    def write(self, model: ModelDescriptor, path: Path) -> Path:
        return super().write(model, path) / "model.safetensors"
