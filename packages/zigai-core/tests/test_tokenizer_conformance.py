"""The conformance suite for tokenizers passes a sound one and finds each planted fault."""

from __future__ import annotations

import tracemalloc
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.contracts.errors import TokenizerError
from zigai_core.testing.byte_tokenizer import ByteTokenizer
from zigai_core.testing.memory import PeakMemory, peak_bytes, traced
from zigai_core.testing.tokenizer import (
    TokenizerConformance,
    load_goldens,
    sample_texts,
    save_goldens,
    throughput,
)
from zigai_core.testing.tokenizer.executed_lines import executed_lines
from zigai_core.testing.tokenizer.texts import SCRIPTS, SPACES, ordinary_text
from zigai_core.testing.toys import toy_vocabulary


class TestByteTokenizer(TokenizerConformance):
    tokenizer, spec, size = ByteTokenizer, toy_vocabulary(300), 1 << 15
    goldens = load_goldens({"": [], "Aé": [68, 198, 172], "</s>": [63, 50, 118, 65]})


class Lower(ByteTokenizer):
    def encode(self, text: str, **keywords: Any) -> list[int]:
        return super().encode(text.lower(), **keywords)


class TestLowerCase(TokenizerConformance):
    tokenizer, spec, size = Lower, TestByteTokenizer.spec, 1 << 12
    goldens = load_goldens({"Aé": [100, 198, 172]})
    normalises = str.lower


class Composes(ByteTokenizer):
    def encode(self, text: str, **keywords: Any) -> list[int]:
        return super().encode(unicodedata.normalize("NFC", text), **keywords)


class Shifted(ByteTokenizer):
    """Other ids than those of the goldens, but with an inverse."""

    def encode(self, text: str, **keywords: Any) -> list[int]:
        ids = super().encode(text, **keywords)
        return [3 + (i - 3 ^ 1) if 3 <= i < 259 else i for i in ids]

    def _bytes(self, token: int, special: bool) -> bytes:
        return super()._bytes(3 + (token - 3 ^ 1) if 3 <= token < 259 else token, special)


class Strips(ByteTokenizer):
    def decode(self, tokens: Sequence[int], *, special: bool = False) -> str:
        return super().decode(tokens, special=special).rstrip(" ")


class StripsBytes(ByteTokenizer):
    def decode_bytes(self, tokens: Sequence[int], *, special: bool = False) -> bytes:
        data = super().decode_bytes(tokens, special=special)
        return data.removeprefix(b" ") if len(tokens) > 1 else data


class DropsBytesOfParts(ByteTokenizer):
    """Decodes each token for itself, so that characters of several tokens are lost."""

    def decode_bytes(self, tokens: Sequence[int], *, special: bool = False) -> bytes:
        return b"".join(self._bytes(t, special).decode(errors="ignore").encode() for t in tokens)

    def decode(self, tokens: Sequence[int], *, special: bool = False) -> str:
        return ByteTokenizer.decode_bytes(self, tokens, special=special).decode(errors="replace")


class GivesNumpy(ByteTokenizer):
    def encode(self, text: str, **keywords: Any) -> list[int]:
        return np.array(super().encode(text, **keywords), np.int32)  # type: ignore[return-value]


class Recurses(ByteTokenizer):
    def encode(self, text: str, **keywords: Any) -> list[int]:
        if len(text) > 900:
            return self._rest(text, 0)
        return super().encode(text, **keywords)

    def _rest(self, text: str, at: int) -> list[int]:
        return [] if at == len(text) else [*super().encode(text[at], bos=False), *self._rest(text, at + 1)]


class GivesItsCache(ByteTokenizer):
    def __init__(self, spec: TokenizerSpec) -> None:
        super().__init__(spec)
        self.known: dict[Any, list[int]] = {}

    def encode(self, text: str, **keywords: Any) -> list[int]:
        key = text, *map(str, keywords.items())
        return self.known.setdefault(key, super().encode(text, **keywords))


class LacksATokensText(ByteTokenizer):
    def token_text(self, token: int) -> str:
        if token == self.vocabulary_size - 1:
            raise KeyError(token)
        return super().token_text(token)


class TakesNegativeIds(ByteTokenizer):
    def token_text(self, token: int) -> str:
        return super().token_text(token % self.vocabulary_size if token < 0 else token)


class RaisesIndexError(ByteTokenizer):
    def _bytes(self, token: int, special: bool) -> bytes:
        if token >= self.vocabulary_size:
            raise IndexError(token)
        return super()._bytes(token, special)


class NamesNoId(ByteTokenizer):
    def token_text(self, token: int) -> str:
        try:
            return super().token_text(token)
        except TokenizerError:
            raise TokenizerError("a token is outside the vocabulary") from None


class ReplacesSurrogates(ByteTokenizer):
    def encode(self, text: str, **keywords: Any) -> list[int]:
        return super().encode(text.encode(errors="replace").decode(), **keywords)


class LeavesUnicodeErrors(ByteTokenizer):
    def encode(self, text: str, **keywords: Any) -> list[int]:
        text.encode()
        return super().encode(text, **keywords)


class MarksEmptyTexts(ByteTokenizer):
    def encode(self, text: str, **keywords: Any) -> list[int]:
        return super().encode(text, **keywords) or [3 + 32]


class NeverAddsBOS(ByteTokenizer):
    def encode(self, text: str, *, bos: bool | None = None, **keywords: Any) -> list[int]:
        return super().encode(text, bos=bool(bos), **keywords)


class AddsBOSTwice(ByteTokenizer):
    def encode(self, text: str, *, bos: bool | None = None, **keywords: Any) -> list[int]:
        return ([1] if bos else []) + super().encode(text, bos=bos, **keywords)


class AlwaysSpecial(ByteTokenizer):
    def encode(self, text: str, *, special: bool = False, **keywords: Any) -> list[int]:
        return super().encode(text, special=True, **keywords)


class SpecialAtTheEnd(ByteTokenizer):
    """Finds a control token in plain text where nothing follows it."""

    def encode(self, text: str, *, special: bool = False, **keywords: Any) -> list[int]:
        return super().encode(text, special=special or text.endswith("</s>"), **keywords)


class NeverSpecial(ByteTokenizer):
    def encode(self, text: str, *, special: bool = False, **keywords: Any) -> list[int]:
        return super().encode(text, **keywords)


class FindsTheFirstOnly(ByteTokenizer):
    def encode(self, text: str, *, special: bool = False, **keywords: Any) -> list[int]:
        ids = super().encode(text, special=special, **keywords)
        found = [place for place, token in enumerate(ids) if token == 2]
        return ids[: found[1]] if len(found) > 1 else ids


class KnowsNoEnd(ByteTokenizer):
    def __init__(self, spec: TokenizerSpec) -> None:
        super().__init__(spec)
        self.control_tokens = {"<unk>": 0, "<s>": 1}


class ShowsControlTokens(ByteTokenizer):
    def decode_bytes(self, tokens: Sequence[int], *, special: bool = False) -> bytes:
        return super().decode_bytes(tokens, special=special or list(tokens) == [1])

    def decode(self, tokens: Sequence[int], *, special: bool = False) -> str:
        return ByteTokenizer.decode_bytes(self, tokens, special=special).decode(errors="replace")


class IgnoresGuards(ByteTokenizer):
    def encode(self, text: str, *, guards: Sequence[int] = (), **keywords: Any) -> list[int]:
        return super().encode(text, **keywords)


class GuardsTooMuch(ByteTokenizer):
    """A guard at the beginning of a control token hides it."""

    def encode(self, text: str, *, guards: Sequence[int] = (), **keywords: Any) -> list[int]:
        more = {guard + 1 for guard in guards if guard < len(text)}
        return super().encode(text, guards=sorted({*guards, *more}), **keywords)


class MarksGuards(ByteTokenizer):
    """A guard puts a space into the text."""

    def encode(self, text: str, *, guards: Sequence[int] = (), **keywords: Any) -> list[int]:
        if guards and keywords.get("special") and not any(c in text for c in self.control_tokens):
            text = text[: guards[-1]] + " " + text[guards[-1] :]
        return super().encode(text, guards=guards, **keywords)


class SharesABuffer(ByteTokenizer):
    def __init__(self, spec: TokenizerSpec) -> None:
        super().__init__(spec)
        self.buffer: list[int] = []

    def encode(self, text: str, **keywords: Any) -> list[int]:
        self.buffer = []
        for token in super().encode(text, **keywords):
            self.buffer.append(token)
        return list(self.buffer)


class TakesQuadraticSteps(ByteTokenizer):
    def encode(self, text: str, **keywords: Any) -> list[int]:
        ids = super().encode(text, **keywords)
        for end in range(0, len(ids), 10):
            for _ in ids[:end:16]:
                pass
        return ids


class TakesQuadraticMemory(ByteTokenizer):
    def encode(self, text: str, **keywords: Any) -> list[int]:
        parts = [text[:end] for end in range(0, len(text), 64)]
        return super().encode(parts[-1] + text[len(parts[-1]) :] if parts else text, **keywords)


class TrustsItsFile(ByteTokenizer):
    def __init__(self, spec: TokenizerSpec) -> None:
        _ = [spec.tokens[token] for token in (*spec.end_ids, *spec.special_ids.values())]
        super().__init__(spec)


class TrustsItsScores(ByteTokenizer):
    def __init__(self, spec: TokenizerSpec) -> None:
        scores = np.zeros(0) if spec.scores is None else spec.scores
        _ = dict(zip(spec.tokens, scores, strict=True))
        super().__init__(spec)


class CountsWrong(ByteTokenizer):
    def __init__(self, spec: TokenizerSpec) -> None:
        super().__init__(spec)
        self.vocabulary_size -= 1


class Fault(NamedTuple):
    tokenizer: type[ByteTokenizer]
    found_by: str


RESTORED = "test_texts_are_restored_from_their_ids"
OUT_OF_RANGE = "test_an_id_out_of_range_is_a_tokenizer_error_with_the_id"
SURROGATE = "test_a_lone_surrogate_is_a_tokenizer_error"
BOS = "test_bos_is_put_first_if_asked_for_and_else_as_the_file_says"
USER_TEXT = "test_user_text_never_makes_a_control_token"
FINDS = "test_special_finds_every_control_token"
COVERS = "test_control_tokens_are_those_of_the_vocabulary_and_all_that_end_a_reply"
DAMAGED = "test_a_damaged_vocabulary_is_refused_or_works"
FAULTS = (
    Fault(CountsWrong, "test_it_has_the_vocabulary_of_its_file"),
    Fault(Shifted, "test_golden_texts_have_their_ids"),
    Fault(Lower, RESTORED),
    Fault(Composes, RESTORED),
    Fault(Strips, RESTORED),
    Fault(GivesNumpy, RESTORED),
    Fault(Recurses, "test_long_runs_of_a_character_are_restored"),
    Fault(GivesItsCache, "test_encoding_twice_gives_the_same"),
    Fault(StripsBytes, "test_bytes_of_tokens_one_at_a_time_are_those_of_all"),
    Fault(DropsBytesOfParts, "test_a_stream_of_tokens_has_the_text_of_all"),
    Fault(LacksATokensText, "test_every_token_has_bytes_and_a_text"),
    Fault(TakesNegativeIds, OUT_OF_RANGE),
    Fault(RaisesIndexError, OUT_OF_RANGE),
    Fault(NamesNoId, OUT_OF_RANGE),
    Fault(ReplacesSurrogates, SURROGATE),
    Fault(LeavesUnicodeErrors, SURROGATE),
    Fault(MarksEmptyTexts, "test_an_empty_text_has_no_tokens"),
    Fault(NeverAddsBOS, BOS),
    Fault(AddsBOSTwice, BOS),
    Fault(AlwaysSpecial, USER_TEXT),
    Fault(SpecialAtTheEnd, USER_TEXT),
    Fault(NeverSpecial, FINDS),
    Fault(FindsTheFirstOnly, FINDS),
    Fault(KnowsNoEnd, COVERS),
    Fault(ShowsControlTokens, COVERS),
    Fault(IgnoresGuards, "test_no_control_token_spans_a_guard"),
    Fault(GuardsTooMuch, "test_no_control_token_spans_a_guard"),
    Fault(MarksGuards, "test_guards_change_nothing_else"),
    Fault(SharesABuffer, "test_threads_encode_at_the_same_time"),
    Fault(TakesQuadraticSteps, "test_steps_are_linear_in_the_text"),
    Fault(TakesQuadraticMemory, "test_memory_is_linear_in_the_text"),
    Fault(TrustsItsFile, DAMAGED),
    Fault(TrustsItsScores, DAMAGED),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.tokenizer.__name__)
def test_a_planted_fault_is_found(fault: Fault) -> None:
    suite: Any = type("Faulty", (TestByteTokenizer,), {"tokenizer": fault.tokenizer})()
    with pytest.raises(Exception):  # noqa: B017 - an assertion of the suite, or what the fault raises
        getattr(suite, fault.found_by)()


def test_every_test_of_the_suite_finds_a_fault() -> None:
    tests = {name for name in dir(TokenizerConformance) if name.startswith("test_")}
    assert tests == {fault.found_by for fault in FAULTS}


def test_a_text_that_cannot_be_restored_is_not_most_of_them() -> None:
    suite: Any = type("GivesUp", (TestByteTokenizer,), {"normalises": staticmethod(lambda text: None)})()
    with pytest.raises(AssertionError, match="gives up all but 0 texts"):
        suite.test_texts_are_restored_from_their_ids()


def test_a_vocabulary_without_control_tokens_is_refused() -> None:
    class Bare(ByteTokenizer):
        def __init__(self, spec: TokenizerSpec) -> None:
            super().__init__(spec)
            self.control_tokens = {}

    suite: Any = type("Faulty", (TestByteTokenizer,), {"tokenizer": Bare})()
    with pytest.raises(AssertionError, match="has no control token"):
        suite.test_control_tokens_are_those_of_the_vocabulary_and_all_that_end_a_reply()


def test_a_vocabulary_without_bos_passes_and_asking_for_it_is_an_error() -> None:
    spec = replace(TestByteTokenizer.spec, special_ids={"eos": 2, "unknown": 0}, add_bos=False)
    suite: Any = type("Without", (TestByteTokenizer,), {"spec": spec})()
    with pytest.raises(KeyError):  # the byte tokenizer relies on the toys, which have one
        suite.test_bos_is_put_first_if_asked_for_and_else_as_the_file_says()

    class Careful(ByteTokenizer):
        def encode(self, text: str, *, bos: bool | None = None, **keywords: Any) -> list[int]:
            if bos:
                raise TokenizerError("the vocabulary has no BOS token")
            return super().encode(text, bos=False, **keywords)

    suite = type("Without", (TestByteTokenizer,), {"spec": spec, "tokenizer": Careful})()
    suite.test_bos_is_put_first_if_asked_for_and_else_as_the_file_says()


@pytest.mark.parametrize("goldens", [{}, {"": []}])
def test_without_golden_ids_an_encoding_that_can_be_reversed_is_refused(goldens: Any) -> None:
    suite: Any = type("Without", (TestByteTokenizer,), {"tokenizer": Shifted, "goldens": goldens})()
    suite.test_texts_are_restored_from_their_ids()
    with pytest.raises(AssertionError, match=r"`goldens` has no ids: .*save_goldens\("):
        suite.test_golden_texts_have_their_ids()


def test_goldens_are_read_from_files(tmp_path: Path) -> None:
    goldens = {"": [], "é\0": [198, 172, 3], "AB": [68, 69]}
    (tmp_path / "golden.json").write_text('{"": [], "é\\u0000": [198, 172, 3], "AB": [68, 69]}', "utf-8")
    save_goldens(tmp_path / "golden.npz", goldens)
    for path in (tmp_path / "golden.json", tmp_path / "golden.npz"):
        assert load_goldens(path) == load_goldens(str(path)) == goldens
        suite: Any = type("OfFiles", (TestByteTokenizer,), {"goldens": path})()
        suite.test_golden_texts_have_their_ids()


@pytest.mark.parametrize("content", ["[]", '{"a": 1}', '{"a": [true]}', '{"a": ["1"]}', '{"a": [1.0]}'])
def test_a_golden_file_of_another_structure_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "golden.json").write_text(content)
    with pytest.raises(AssertionError, match=r"golden\.json"):
        load_goldens(tmp_path / "golden.json")
    np.savez(tmp_path / "golden.npz", text=np.zeros(3, np.uint8))
    with pytest.raises(AssertionError, match="must have the arrays"):
        load_goldens(tmp_path / "golden.npz")
    with pytest.raises(AssertionError, match=r"in a \.json or an \.npz file"):
        load_goldens(tmp_path / "golden.txt")


def test_texts_are_the_same_for_a_seed_and_have_every_script() -> None:
    texts = sample_texts()
    assert texts == sample_texts() != sample_texts(seed=1)
    characters = {ord(character) for text in texts for character in text}
    for script, ranges in SCRIPTS.items():
        for begin, end in ranges:
            assert characters & set(range(begin, end)), script
    assert set("".join(SPACES)) <= set("".join(texts))
    assert len(ordinary_text(12_345)) == 12_345
    "".join(texts).encode()  # no lone surrogate


def test_a_peak_of_memory_is_of_its_block_alone() -> None:
    assert not tracemalloc.is_tracing()
    assert 10**6 <= peak_bytes(lambda: bytes(10**6)) < 1.1 * 10**6
    assert not tracemalloc.is_tracing()
    with traced():
        kept, _ = bytes(10**6), bytes(3 * 10**6)
        del _
        peak = PeakMemory()
        with pytest.raises(KeyError), peak:
            {}[len(bytes(2 * 10**6))]
        assert 2 * 10**6 <= peak.nbytes < 2.1 * 10**6, len(kept)
        assert tracemalloc.is_tracing()
    assert not tracemalloc.is_tracing()


def test_measures_count_what_a_call_does() -> None:
    few, many = (executed_lines(lambda n=n: sum(1 for _ in range(n))) for n in (10, 1000))
    assert many - few >= 990
    assert throughput(ByteTokenizer(TestByteTokenizer.spec), "é" * 1000, seconds=0) > 0
