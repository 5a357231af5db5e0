"""Vocabularies that no file should have, made from a sound one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from zigai_core.contracts.descriptor import TokenizerSpec

ROLES = ("bos", "eos", "unknown", "eot")


def damaged_vocabularies(spec: TokenizerSpec) -> Iterator[tuple[str, TokenizerSpec]]:
    """Yields what is wrong, and the vocabulary."""
    for what, changes in (*_tokens(spec), *_arrays(spec), *_merges(spec), *_ids(spec), *_settings()):
        yield what, replace(spec, **changes)


Damage = Iterator[tuple[str, dict[str, Any]]]


def _tokens(spec: TokenizerSpec) -> Damage:
    texts = list(spec.tokens)
    last = texts[:-1]
    yield "no tokens, but the rest", {"tokens": []}
    empty: dict[str, Any] = {"tokens": [], "scores": None, "types": None, "special_ids": {}}
    yield "nothing at all", empty | {"end_ids": frozenset(), "merges": [], "add_bos": False}
    yield "one token fewer", {"tokens": last}
    yield "one token more", {"tokens": [*texts, "one more"]}
    yield "two equal tokens", {"tokens": [*last, texts[0]]}
    yield "equal tokens only", {"tokens": ["a"] * len(texts)}
    yield "empty tokens only", {"tokens": [""] * len(texts)}
    for name, text in (
        ("an empty token", ""),
        ("a token of a lone surrogate", "a\udc80"),
        ("a token of NUL", "\0"),
        ("a token of 100,000 characters", "x" * 100_000),
        ("a token with a line break", "a\nb"),
    ):
        yield name, {"tokens": [*last, text]}
        yield f"{name} first", {"tokens": [text, *texts[1:]]}


def _arrays(spec: TokenizerSpec) -> Damage:
    size = len(spec.tokens)
    for what, count in (("fewer", size - 1), ("more", size + 1)):
        yield f"one score {what}", {"scores": np.zeros(count, np.float32)}
        yield f"one type {what}", {"types": np.ones(count, np.int32)}
    yield "scores of two dimensions", {"scores": np.zeros((size, 1), np.float32)}
    yield "no scores", {"scores": None}
    yield "no types", {"types": None}
    yield "scores that are texts", {"scores": np.array(["a"] * size)}
    yield "types that are not whole", {"types": np.ones(size, np.float32)}
    yield "types of two dimensions", {"types": np.ones((1, size), np.int32)}
    for value in (np.nan, np.inf, -np.inf, 3e38):
        scores = np.zeros(size, np.float32) if spec.scores is None else spec.scores.copy()
        scores[size // 2] = value
        yield f"a score of {value}", {"scores": scores}
    for kind in (0, 7, -1, 2**31 - 1):
        types = np.ones(size, np.int32) if spec.types is None else spec.types.copy()
        types[size // 2] = kind
        yield f"a type of {kind}", {"types": types}
    for kind in range(1, 7):
        yield f"types of {kind} only", {"types": np.full(size, kind, np.int32)}


def _merges(spec: TokenizerSpec) -> Damage:
    merges: Sequence[str] = spec.merges or ()
    first = merges[0] if merges else "a b"
    yield "merges missing", {"merges": None}
    yield "no merges", {"merges": []}
    for what, merge in (
        ("that names no token", "\ue001 \ue002"),
        ("of one token", "a"),
        ("of nothing", ""),
        ("of a space", " "),
        ("of three tokens", "a b c"),
        ("with a lone surrogate", "\ud800 b"),
        ("a second time", first),
    ):
        yield f"a merge {what}", {"merges": [*merges, merge]}


def _ids(spec: TokenizerSpec) -> Damage:
    size = len(spec.tokens)
    for token in (size, -1, 2**40):
        for role in ROLES:
            yield f"the {role} token {token}", {"special_ids": {**spec.special_ids, role: token}}
        yield f"the end token {token}", {"end_ids": frozenset({*spec.end_ids, token})}
        for name in ("normalized", "strip_left", "strip_right"):
            yield f"{name} token {token}", {name: frozenset({token})}
    yield "one token for every role", {"special_ids": dict.fromkeys(ROLES, size - 1)}
    yield "a BOS token is asked for, and there is none", {"special_ids": {}, "add_bos": True}
    yield "every token ends a reply", {"end_ids": frozenset(range(size))}


def _settings() -> Damage:
    for name in ("", "no such pre-tokenizer", "x" * 10_000):
        yield f"the pre-tokenizer {name[:30]!r}", {"pre_tokenizer": name, "splits": None}
    for splits in (("(",), ("",), ("[",), ("\\",), ("a" * 10_000,), ()):
        yield f"the expressions {str(splits)[:30]}", {"splits": splits}
    yield "an unknown normaliser", {"normalizer": "NFX"}
    for blob in (b"\0", b"\0" * 4, b"\xff" * 64, bytes(2048)):
        yield f"a character map of {len(blob)} bytes", {"precompiled_charsmap": blob}
