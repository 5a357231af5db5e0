"""The conformance suite for formats: one file, and a model in several."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.testing.format import FormatConformance
from zigai_core.testing.toys import random_tensor
from zigai_gguf import GGUFFormat, write_gguf

SAMPLING = {
    "temperature": "general.sampling.temp",
    "top_k": "general.sampling.top_k",
    "top_p": "general.sampling.top_p",
}
"""Keys of sampling defaults, by option."""


def metadata_of(model: ModelDescriptor) -> dict[str, Any]:
    prefix, spec = model.architecture, model.tokenizer
    assert spec is not None
    return {
        "general.architecture": prefix,
        "general.name": model.name,
        **{f"{prefix}.{key}": value for key, value in model.hyperparameters.items()},
        "tokenizer.ggml.model": spec.kind,
        "tokenizer.ggml.tokens": list(spec.tokens),
        "tokenizer.ggml.scores": spec.scores,
        "tokenizer.ggml.token_type": spec.types,
        "tokenizer.ggml.unknown_token_id": spec.special_ids["unknown"],
        "tokenizer.ggml.bos_token_id": spec.special_ids["bos"],
        "tokenizer.ggml.eos_token_id": spec.special_ids["eos"],
        "tokenizer.ggml.add_bos_token": spec.add_bos,
        "tokenizer.ggml.add_space_prefix": spec.add_space_prefix,
        "tokenizer.chat_template": model.chat_template,
        **{SAMPLING[name]: value for name, value in model.sampling.items()},
        **model.metadata,
    }


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


class TestGGUF(FormatConformance):
    reader = GGUFFormat
    entry_point = "gguf"
    recognises_also = frozenset({"GGUF"})
    pairing = "adjacent"

    def toy(self, hidden: int = 12) -> ModelDescriptor:
        """A tensor of blocks is added."""
        model = super().toy(hidden)
        blocks = random_tensor("blocks.weight", (3, 64), "Q4_0", np.random.RandomState(5), 1)
        return replace(model, tensors={**model.tensors, blocks.name: blocks})

    def write(self, model: ModelDescriptor, path: Path) -> Path:
        path = path.with_suffix(".gguf")
        write_gguf(path, metadata_of(model), model.tensors)
        return path

    def damaged(self, path: Path) -> Iterable[tuple[str, Path]]:
        """Headers by hand; many more are in test_gguf_hostile.py."""
        key = text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama")
        tensor = text(b"x") + struct.pack("<IQIQ", 1, 4, 0, 0)
        for what, keys, tensors in (
            ("a key twice", [key, key], []),
            ("a tensor twice", [key], [tensor, tensor]),
            ("tensors that overlap", [key], [tensor, tensor.replace(b"x", b"y")]),
            ("no architecture", [], [tensor]),
            ("a name that is not UTF-8", [key], [tensor.replace(b"x", b"\xff")]),
        ):
            header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys + tensors)
            path.write_bytes(header + bytes(-len(header) % 32) + bytes(64))
            yield what, path


class TestGGUFInParts(TestGGUF):
    cuts, changes = 300, 150

    def write(self, model: ModelDescriptor, path: Path) -> Path:
        """The first file has the metadata, and the tensors are shared out, as by llama-gguf-split."""
        names = list(model.tensors)
        for number in range(3):
            split = {"split.no": np.uint16(number), "split.count": np.uint16(3)}
            total = {"split.tensors.count": np.int32(len(names))}
            part = path.with_name(f"{path.name}-{number + 1:05d}-of-00003.gguf")
            own = metadata_of(model) if number == 0 else {}
            tensors = {name: model.tensors[name] for name in names[number::3]}
            write_gguf(part, {**own, **split, **total}, tensors)
        return path.with_name(f"{path.name}-00001-of-00003.gguf")

    def damaged(self, path: Path) -> Iterable[tuple[str, Path]]:
        first = self.write(self.toy(), path)
        second = first.with_name(first.name.replace("00001", "00002"))
        second.write_bytes(first.read_bytes())
        yield "the first file twice", first
