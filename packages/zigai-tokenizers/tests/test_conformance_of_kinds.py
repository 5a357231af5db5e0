"""The conformance suite on every kind, with the settings that change how it encodes.

The golden ids are by the definition of each kind, and those of the tokenizers library 0.23 with the same
vocabulary, merges and settings (for `llama`, with merges in the order of the scores of their results).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unicodedata import normalize

import numpy as np

from zigai_core.contracts.descriptor import TokenizerSpec, TokenType
from zigai_core.testing.tokenizer import TokenizerConformance
from zigai_tokenizers.bpe import BPETokenizer
from zigai_tokenizers.byte_alphabet import CHARACTERS
from zigai_tokenizers.byte_level_bpe import ByteLevelBPETokenizer
from zigai_tokenizers.byte_tokens import SPACE
from zigai_tokenizers.sentencepiece import SentencePieceTokenizer
from zigai_tokenizers.sentencepiece_unigram import SentencePieceUnigramTokenizer
from zigai_tokenizers.unigram import UnigramTokenizer
from zigai_tokenizers.wordpiece import WordPieceTokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = TokenType
SPECIAL = {
    "<unk>": UNKNOWN,
    "<s>": CONTROL,
    "</s>": CONTROL,
    "<s>>": CONTROL,
    "<|end of turn|>": USER_DEFINED,
    "<|stop|>": NORMAL,
    "<think>": USER_DEFINED,
    "[UNUSED]": UNUSED,
}
"""Both a user-defined and a normal token end a reply, as some files have it."""
ROLES: dict[str, Any] = {
    "special_ids": {"unknown": 0, "bos": 1, "eos": 2},
    "end_ids": frozenset({2, 4, 5}),
    "add_bos": True,
}
PAIRS = (
    "▁ t|h e|▁t he|▁ f|o x|▁f ox|d o|do g|▁ a|l l|▁ ▁|▁▁ ▁▁"
    "|< s|s >|<s >|< /s|/ s|< think|e \u0301|😀 \u200d|1 2|\n \n"
)
WORDS = "Ġ t|h e|Ġt he|f o|fo x|Ġ fox|Ġ Ġ|1 2|12 3|< s|Ã ©|Ċ Ċ|s >|<s >"


def spell(kinds: dict[str, int], **changes: Any) -> TokenizerSpec:
    """A vocabulary of these tokens by type, after the special ones."""
    kinds = SPECIAL | {text: kind for text, kind in kinds.items() if text not in SPECIAL}
    types = np.array(list(kinds.values()), np.int32)
    scores = -np.arange(len(kinds), dtype=np.float32)
    return TokenizerSpec(**{"tokens": list(kinds), "types": types, "scores": scores, **ROLES, **changes})


def pieces(alphabet: str = "") -> dict[str, int]:
    """The parts and results of `PAIRS`, and byte tokens."""
    texts = [text for pair in PAIRS.split("|") for text in (pair.replace(" ", ""), *pair.split(" "))]
    return {f"<0x{byte:02X}>": BYTE for byte in range(256)} | dict.fromkeys([*texts, *alphabet], NORMAL)


def merges() -> list[str]:
    known = [*SPECIAL, *pieces()]
    return [pair for pair in PAIRS.split("|") if all(part in known for part in pair.split(" "))]


def spaces(text: str) -> str:
    return text.replace(SPACE, " ")


def spelt(spec: TokenizerSpec, goldens: dict[str, str]) -> dict[str, list[int]]:
    """Ids by text, of the tokens' texts with spaces between them."""
    ids = {text: token for token, text in enumerate(spec.tokens)}
    return {text: [ids[token] for token in tokens.split()] for text, tokens in goldens.items()}


class KindConformance(TokenizerConformance):
    size = 1 << 18  # some chunks


class SpacesConformance(KindConformance):
    """U+2581 stands for a space, so it becomes one."""

    normalises = staticmethod(spaces)


class TestLlama(SpacesConformance):
    tokenizer = SentencePieceTokenizer
    spec = spell(pieces("abcdefghijklmnopqrstuvwxyz 🙂é"), kind="llama")
    goldens = spelt(
        spec,
        {  # by the definition: the pair whose token has the highest score first
            "the fox": "▁the ▁fox",
            "all 3 dogs": "▁a ll ▁ <0x33> ▁ dog s",
            "  x": "▁▁ ▁ x",
            "<s>": "▁ <s >",
            "é": "▁ é",
            "中": "▁ <0xE4> <0xB8> <0xAD>",
        },
    )


class TestLlamaWithoutSpacePrefix(SpacesConformance):
    tokenizer = SentencePieceTokenizer
    spec = replace(TestLlama.spec, add_space_prefix=False, add_bos=False)
    goldens = spelt(
        spec,
        {
            "the fox": "t he ▁fox",
            "  x": "▁▁ x",
            "fox dog": "f ox ▁ dog",
        },
    )


class TestLlamaWithoutByteTokens(KindConformance):
    """Characters that the vocabulary lacks become the unknown token."""

    tokenizer = SentencePieceTokenizer
    alphabet = f"{SPACE}abcdefghijklmnopqrstuvwxyz0123456789<>|/.,'\"\\xéßαβγдежאבג中文字"
    spec = spell(dict.fromkeys(alphabet, NORMAL), kind="llama")
    goldens = spelt(
        spec,
        {
            "the 中": "▁ t h e ▁ 中",
            "THE fox": "▁ <unk> ▁ f o x",
            "é\n\n": "▁ é <unk>",
        },
    )

    @staticmethod
    def normalises(text: str) -> str | None:
        known = set(TestLlamaWithoutByteTokens.alphabet) | {" "}
        return spaces(text) if known.issuperset(text) and "<unk>" not in text else None

    texts = ("the fox", " a  b", "<s>the fox</s>", "αβγ дежд, 中文", *alphabet) * 6


class TestBPE(SpacesConformance):
    tokenizer = BPETokenizer
    spec = spell(pieces(), kind="bpe", merges=merges(), splits=())
    goldens = spelt(
        spec,
        {  # by the definition: the first merge of the list first
            "the fox": "▁the ▁fox",
            "all 3 dogs": "▁a ll ▁ <0x33> ▁ dog s",
            "  x": "▁▁ ▁ x",
            "<s>": "▁ <s >",
            "中": "▁ <0xE4> <0xB8> <0xAD>",
        },
    )


class TestBPEWithSpacesAtTextsThatHaveNone(SpacesConformance):
    tokenizer = BPETokenizer
    spec = replace(TestBPE.spec, prefix_scheme="always", add_space_prefix=False, splits=("▁[^▁]*",))
    goldens = spelt(
        spec,
        {
            "the fox": "t he ▁fox",
            "  x": "▁ ▁ x",
        },
    )


class TestBPEWithASpaceAtTheFirstText(KindConformance):
    tokenizer = BPETokenizer
    spec = replace(TestBPE.spec, prefix_scheme="first")
    goldens = spelt(
        spec,
        {
            "the fox": "▁the ▁fox",
            " the  fox": "▁the ▁ ▁fox",
            "  x": "▁▁ x",
            "12": "▁ 12",
        },
    )

    @staticmethod
    def normalises(text: str) -> str:
        """A text that begins with a space gets none, and loses its own."""
        return spaces(text[1:] if text[:1] in (" ", SPACE) else text)


def by_length(**changes: Any) -> TokenizerSpec:
    """The vocabulary with scores by which fewer tokens are better, and of as many those of earlier ids."""
    spec = spell(pieces("abcdefghijklmnopqrstuvwxyz 🙂é"), **changes)
    lengths = np.arange(len(spec.tokens)) / 1024
    return replace(spec, scores=(-16 - lengths).astype(np.float32))


FEWEST = {
    "the fox": "▁the ▁fox",
    "all 3 dogs": "▁a ll ▁ <0x33> ▁ dog s",
    "  x": "▁ ▁▁ x",
    "é中": "▁ é <0xE4> <0xB8> <0xAD>",
}


class TestT5(SpacesConformance):
    tokenizer = SentencePieceUnigramTokenizer
    spec = by_length(kind="t5")
    goldens = spelt(spec, FEWEST)


class TestT5WithoutByteTokens(TestLlamaWithoutByteTokens):
    tokenizer = SentencePieceUnigramTokenizer
    spec = replace(TestLlamaWithoutByteTokens.spec, kind="t5")


class TestUnigram(KindConformance):
    tokenizer = UnigramTokenizer
    spec = by_length(kind="unigram", prefix_scheme="first", splits=())
    goldens = spelt(spec, FEWEST | {"  x": "▁▁ x", " the  fox": "▁the ▁ ▁fox"})

    @staticmethod
    def normalises(text: str) -> str | None:
        """A text that begins with a space loses it. The text of a byte token is the token."""
        if "<0x" in text:
            return None
        return spaces(text[1:] if text[:1] in (" ", SPACE) else text)


class TestUnigramWithNFC(SpacesConformance):
    tokenizer = UnigramTokenizer
    spec = by_length(
        kind="unigram",
        prefix_scheme="always",
        add_space_prefix=False,
        splits=("▁[^▁]*",),
        normalizers=[("NFC",)],
    )
    goldens = spelt(spec, {"the fox": "t he ▁fox", "  x": "▁ ▁ x", "e\u0301": "é"})

    @staticmethod
    def normalises(text: str) -> str | None:
        return None if "<0x" in text else spaces(normalize("NFC", text))


class TestGPT2(KindConformance):
    tokenizer = ByteLevelBPETokenizer
    words = WORDS.split("|")
    spec = spell(
        dict.fromkeys([*CHARACTERS, *(pair.replace(" ", "") for pair in words)], NORMAL),
        kind="gpt2",
        merges=words,
        pre_tokenizer="gpt-2",
        add_bos=False,
    )
    goldens = spelt(
        spec,
        {  # by the definition, within the words of the pre-tokenizer
            "the fox 123": "t he Ġfox Ġ 123",
            " the  fox": "Ġthe Ġ Ġfox",
            "é\n\n": "Ã© ĊĊ",
            "<s>": "< s >",
        },
    )


class TestGPT2OfLlama3(KindConformance):
    tokenizer = ByteLevelBPETokenizer
    spec = replace(TestGPT2.spec, pre_tokenizer="llama-bpe", add_bos=True)
    goldens = spelt(
        spec,
        {
            "the fox 12345": "t he Ġfox Ġ 123 4 5",
            "<s>": "<s >",
            "é\n\n": "Ã© ĊĊ",
        },
    )


class TestGPT2WithoutBOS(KindConformance):
    tokenizer = ByteLevelBPETokenizer
    spec = replace(TestGPT2.spec, pre_tokenizer="qwen2", special_ids={"eos": 2, "unknown": 0})
    goldens = spelt(
        spec,
        {
            "the fox 12345": "t he Ġfox Ġ 1 2 3 4 5",
            " the  fox": "Ġthe Ġ Ġfox",
        },
    )


class TestGPT2WithNFC(KindConformance):
    tokenizer = ByteLevelBPETokenizer
    spec = replace(TestGPT2.spec, normalizer="NFC")
    goldens = spelt(
        spec,
        {
            "e\u0301\n\n": "Ã© ĊĊ",
            "é\n\n": "Ã© ĊĊ",
        },
    )

    @staticmethod
    def normalises(text: str) -> str:
        return normalize("NFC", text)


LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789αβγдежאבгי中文字ßæø"
MARKS = "<>|/.,'\"\\!?;:-_()[]{}#&=+*%$@~^`"


class TestBert(KindConformance):
    """Of a text that becomes known words, those are restored, with spaces between them."""

    tokenizer = WordPieceTokenizer
    spec = spell(
        dict.fromkeys(
            [*LETTERS, *(f"##{letter}" for letter in LETTERS), *MARKS, "the", "fox", "##og"], NORMAL
        ),
        kind="bert",
        continuing_prefix="##",
        add_eos=True,
    )
    goldens = spelt(
        spec,
        {  # by the definition: of each word the longest token that it begins with
            "The Fox": "the fox",
            "dog, foxé": "d ##og , fox ##e",
            "中文": "中 文",
            "thes": "the ##s",
            "e\u0301🙂 x": "<unk> x",
        },
    )
    texts = ("the fox", " a  b", "ab, cd.", "αβγ дежд, 中文", *LETTERS, *MARKS, "x y z", "a-b c") * 6

    @staticmethod
    def normalises(text: str) -> str | None:
        lowered = text.lower()
        if not {*LETTERS, *MARKS, " "}.issuperset(lowered) or any(each in text for each in SPECIAL):
            return None
        if any(len(word) > 100 for word in lowered.split()):
            return None
        spaced = (f" {char} " if char in MARKS or "\u4e00" <= char <= "\u9fff" else char for char in lowered)
        return " ".join("".join(spaced).split())


class TestBertOfGGUF(TestBert):
    spec = replace(
        TestBert.spec,
        tokens=[
            text
            if text in SPECIAL and SPECIAL[text] != USER_DEFINED and SPECIAL[text] != NORMAL
            else text[2:]
            if text.startswith("##")
            else "▁" + text
            for text in TestBert.spec.tokens
        ],
        continuing_prefix=None,
    )
    goldens = TestBert.goldens
