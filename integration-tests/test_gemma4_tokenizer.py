"""Gemma 4's tokenizer, of a folder and of a GGUF file, gives the ids of the tokenizers library."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, trainers

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_gguf import GGUFFormat, Typed, ValueType, write_gguf
from zigai_safetensors.tokenizer import read_tokenizer
from zigai_tokenizers.bpe import BPETokenizer

ROOT = Path(__file__).resolve().parents[1]
CONTROL = ("<pad>", "<eos>", "<bos>", "<unk>", "<|turn>", "<turn|>", "<|channel>", "<channel|>")
VISIBLE = ("<|channel>", "<channel|>")
"""Control tokens that llama.cpp's converter stores as user-defined."""
BREAKS = tuple("\n" * count for count in range(2, 6))
ODD = [
    "the",
    "a",
    "\u2581",
    "\u4f60\u597d",
    "\U0001f642",
    "\n",
    "\t",
    "<b>",
    ".",
    "don't",
    "1234",
    "\n \n",
    "\r\n",
]


@pytest.fixture(scope="module")
def library() -> Tokenizer:
    """A vocabulary of 700 tokens, trained on a page, with the steps of Gemma's tokenizer.json."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines(keepends=True)
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "\u2581")
    trained.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=400, special_tokens=[*CONTROL]))
    file: dict[str, Any] = json.loads(trained.to_str())
    vocab: dict[str, int] = file["model"]["vocab"]
    for text in (*(f"<0x{byte:02X}>" for byte in range(256)), *BREAKS):
        vocab.setdefault(text, len(vocab))
    file["model"] |= {"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"}
    file["pre_tokenizer"] = {
        "type": "Split",
        "pattern": {"String": " "},
        "behavior": "MergedWithPrevious",
        "invert": False,
    }
    replace = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
    steps = [replace, {"type": "ByteFallback"}, {"type": "Fuse"}]
    file["decoder"] = {"type": "Sequence", "decoders": steps}
    made = Tokenizer.from_str(json.dumps(file))
    made.add_tokens([AddedToken(text, normalized=False) for text in BREAKS])
    return made


def of_folder(library: Tokenizer, folder: Path) -> TokenizerSpec:
    library.save(str(folder / "tokenizer.json"))
    spec = read_tokenizer(folder, [1], 0)
    assert spec is not None
    return spec


def of_gguf(library: Tokenizer, folder: Path) -> TokenizerSpec:
    """As the converter of llama.cpp writes it: tokens within the vocabulary are normal, unless special."""
    file = json.loads(library.to_str())
    vocab = library.get_vocab()
    tokens = sorted(vocab, key=lambda text: vocab[text])
    special = {token["content"] for token in file["added_tokens"] if token["special"]}
    types = [
        4 if text in VISIBLE else 6 if text.startswith("<0x") else 3 if text in special else 1
        for text in tokens
    ]
    merges = [" ".join(merge) for merge in file["model"]["merges"]]
    metadata = {
        "general.architecture": "gemma4",
        "tokenizer.ggml.model": "gemma4",
        "tokenizer.ggml.tokens": Typed(ValueType.STRING, tokens),
        "tokenizer.ggml.scores": np.full(len(tokens), -1000, np.float32),
        "tokenizer.ggml.token_type": np.array(types, np.int32),
        "tokenizer.ggml.merges": Typed(ValueType.STRING, merges),
        "tokenizer.ggml.bos_token_id": Typed(ValueType.UINT32, vocab["<bos>"]),
        "tokenizer.ggml.eos_token_id": Typed(ValueType.UINT32, vocab["<eos>"]),
        "tokenizer.ggml.unknown_token_id": Typed(ValueType.UINT32, vocab["<unk>"]),
        "tokenizer.ggml.padding_token_id": Typed(ValueType.UINT32, vocab["<pad>"]),
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.ggml.add_bos_token": True,
    }
    write_gguf(folder / "model.gguf", metadata)
    spec = GGUFFormat().read(folder / "model.gguf").tokenizer
    assert spec is not None
    return spec


@pytest.mark.parametrize("read", [of_folder, of_gguf])
def test_ids_are_those_of_the_library(read: Any, library: Tokenizer, tmp_path: Path) -> None:
    chance = random.Random(4)
    spec = read(library, tmp_path)
    tokenizer = BPETokenizer(spec)
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    odd = [*ODD, *BREAKS, *CONTROL, *lines]
    for _ in range(1500):
        text = "".join(chance.choice(odd) + chance.choice(["", " ", "\n", "  "]) for _ in range(6))
        wanted = library.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(text, special=True, bos=False) == wanted, text
    for text in ("\n" * 9, " a", "a ", "  ", "\n\n\n", *lines):
        assert tokenizer.encode(text, bos=False) == library.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(tokenizer.encode(text, bos=False)) == text


def test_a_text_of_users_has_no_marker_of_a_channel(library: Tokenizer, tmp_path: Path) -> None:
    tokenizer = BPETokenizer(of_gguf(library, tmp_path))
    marker = library.token_to_id("<|channel>")
    assert marker not in tokenizer.encode("<|channel>")
    assert tokenizer.encode("<|channel>", special=True, bos=False) == [marker]
    assert {"<|channel>", "<channel|>", "<turn|>"} <= set(tokenizer.control_tokens)
    assert library.token_to_id("<turn|>") in tokenizer.end_ids
