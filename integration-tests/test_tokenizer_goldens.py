"""Tokenizers of published vocabularies against the texts and ids of llama.cpp's own tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from random import Random

import pytest

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.contracts.plugins import Tokenizer
from zigai_gguf import GGUFFormat

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
VOCABULARIES = SHARED / "vocab"
STORIES = SHARED / "models" / "stories260K.golden.json"
NAMES = ["ggml-vocab-llama-spm", "ggml-vocab-llama-bpe", "ggml-vocab-qwen2", "ggml-vocab-gpt-2"]
SEPARATOR = "\n__ggml_vocab_test__\n"

needs_vocabularies = pytest.mark.skipif(not VOCABULARIES.is_dir(), reason="../shared/vocab is absent")


def cases(name: str) -> list[tuple[str, list[int]]]:
    """Texts with the ids of plain encoding, without a beginning-of-sequence token."""
    path = VOCABULARIES / f"{name}.gguf"
    texts = path.with_suffix(".gguf.inp").read_bytes().decode().split(SEPARATOR)
    lines = path.with_suffix(".gguf.out").read_text("utf-8").split("\n")
    assert len(texts) == len(lines)
    return [(text, [int(token) for token in line.split()]) for text, line in zip(texts, lines, strict=True)]


def specification(path: Path) -> TokenizerSpec:
    spec = GGUFFormat().read(path).tokenizer
    assert spec is not None
    return spec


def make_tokenizer(path: Path) -> Tokenizer:
    spec = specification(path)
    (entry,) = entry_points(group="zigai.tokenizers", name=spec.kind)
    tokenizer = entry.load()(spec)
    assert isinstance(tokenizer, Tokenizer)
    return tokenizer


@needs_vocabularies
@pytest.mark.parametrize("name", NAMES)
def test_every_text_has_the_recorded_ids_and_is_decoded_from_them(name: str) -> None:
    tokenizer = make_tokenizer(VOCABULARIES / f"{name}.gguf")
    for text, tokens in cases(name):
        assert tokenizer.encode(text, bos=False) == tokens, text
        assert tokenizer.decode(tokens) == text
        assert tokenizer.decode(tokenizer.encode(text)) == text


def random_texts(count: int) -> Iterator[str]:
    """Short texts of characters from all of Unicode, more often from common blocks."""
    random = Random(20)
    blocks = [(0x20, 0x7F), (0x20, 0x7F), (0, 0x20), (0xA0, 0x370), (0x370, 0x2000), (0x2000, 0x3000)]
    blocks += [(0x3000, 0xD800), (0xE000, 0x10000), (0x1F000, 0x1FA00), (0x10000, 0x110000)]
    for _ in range(count):
        block = random.choice(blocks)
        size = random.randrange(20)
        codes = (random.randrange(*random.choice((block, (0x20, 0x7F)))) for _ in range(size))
        yield "".join(map(chr, codes)).replace("\u2581", " ")


@needs_vocabularies
@pytest.mark.parametrize("name", NAMES)
def test_random_texts_are_decoded_from_their_ids(name: str) -> None:
    tokenizer = make_tokenizer(VOCABULARIES / f"{name}.gguf")
    for text in random_texts(100_000):
        tokens = tokenizer.encode(text)
        if tokenizer.decode(tokens) != text:  # an assert here would take more time than the tokenizer
            pytest.fail(f"{text!r} became {tokens}, which is {tokenizer.decode(tokens)!r}")


@pytest.mark.skipif(not STORIES.exists(), reason="../shared/models is absent")
def test_stories_have_the_recorded_ids() -> None:
    tokenizer = make_tokenizer(STORIES.with_name("stories260K.gguf"))
    for case in json.loads(STORIES.read_text("utf-8"))["cases"]:
        assert tokenizer.encode(case["text"]) == case["tokens"]
        assert tokenizer.decode(case["tokens"]) == case["text"]
