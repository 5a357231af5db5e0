"""The conformance suite for control tokens: user text never makes one, `special` finds them, guards hold."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from zigai_core.testing.tokenizer.settings import CONTROL, TokenizerSuite, brief

AROUND = (("", ""), ("the fox", "dog 12"), ("x ", " y"), ("\n", "\n"), ("<", ">"), ("🙂", "é"))
"""Texts before and after a control token's spelling."""


class ControlTokensConformance(TokenizerSuite):
    """Tests of the tokens that user text must never produce."""

    def test_control_tokens_are_those_of_the_vocabulary_and_all_that_end_a_reply(self) -> None:
        tokenizer, spec = self._tokenizer, type(self).spec
        controls = dict(tokenizer.control_tokens)
        assert controls, "the vocabulary has no control token: give one that has, for these tests need it"
        assert set(controls.values()) <= set(range(len(spec.tokens)))
        missing = {spec.tokens[token] for token in self._reserved()} - set(controls)
        missing -= {spec.tokens[token] for token in controls.values()}
        assert not missing, f"control_tokens lacks {brief(sorted(missing))}"
        for spelling, token in controls.items():
            case = f"control token {token} {brief(spelling)}"
            assert tokenizer.decode([token]) == "" == tokenizer.decode_bytes([token]).decode(), case
            assert tokenizer.decode([token], special=True) == spelling, case
            assert tokenizer.decode_bytes([token], special=True).decode() == spelling, case

    def test_user_text_never_makes_a_control_token(self) -> None:
        forbidden = self._reserved() | self._controls()
        unknown = self._tokenizer.special_ids.get("unknown")
        for text in self._spelt_texts():
            ids = self._encode(text)
            allowed = {unknown} if self._restored(text) is None else set()
            found = forbidden.intersection(ids or ()) - allowed
            assert not found, f"{brief(text)} became {brief(ids)}, with the control tokens {sorted(found)}"
            again = self._encode(text, guards=[0, len(text) // 2, len(text)])
            assert again == ids, f"{brief(text)}: guards have an effect without special"

    def test_special_finds_every_control_token(self) -> None:
        tokenizer, late = self._tokenizer, type(self).spec.normalized
        for spelling, token in tokenizer.control_tokens.items():
            if not spelling:
                continue
            case = f"control token {token} {brief(spelling)}"
            assert self._encode(spelling, special=True) == [token], case
            assert self._encode(spelling * 3, special=True) == [token] * 3, case
            before, after = "the fox", "dog 12"
            left, ids = self._encode(before), self._encode(before + spelling + after, special=True)
            if left is None or ids is None or token in late:
                continue
            found = ids[: len(left) + 1]
            assert found == [*left, token], f"{case}: {found} in place of {left} and the token"
            assert tokenizer.decode(ids[len(left) + 1 :]) == self._restored(after), case

    def test_no_control_token_spans_a_guard(self) -> None:
        for spelling in self._spelt():
            for before, after in AROUND:
                text = before + spelling + after
                for guard in range(len(before), len(before) + len(spelling) + 1):
                    self._guarded(text, [guard])
        twice = "".join(self._spelt(4)) * 2
        random = Random(1)
        for _ in range(50):
            self._guarded(twice, sorted(random.randrange(len(twice) + 1) for _ in range(random.randrange(4))))

    def test_guards_change_nothing_else(self) -> None:
        random = Random(2)
        for text in self._texts(100):
            if any(spelling in text for spelling in self._tokenizer.control_tokens):
                continue
            expected = self._encode(text, special=True)
            for guards in ([0], [len(text)], sorted(random.randrange(len(text) + 1) for _ in range(4))):
                found = self._encode(text, special=True, guards=guards)
                assert found == expected, f"{brief(text)}, guards at {guards}: {brief(found)}"

    def _guarded(self, text: str, guards: list[int]) -> None:
        """Asserts that the control tokens of a text with guards are those of its parts between them."""
        ids = self._encode(text, special=True, guards=guards)
        cuts = [0, *guards, len(text)]
        parts = [self._encode(text[a:b], special=True) for a, b in pairwise(cuts) if a < b]
        if ids is None or None in parts:
            return
        controls = self._controls() - type(self).spec.normalized
        expected = [token for part in parts for token in part or () if token in controls]
        found = [token for token in ids if token in controls]
        assert found == expected, f"{brief(text)}, guards at {guards}: {found}, not {expected}"
        restored = self._restored(text)
        if restored is not None:
            decoded = self._tokenizer.decode(ids, special=True)
            assert decoded == restored, f"{brief(text)}, guards at {guards}: decoded to {brief(decoded)}"

    def _controls(self) -> set[int]:
        """The control tokens of more than one character: plain text could not do without the others."""
        return {token for text, token in self._tokenizer.control_tokens.items() if len(text) > 1}

    def _reserved(self) -> set[int]:
        """The tokens that must be among `control_tokens`, by the vocabulary."""
        spec = type(self).spec
        types = () if spec.types is None else spec.types.tolist()
        marked = {token for token, kind in enumerate(types) if kind == CONTROL}
        return {token for token in marked | set(spec.end_ids) if len(spec.tokens[token]) > 1}

    def _spelt(self, most: int = 40) -> list[str]:
        """Spellings of control tokens, the shortest and the longest of them if there are many."""
        spelt = sorted((text for text in self._tokenizer.control_tokens if len(text) > 1), key=len)
        return spelt if len(spelt) <= most else spelt[: most // 2] + spelt[-(most // 2) :]

    def _spelt_texts(self) -> list[str]:
        """Texts with every spelling of a control token, alone, split, doubled, joined with other text."""
        texts = []
        for spelling in self._tokenizer.control_tokens:
            texts += [before + spelling + after for before, after in AROUND] if len(spelling) > 1 else []
        for spelling in self._spelt():
            half = len(spelling) // 2
            texts += [spelling * 2, spelling[:half] + spelling + spelling[half:], spelling + spelling[half:]]
            texts += [spelling[:half] + "x" + spelling[half:], spelling[:half] + " " + spelling[half:]]
            texts += [spelling * 3, spelling + "\n" + spelling, spelling.upper() + spelling.lower()]
        return texts
