from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from zigai_core.contracts.errors import FormatError
from zigai_gguf import GGUFFormat, Metadata, Typed, ValueType, write_gguf


def test_files_are_recognised_by_magic_whatever_their_name(tmp_path: Path) -> None:
    recognises = GGUFFormat().recognises
    for head in (b"GGUF" + bytes(60), b"GGUF"):
        (tmp_path / "b.bin").write_bytes(head)
        assert recognises(tmp_path / "b.bin")
    for head in (b"", b"GGU", b"gguf", b"\0GGUF", b"PK\x03\x04"):
        (tmp_path / "model.gguf").write_bytes(head)
        assert not recognises(tmp_path / "model.gguf")


def test_pipes_folders_and_missing_files_are_not_recognised(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    (tmp_path / "folder.gguf").mkdir()
    for name in ("pipe.gguf", "folder.gguf", "absent.gguf"):
        assert not GGUFFormat().recognises(tmp_path / name)


def test_the_descriptor_has_the_contents_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    metadata = {
        "general.architecture": "llama",
        "general.name": "Tiny",
        "llama.block_count": 1,
        "llama.attention.head_count": np.array([4], np.int32),
        "llama.rope.freq_base": 1e4,
        "llamas.other": 1,
        "tokenizer.chat_template": "{{ messages }}",
    }
    write_gguf(path, metadata, {"blk.0.x.weight": np.ones((2, 3), np.float32)})
    model = GGUFFormat().read(path)
    assert (model.name, model.architecture, model.format) == ("Tiny", "llama", "GGUF v3")
    assert model.path == path
    assert set(model.hyperparameters) == {"block_count", "attention.head_count", "rope.freq_base"}
    assert model.hyperparameters.integer("block_count") == 1
    assert model.hyperparameters.integers("attention.head_count", 1) == (4,)
    assert model.hyperparameters.number("rope.freq_base") == 1e4
    with pytest.raises(FormatError, match=r"tiny\.gguf: hyperparameter llama\.context_length is missing"):
        model.hyperparameters.integer("context_length")
    assert model.tensors["blk.0.x.weight"].shape == (2, 3)
    assert model.parameters == 6
    assert model.chat_template == "{{ messages }}"
    assert model.tokenizer is None
    assert isinstance(model.metadata, Metadata)
    assert list(model.metadata) == list(metadata)


def test_a_model_without_a_name_is_named_after_its_file(tmp_path: Path) -> None:
    path = tmp_path / "small-Q4_0.gguf"
    for metadata in ({}, {"general.name": ""}):
        write_gguf(path, {"general.architecture": "llama", **metadata})
        assert GGUFFormat().read(path).name == "small-Q4_0"


@pytest.mark.parametrize(
    ("metadata", "what"),
    [
        ({}, "'general.architecture' is missing or empty"),
        ({"general.architecture": ""}, "'general.architecture' is missing or empty"),
        ({"general.architecture": 1}, "'general.architecture' is UINT32, but must be STRING"),
        ({"general.architecture": "a", "general.name": ["x"]}, "'general.name' is an array of STRING"),
        ({"general.architecture": "a", "a.block_count": 1.5}, "'a.block_count' is FLOAT32"),
        (
            {"general.architecture": "a", "tokenizer.chat_template": Typed(ValueType.ARRAY, [])},
            "'tokenizer.chat_template' is an array of ARRAY, but must be STRING",
        ),
        ({"general.architecture": "a", "tokenizer.ggml.model": 1}, "'tokenizer.ggml.model' is UINT32"),
    ],
)
def test_invalid_metadata_is_an_error_that_names_the_key(
    tmp_path: Path, metadata: dict[str, object], what: str
) -> None:
    path = tmp_path / "x.gguf"
    write_gguf(path, metadata)
    with pytest.raises(FormatError, match=what):
        GGUFFormat().read(path)


@pytest.mark.parametrize("kind", ["none", "no_vocab"])
def test_a_model_can_be_without_a_vocabulary(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.gguf"
    write_gguf(path, {"general.architecture": "a", "tokenizer.ggml.model": kind})
    assert GGUFFormat().read(path).tokenizer is None
