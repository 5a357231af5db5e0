"""Small Unigram models, trained by sentencepiece, and hostile texts for them."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from random import Random
from typing import Any

import numpy as np
from protobuf_fields import parse
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.testing.tokenizer.texts import ordinary_text, runs, sample_texts

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def fields(message: bytes) -> list[tuple[int, bytes]]:
    """The fields of wire type 2 of a protobuf message, by number; others are skipped."""
    return [(number, value) for number, kind, value in parse(message) if kind == 2]


@cache
def trained(rule: str = "nmt_nfkc", **options: Any) -> bytes:
    """A serialised model of about 600 pieces. Some characters of the texts are not covered."""
    text = ordinary_text(20_000)
    lines = [text[at : at + 400] for at in range(0, 20_000, 379)] + [
        " ".join(sample_texts(0)),
        "aaa aaaa aaaaa aa baab",
        "12 123 1234",
        "a" * 16,
    ]
    model = BytesIO()
    options = {"hard_vocab_limit": False, "character_coverage": 0.995, **options}
    SentencePieceTrainer.train(
        sentence_iterator=iter([line for each in lines for line in each.split("\n") if line]),
        model_writer=model,
        model_type="unigram",
        vocab_size=options.pop("vocab_size", 600),
        normalization_rule_name=rule,
        minloglevel=2,
        **options,
    )
    return model.getvalue()


def charsmap(model: bytes) -> bytes | None:
    """normalizer_spec.precompiled_charsmap."""
    normalizer = dict(fields(model))[3]
    return dict(fields(normalizer)).get(2) or None


def spec_of(model: bytes, **changes: Any) -> TokenizerSpec:
    """The vocabulary of a model as a GGUF file has it."""
    library = SentencePieceProcessor(model_proto=model)
    size = library.vocab_size()
    types = [
        UNKNOWN
        if library.is_unknown(token)
        else CONTROL
        if library.is_control(token)
        else BYTE
        if library.is_byte(token)
        else UNUSED
        if library.is_unused(token)
        else NORMAL
        for token in range(size)
    ]
    options: dict[str, Any] = {
        "kind": "t5",
        "tokens": [library.id_to_piece(token) for token in range(size)],
        "scores": np.array([library.get_score(token) for token in range(size)], np.float32),
        "types": np.array(types, np.int32),
        "special_ids": {"unknown": 0, "bos": 1, "eos": 2},
        "end_ids": frozenset({2}),
        "add_space_prefix": True,
        "remove_extra_whitespaces": True,
        "precompiled_charsmap": charsmap(model),
        **changes,
    }
    return TokenizerSpec(**options)


def hostile_texts(tokens: list[str], count: int = 2000) -> list[str]:
    """Other scripts, emoji, combining and control characters, runs of spaces, tokens in wrong places."""
    random = Random(5)
    texts = [*sample_texts(count // 2), *runs(300)]
    pieces = [piece.replace("\u2581", " ") for piece in tokens]
    odd = [
        " ",
        "  ",
        "    ",
        "\t",
        "\n",
        "\u3000",
        "\u00a0",
        "\u2581",
        "\u0301",
        "\u200d",
        "\0",
        "\x07",
        "中",
        "🙂",
    ]
    while len(texts) < count + 200:
        parts = random.choices(pieces, k=random.randrange(1, 30)) + random.choices(odd, k=random.randrange(6))
        random.shuffle(parts)
        texts.append("".join(parts))
    letters = "ab" * 3 + "é中"
    texts += ["".join(random.choices(letters, k=random.randrange(1, 400))) for _ in range(200)]
    return texts
