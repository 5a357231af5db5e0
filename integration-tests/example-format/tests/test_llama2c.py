"""Checkpoints written by hand from the description of llama2.c's files, and read."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from zigai_core.contracts.descriptor import ModelDescriptor, TokenizerSpec
from zigai_core.contracts.errors import UnsupportedError, ZigAIError
from zigai_core.testing.format import FormatConformance
from zigai_llama2c import Llama2cFormat


def checkpoint(model: ModelDescriptor, **changed: int) -> bytes:
    """Returns a file of version 0; `changed` are other numbers for its header."""
    hp = model.hyperparameters
    dim, heads, layers = (
        hp.integer(key) for key in ("embedding_length", "attention.head_count", "block_count")
    )
    shared = "output.weight" not in model.tensors
    numbers = {
        "dim": dim,
        "hidden_dim": hp.integer("feed_forward_length"),
        "n_layers": layers,
        "n_heads": heads,
        "n_kv_heads": hp.integer("attention.head_count_kv"),
        "vocab_size": hp.integer("vocab_size") * (1 if shared else -1),
        "seq_len": hp.integer("context_length"),
    }
    content = struct.pack("<7i", *(numbers | changed).values())
    stacks = ["attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm"]
    stacks += ["ffn_gate", "ffn_down", "ffn_up"]
    names = [
        "token_embd",
        *(f"blk.{layer}.{stack}" for stack in stacks for layer in range(layers)),
        "output_norm",
    ]
    content += b"".join(model.tensors[f"{name}.weight"].data.tobytes() for name in names)
    angles = np.outer(np.arange(numbers["seq_len"]), 1e4 ** (-np.arange(0, dim // heads, 2) / (dim // heads)))
    content += np.cos(angles).astype("<f4").tobytes() + np.sin(angles).astype("<f4").tobytes()
    return content if shared else content + model.tensors["output.weight"].data.tobytes()


def vocabulary(spec: TokenizerSpec) -> bytes:
    """Returns a file tokenizer.bin."""
    assert spec.scores is not None
    stored = [token.replace("▁", " ").encode() for token in spec.tokens]
    stored[1:3] = [b"\n<s>\n", b"\n</s>\n"]
    content = struct.pack("<i", max(map(len, stored)))
    for token, score in zip(stored, spec.scores, strict=True):
        content += struct.pack("<fi", score, len(token)) + token
    return content


def write(model: ModelDescriptor, path: Path) -> Path:
    """Writes a checkpoint and its vocabulary."""
    path = path.with_suffix(".bin")
    path.write_bytes(checkpoint(model))
    if model.tokenizer is not None:
        path.with_name("tokenizer.bin").write_bytes(vocabulary(model.tokenizer))
    return path


class TestLlama2c(FormatConformance):
    reader = Llama2cFormat
    entry_point: ClassVar[str] = "llama2c"
    pairing = "adjacent"
    storage_types = frozenset({"F32"})
    not_stored = frozenset({"chat_template", "sampling"})

    def toy(self, hidden: int = 12) -> ModelDescriptor:
        model = super().toy(hidden)
        assert model.tokenizer is not None
        # BOS ends a reply, too, and a space goes before a text. The metadata are the numbers of the header.
        tokenizer = replace(model.tokenizer, end_ids=frozenset({1, 2}), add_space_prefix=True)
        metadata = {"dim": 32, "hidden_dim": hidden, "seq_len": 64}
        tensors = {name: each for name, each in model.tensors.items() if not name.endswith(".bias")}
        return replace(model, tokenizer=tokenizer, metadata=metadata, tensors=tensors)

    def write(self, model: ModelDescriptor, path: Path) -> Path:
        return write(model, path)

    def damaged(self, path: Path) -> Iterable[tuple[str, Path]]:
        model, path = self.toy(), path.with_suffix(".bin")
        assert model.tokenizer is not None
        words = path.with_name("tokenizer.bin")
        for name, value in (
            *(("dim", 0), ("n_layers", -2), ("n_heads", 3), ("n_kv_heads", 3)),
            *(("vocab_size", 8), ("vocab_size", -(2**31)), ("seq_len", 2**31 - 1)),
        ):
            path.write_bytes(checkpoint(model, **{name: value}))
            yield f"a header with {name} = {value}", path
        path.write_bytes(checkpoint(model) + b"\0")
        yield "a byte more", path
        content = vocabulary(model.tokenizer)
        for what, damaged in (
            ("a vocabulary of seven tokens", content[:-9]),
            ("a vocabulary of nine tokens", content + content[-9:]),
            ("a token that is not UTF-8", content[:-1] + b"\xff"),
            ("a score that is no number", content[:4] + b"\xff\xff\xff\xff" + content[8:]),
        ):
            path.write_bytes(checkpoint(model))
            words.write_bytes(damaged)
            yield what, path


def test_a_shared_classifier_is_no_tensor_of_its_own(tmp_path: Path) -> None:
    model = TestLlama2c().toy()
    tied = replace(model, tensors={n: t for n, t in model.tensors.items() if n != "output.weight"})
    found = Llama2cFormat().read(write(tied, tmp_path / "tied"))
    assert "output.weight" not in found.tensors
    assert found.tensors.keys() == tied.tensors.keys()


def test_without_a_vocabulary_beside_it_a_model_has_none(tmp_path: Path) -> None:
    found = Llama2cFormat().read(write(replace(TestLlama2c().toy(), tokenizer=None), tmp_path / "alone"))
    assert found.tokenizer is None
    assert found.files == ()


def test_the_places_are_those_of_the_description(tmp_path: Path) -> None:
    """In a file of consecutive numbers, a tensor's first number is its place; computed by hand.

    dim 4, hidden_dim 6, 2 layers, 2 heads of size 2, 1 head of keys, 3 tokens, 5 positions, not shared.
    """
    counts = [12, 8, 32, 16, 16, 32, 8, 48, 48, 48, 4, 5, 5, 12]
    numbers = np.arange(sum(counts), dtype="<f4")
    path = tmp_path / "counted.bin"
    path.write_bytes(struct.pack("<7i", 4, 6, 2, 2, 1, -3, 5) + numbers.tobytes())
    tensors = Llama2cFormat().read(path).tensors
    for name, shape, first in (
        ("token_embd", (3, 4), 0),
        ("blk.1.attn_norm", (4,), 16),
        ("blk.0.attn_q", (4, 4), 20),
        ("blk.1.attn_k", (2, 4), 60),
        ("blk.0.attn_v", (2, 4), 68),
        ("blk.1.attn_output", (4, 4), 100),
        ("blk.1.ffn_norm", (4,), 120),
        ("blk.0.ffn_gate", (6, 4), 124),
        ("blk.1.ffn_down", (4, 6), 196),
        ("blk.1.ffn_up", (6, 4), 244),
        ("output_norm", (4,), 268),
        ("output", (3, 4), 282),
    ):
        values = tensors[f"{name}.weight"].to_float32()
        assert values.shape == shape, name
        assert np.array_equal(values.ravel(), np.arange(first, first + values.size)), name


def test_a_vocabulary_with_byte_tokens_as_characters_is_not_supported(tmp_path: Path) -> None:
    model = TestLlama2c().toy()
    tokens = ["<unk>", "<s>", "</s>", *(chr(byte) for byte in range(256))]
    spec = TokenizerSpec("llama", tokens, np.zeros(259, np.float32))
    embedding = model.tensors["token_embd.weight"]
    wide = replace(embedding, shape=(259, 32), data=np.zeros(259 * 128, np.uint8))
    tensors = {n: t for n, t in model.tensors.items() if n != "output.weight"} | {embedding.name: wide}
    values = model.hyperparameters.replaced(vocab_size=259)
    path = write(replace(model, tensors=tensors, hyperparameters=values, tokenizer=spec), tmp_path / "old")
    try:
        Llama2cFormat().read(path)
    except ZigAIError as error:
        assert isinstance(error, UnsupportedError)
        assert "export it again" in str(error)
    else:
        raise AssertionError("it was read")
