"""Files written by other programs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from zigai_gguf import GGUFFile, GGUFFormat, write_gguf

SHARED = Path(__file__).resolve().parents[3].parent / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no model files at {SHARED}")


@needs_shared
def test_a_small_llama_is_read(tmp_path: Path) -> None:
    model = GGUFFormat().read(SHARED / "models" / "stories260K.gguf")
    assert (model.name, model.architecture, model.parameters) == ("stories260K", "llama", 292800)
    assert model.hyperparameters.integer("block_count") == 5
    assert model.tensors["blk.0.ffn_down.weight"].shape == (64, 172)
    assert {tensor.dtype.name for tensor in model.tensors.values()} == {"F32"}
    assert model.tokenizer is not None
    assert len(model.tokenizer.tokens) == 512
    assert model.tokenizer.end_ids == {2}


@needs_shared
@pytest.mark.parametrize(
    ("name", "kind", "tokens", "merges", "roles", "ends", "add_bos"),
    [
        ("llama-spm", "llama", 32000, None, {"bos": 1, "eos": 2, "unknown": 0}, {2}, True),
        ("gpt-2", "gpt2", 50257, 50000, {"bos": 50256, "eos": 50256, "eot": 50256}, {50256}, False),
        (
            "qwen2",
            "gpt2",
            151936,
            151387,
            {"bos": 151643, "eos": 151643, "padding": 151643, "eot": 151645},
            {151643, 151645},
            False,
        ),
        (
            "llama-bpe",
            "gpt2",
            128256,
            280147,
            {"bos": 128000, "eos": 128001, "eot": 128009},
            {128001, 128009},
            True,
        ),
    ],
)
def test_a_real_vocabulary_is_read(
    name: str,
    kind: str,
    tokens: int,
    merges: int | None,
    roles: dict[str, int],
    ends: set[int],
    add_bos: bool,
) -> None:
    spec = GGUFFormat().read(SHARED / "vocab" / f"ggml-vocab-{name}.gguf").tokenizer
    assert spec is not None
    assert spec.kind == kind
    assert len(spec.tokens) == tokens == len(list(spec.tokens))
    assert (None if spec.merges is None else len(spec.merges)) == merges
    assert spec.special_ids == roles
    assert spec.end_ids == ends
    assert spec.add_bos is add_bos


@needs_shared
@pytest.mark.parametrize("name", ["models/stories260K", "vocab/ggml-vocab-qwen2", "vocab/ggml-vocab-gpt-2"])
def test_a_real_file_is_rewritten_byte_for_byte(tmp_path: Path, name: str) -> None:
    source = SHARED / f"{name}.gguf"
    file = GGUFFile.open(source)
    write_gguf(tmp_path / "again.gguf", file.metadata, file.tensors)
    again = (tmp_path / "again.gguf").read_bytes()
    assert hashlib.sha256(again).digest() == hashlib.sha256(source.read_bytes()).digest()
