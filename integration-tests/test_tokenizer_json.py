"""Folders' tokenizers give the ids of the tokenizers library, whose file they are made from."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from zigai_safetensors.tokenizer import read_tokenizer
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
