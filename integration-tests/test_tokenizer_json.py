"""Folders' tokenizers give the ids of the tokenizers library, whose file they are made from."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from zigai_safetensors.tokenizer import read_tokenizer
from zigai_tokenizers.bpe import BPETokenizer
from zigai_tokenizers.byte_level_bpe import ByteLevelBPETokenizer
from zigai_tokenizers.pre_tokenizers import PRE_TOKENIZERS

ROOT = Path(__file__).resolve().parents[1]
ODD = [
    *(
        "日本語のテキスト",
        "café naïve",
        "e\u0301a\u0308",
        "\u1100\u1161\u11a8",
        "👩‍👩‍👧‍👦🏳️‍🌈",
        " \t\n\r\n   ",
    ),
    *("١٢٣٤", "1234567890", "don't I'LL we'RE", "\u200b\u00a0\u2028", "العربية", "हिन्दी", "\x00\x01\x7f"),
    *("ﬁ ﬂ", "A\u030a", "{}[]()<>;:,./\\|`~!@#$%^&*-_=+'\"", "ABCdefGHI", "<end>", "<tool>", "\ufeff"),
]
STEPS = {
    "gpt-2": lambda: pre_tokenizers.ByteLevel(add_prefix_space=False),
    "digits": lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    **{
        name: lambda name=name: pre_tokenizers.Sequence(
            [
                *(
                    pre_tokenizers.Split(Regex(pattern), behavior="isolated")
                    for pattern in PRE_TOKENIZERS[name].patterns
                ),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        for name in ("llama-bpe", "qwen2", "gpt-4o", "deepseek-v3")
    },
}


@pytest.mark.parametrize("composes", [False, True], ids=["as it is", "NFC"])
@pytest.mark.parametrize("name", STEPS)
def test_ids_are_those_of_the_library(name: str, composes: bool, tmp_path: Path) -> None:
    chance = random.Random(name)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    text = readme + "".join(chance.choice(ODD) + chance.choice(["", " ", "\n", "  "]) for _ in range(3000))
    library = Tokenizer(models.BPE(ignore_merges=name == "llama-bpe"))
    library.pre_tokenizer = STEPS[name]()
    if composes:
        library.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<end>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    library.train_from_iterator([text], trainer)
    library.add_tokens(["<tool>"])
    library.save(str(tmp_path / "tokenizer.json"))
    spec = read_tokenizer(tmp_path, [0], 0)
    assert spec is not None
    tokenizer = ByteLevelBPETokenizer(spec)
    wanted = library.encode(text, add_special_tokens=False).ids
    assert tokenizer.encode(text, special=True) == wanted
    if not composes:
        assert tokenizer.decode(wanted, special=True) == text


REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
PREPEND = {"type": "Prepend", "prepend": "\u2581"}
NO_SPACE = {
    "type": "Split",
    "pattern": {"String": " "},
    "behavior": "MergedWithPrevious",
    "invert": False,
}
DIGITS = {"type": "Digits", "individual_digits": True}
BACK = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
ADDED = [
    AddedToken("<tool>", normalized=False),
    AddedToken("<late>", normalized=True),
    AddedToken("<two words>", normalized=True),
    AddedToken("<left>", lstrip=True, normalized=False),
    AddedToken("<|right|>", rstrip=True, normalized=False),
    AddedToken("<both>", lstrip=True, rstrip=True, normalized=True),
]


def metaspace(scheme: str, *, split: bool) -> dict[str, Any]:
    return {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": split}


def sequence(key: str, *steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", key: list(steps)}


PIPELINES: dict[str, tuple[Any, Any]] = {
    "llama": (sequence("normalizers", PREPEND, REPLACE), None),
    "gemma": (REPLACE, NO_SPACE),
    "nfc": (sequence("normalizers", {"type": "NFC"}, REPLACE), None),
    "digits": (REPLACE, sequence("pretokenizers", NO_SPACE, DIGITS)),
    **{
        f"metaspace {scheme}{' split' * split}": (None, metaspace(scheme, split=split))
        for scheme in ("always", "first", "never")
        for split in (False, True)
    },
    "metaspace digits": (None, sequence("pretokenizers", metaspace("first", split=True), DIGITS)),
}


def with_bytes(library: Tokenizer, normalizer: Any, pre_tokenizer: Any, *, whole: bool) -> Tokenizer:
    """The same vocabulary with byte tokens, and with other steps."""
    file = json.loads(library.to_str())
    vocab = file["model"]["vocab"]
    for byte in range(256):
        vocab[f"<0x{byte:02X}>"] = len(vocab)
    for token in file["added_tokens"]:
        token["id"] += 256 if token["id"] else 0
    file["model"] |= {"byte_fallback": True, "fuse_unk": True, "ignore_merges": whole}
    file |= {"normalizer": normalizer, "pre_tokenizer": pre_tokenizer}
    file["decoder"] = sequence("decoders", BACK, {"type": "ByteFallback"}, {"type": "Fuse"})
    return Tokenizer.from_str(json.dumps(file))


@pytest.mark.parametrize("whole", [False, True], ids=["merged", "whole"])
@pytest.mark.parametrize("name", PIPELINES)
def test_ids_with_byte_fallback_are_those_of_the_library(name: str, whole: bool, tmp_path: Path) -> None:
    chance = random.Random(name)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    lines = [line for line in readme.splitlines() if line]
    trained.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=600, special_tokens=["<end>"]))
    trained.add_tokens(ADDED)
    library = with_bytes(trained, *PIPELINES[name], whole=whole)
    library.save(str(tmp_path / "tokenizer.json"))
    spec = read_tokenizer(tmp_path, [0], 0)
    assert spec is not None
    assert spec.kind == "bpe"
    tokenizer = BPETokenizer(spec)
    odd = [*ODD, *(token.content for token in ADDED), "<two\u2581words>", "\u2581", " \t", *lines]
    for _ in range(1500):
        text = "".join(chance.choice(odd) + chance.choice(["", " ", "\n", "  "]) for _ in range(6))
        wanted = library.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(text, special=True) == wanted, text
    for text in [*lines, readme, " ", "\n", "\u4f60\U0001f642"]:
        if not text.startswith(" "):
            assert tokenizer.decode(tokenizer.encode(text)) == text
