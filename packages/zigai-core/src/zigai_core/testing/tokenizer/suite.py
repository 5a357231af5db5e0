"""The conformance suite for tokenizers, as a class of tests to inherit from.

>>> class TestMyTokenizer(TokenizerConformance):     # doctest: +SKIP
...     tokenizer = MyTokenizer
...     spec = TokenizerSpec(kind="mine", tokens=["<s>", "</s>", "a", "b"], ...)
...     goldens = {"ab": [2, 3]}
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from random import Random
from typing import Any

from zigai_core.contracts.errors import TokenizerError, ZigAIError
from zigai_core.contracts.plugins import Tokenizer
from zigai_core.testing.memory import peak_bytes
from zigai_core.testing.tokenizer.control_tokens import ControlTokensConformance
from zigai_core.testing.tokenizer.damaged_vocabularies import damaged_vocabularies
from zigai_core.testing.tokenizer.executed_lines import executed_lines
from zigai_core.testing.tokenizer.goldens import load_goldens
from zigai_core.testing.tokenizer.settings import brief, raises
from zigai_core.testing.tokenizer.texts import ordinary_text, runs
from zigai_core.text.stream import TextStream

THREADS = 4
TRACED = 1 << 13
"""Characters of the texts whose executed lines are counted."""
NO_GOLDENS = (
    "`goldens` has no ids: set it to {text: ids} that another implementation gives for some texts, each text "
    "encoded without BOS and with spellings of control tokens as plain text; many are kept in a file that "
    "save_goldens(path, {text: ids}) writes, with goldens = path"
)


class TokenizerConformance(ControlTokensConformance):
    """All tests of a tokenizer. Inherit and set `tokenizer`, `spec` and `goldens`; see `TokenizerSuite`."""

    def test_it_has_the_vocabulary_of_its_file(self) -> None:
        tokenizer, spec = self._tokenizer, type(self).spec
        assert isinstance(tokenizer, Tokenizer)
        assert tokenizer.vocabulary_size == len(spec.tokens)
        assert tokenizer.end_ids == spec.end_ids
        for role in ("bos", "eos", "unknown"):
            assert tokenizer.special_ids.get(role) == spec.special_ids.get(role), role

    def test_golden_texts_have_their_ids(self) -> None:
        """Every other test passes for any encoding that can be reversed."""
        goldens = load_goldens(type(self).goldens)
        assert any(goldens.values()), NO_GOLDENS
        for text, expected in goldens.items():
            found = self._tokenizer.encode(text, bos=False)
            assert found == expected, f"{brief(text)}: {brief(found)}, not {brief(expected)}"

    def test_texts_are_restored_from_their_ids(self) -> None:
        restored = 0
        for text in self._texts():
            ids = self._encode(text)
            if ids is None:
                continue
            assert type(ids) is list and {type(token) for token in ids} <= {int}, f"ids are {brief(ids)}"
            wrong = set(ids) - set(range(self._tokenizer.vocabulary_size))
            assert not wrong, f"{brief(text)} has ids outside the vocabulary: {sorted(wrong)}"
            expected = self._restored(text)
            if expected is not None:
                restored += 1
                decoded = self._tokenizer.decode(ids)
                assert decoded == expected, f"{brief(text)} is decoded to {brief(decoded)}"
                special = self._tokenizer.encode(text, bos=False, special=True)
                decoded = self._tokenizer.decode(special, special=True)
                assert decoded == expected, f"{brief(text)} with special is decoded to {brief(decoded)}"
        assert restored > len(self._texts()) // 4, f"`normalises` gives up all but {restored} texts"

    def test_long_runs_of_a_character_are_restored(self) -> None:
        for text in runs():
            ids, expected = self._encode(text), self._restored(text)
            if ids is not None and expected is not None:
                assert self._tokenizer.decode(ids) == expected, brief(text)

    def test_encoding_twice_gives_the_same(self) -> None:
        for text in self._texts(50):
            ids = self._encode(text)
            if ids is not None:
                kept = list(ids)
                ids.append(-1)  # a caller may change what is returned
                assert self._encode(text) == kept, brief(text)

    def test_bytes_of_tokens_one_at_a_time_are_those_of_all(self) -> None:
        tokenizer, random = self._tokenizer, Random(3)
        encoded = [self._encode(text, special=True) or [] for text in self._texts(100)]
        any_ids = [
            random.choices(range(tokenizer.vocabulary_size), k=random.randrange(9)) for _ in range(300)
        ]
        for ids in (*encoded, *any_ids):
            for special in (False, True):
                whole = tokenizer.decode_bytes(ids, special=special)
                single = [tokenizer.decode_bytes([token], special=special) for token in ids]
                assert b"".join(single) == whole, f"{brief(ids)}: {brief(single)}, but {brief(whole)}"

    def test_a_stream_of_tokens_has_the_text_of_all(self) -> None:
        for text in self._texts(100):
            ids = self._encode(text)
            if ids is not None:
                stream = TextStream(self._tokenizer)
                found = "".join(map(stream.push, ids)) + stream.finish()
                assert found == self._tokenizer.decode(ids), f"{brief(text)}: {brief(found)}"

    def test_every_token_has_bytes_and_a_text(self) -> None:
        tokenizer = self._tokenizer
        for token in range(tokenizer.vocabulary_size):
            assert isinstance(tokenizer.token_text(token), str), token
            for special in (False, True):
                data = tokenizer.decode_bytes([token], special=special)
                assert isinstance(data, bytes), token
                text = tokenizer.decode([token], special=special)
                shown = data.decode(errors="replace")
                assert text in (shown, shown.removeprefix(" ")), f"token {token}: {text!r}, {data!r}"

    def test_an_id_out_of_range_is_a_tokenizer_error_with_the_id(self) -> None:
        tokenizer = self._tokenizer
        for token in (-1, tokenizer.vocabulary_size, 2**31, -(2**63), 2**70):
            case = f"token {token}"
            for error in (
                raises(TokenizerError, case, tokenizer.decode, [token]),
                raises(TokenizerError, case, tokenizer.decode_bytes, [token]),
                raises(TokenizerError, case, tokenizer.decode_bytes, [0, token], special=True),
                raises(TokenizerError, case, tokenizer.token_text, token),
            ):
                assert str(token) in str(error), f"the error of token {token} does not name it: {error}"

    def test_a_lone_surrogate_is_a_tokenizer_error(self) -> None:
        for text in ("\ud800", "a\udfffb", "\ude42\ud83d", "text " * 40_000 + "\udc80"):
            for special in (False, True):
                raises(TokenizerError, brief(text), self._tokenizer.encode, text, special=special)

    def test_an_empty_text_has_no_tokens(self) -> None:
        tokenizer = self._tokenizer
        for special in (False, True):
            assert tokenizer.encode("", bos=False, special=special, guards=[0]) == []
            assert tokenizer.decode([], special=special) == ""
            assert tokenizer.decode_bytes([], special=special) == b""

    def test_bos_is_put_first_if_asked_for_and_else_as_the_file_says(self) -> None:
        tokenizer, spec = self._tokenizer, type(self).spec
        bos = spec.special_ids.get("bos")
        for text in ("", *self._texts(20)):
            for special in (False, True):
                bare = self._encode(text, special=special)
                if bare is None:
                    continue
                usual = tokenizer.encode(text, special=special)
                if bos is None:
                    case = "bos=True without a BOS token"
                    raises(TokenizerError, case, tokenizer.encode, text, bos=True)
                else:
                    found = tokenizer.encode(text, bos=True, special=special)
                    assert found == [bos, *bare], f"{brief(text)}: {brief(found)}"
                assert usual == ([bos, *bare] if spec.add_bos else bare), f"{brief(text)}: {brief(usual)}"

    def test_threads_encode_at_the_same_time(self) -> None:
        fresh, long = self._new(type(self).spec), ordinary_text(20_000)
        texts = [
            *self._texts(60),
            *(long[number:] for number in range(2 * THREADS)),
        ]  # long: threads alternate
        expected = {text: ids for text in texts if (ids := self._encode(text)) is not None}
        texts = list(expected)
        wrong: list[str] = []
        start = threading.Barrier(THREADS)

        def work(number: int) -> None:
            start.wait()
            for text in texts[-2 * number :] + texts[: -2 * number]:
                try:
                    ids = fresh.encode(text, bos=False)
                    same = ids == expected[text] and fresh.decode(ids) == self._tokenizer.decode(ids)
                except Exception as error:
                    wrong.append(f"{brief(text)}: {error!r}")
                else:
                    wrong.extend([] if same else [brief(text)])

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(interval)
        assert not wrong, f"{len(wrong)} texts differ between threads, such as {wrong[0]}"

    def test_memory_is_linear_in_the_text(self) -> None:
        """Counts what Python allocates; a library's own memory is not seen."""
        size = type(self).size
        for text in self._long(size):
            half, whole = (self._traced(text[:count], peak_bytes) for count in (size // 2, size))
            case = f"{brief(text[:20])} …: {half:,} bytes for {size // 2:,} characters, {whole:,} for twice"
            assert whole <= 3 * half + size, case

    def test_steps_are_linear_in_the_text(self) -> None:
        """Counts the lines of Python that run; a library's own work is not seen."""
        for text in self._long(2 * TRACED):
            half, whole = (self._traced(text[:count], executed_lines) for count in (TRACED, 2 * TRACED))
            case = f"{brief(text[:20])} …: {half:,} lines for {TRACED:,} characters, {whole:,} for twice"
            assert whole <= 3 * half + TRACED, case

    def test_a_damaged_vocabulary_is_refused_or_works(self) -> None:
        texts = ["", "the fox 12 é中🙂", *self._tokenizer.control_tokens, *self._texts(0)[:20]]
        for what, spec in damaged_vocabularies(type(self).spec):
            try:
                tokenizer = self._new(spec)
                for text in texts:
                    for special in (False, True):
                        ids = _unless_refused(tokenizer.encode, text, special=special)
                        _unless_refused(tokenizer.decode, ids or [])
                        outside = set(ids or ()) - set(range(tokenizer.vocabulary_size))
                        assert not outside, f"{what}: {brief(text)} has the ids {sorted(outside)}"
                for token in {0, tokenizer.vocabulary_size - 1}:
                    _unless_refused(tokenizer.token_text, token)
                    _unless_refused(tokenizer.decode, [token], special=True)
            except ZigAIError:
                continue
            except AssertionError:
                raise
            except Exception as error:
                raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error

    def _long(self, size: int) -> list[str]:
        """Texts of a length: ordinary, of one character, and of beginnings of a control token."""
        starts = [text[:-1] for text in self._tokenizer.control_tokens if len(text) > 1][:1]
        texts = [ordinary_text(size), *(part * size for part in ("a", " ", *starts))]
        return [text[:size] for text in texts if self._restored(text[:200]) is not None]

    def _traced(self, text: str, count: Callable[[Callable[[], object]], int]) -> int:
        self._encode(text[: len(text) // 16], special=True)  # what is kept for later is made before
        return count(lambda: self._tokenizer.decode(self._encode(text, special=True) or []))


def _unless_refused(call: Callable[..., list[int] | str], *arguments: Any, **keywords: Any) -> Any:
    try:
        return call(*arguments, **keywords)
    except ZigAIError:
        return None
