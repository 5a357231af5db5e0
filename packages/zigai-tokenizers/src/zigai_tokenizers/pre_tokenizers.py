"""Pre-tokenisers of byte-level BPE, by their names in model files (`tokenizer.ggml.pre`).

A pre-tokeniser splits a text into words, which merges never cross. Each pattern splits the words of the
patterns before it; its matches and the texts between them are words. Sources: the models' tokenizer.json
files for patterns (in Oniguruma's syntax), llama.cpp (src/llama-vocab.cpp) for names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from zigai_core.contracts.errors import UnsupportedError, quote
from zigai_tokenizers.chunks import (
    BEFORE_DIGITS,
    BETWEEN_DIGITS,
    BETWEEN_WORDS,
    NOT_BEFORE_COLONS,
    NOT_BEFORE_SPACES,
    ONLY_BEFORE_STOPS,
)


@dataclass(frozen=True)
class PreTokenizer:
    """Regular expressions, applied in order.

    `whole_words`: a word that is a token becomes that token even if no merges produce it (`ignore_merges` in
    tokenizer.json). Vocabularies made for tiktoken need it.
    """

    patterns: tuple[str, ...]
    whole_words: bool = False
    cut: str | None = None
    """Zero-width pattern where any text can be cut without changing its words; None: nowhere."""
    published: tuple[str, ...] | None = None
    """The model's own expressions, where `patterns` are others that give the same words in linear time."""


_SPACES = r"\s+(?!\S)|\s+"
_LINES = r"\s*[\r\n]+|" + _SPACES
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_PUNCTUATION = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+{after}|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*{after}"
)
_CASED_PUNCTUATION = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|" + _SPACES
_LLAMA3 = "|".join((_CONTRACTIONS, _WORD, r"\p{N}{1,3}", _PUNCTUATION, _LINES))
_QWEN2 = "|".join((_CONTRACTIONS, _WORD, r"\p{N}", _PUNCTUATION, _LINES))
_SEED = "|".join((_CONTRACTIONS, _WORD, r"\p{N}{1}", r" ?[^\s\p{L}\p{N}\r\n]+", _LINES))
_QWEN35 = "|".join(
    (
        _CONTRACTIONS,
        r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+",
        r"\p{N}",
        r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*",
        _LINES,
    )
)
_TEKKEN = "|".join((_CASED.replace("{after}", ""), r"\p{N}", _CASED_PUNCTUATION, _LINES))
_GPT4O = "|".join((_CASED.replace("{after}", _CONTRACTIONS + "?"), r"\p{N}{1,3}", _CASED_PUNCTUATION, _LINES))
_SYMBOLS_BEFORE_WORDS = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
)
_DEEPSEEK3 = (
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    _SYMBOLS_BEFORE_WORDS + r" ?[\p{P}\p{S}]+[\r\n]*|" + _LINES,
)
_SPARK = (
    *_DEEPSEEK3[:2],
    _SYMBOLS_BEFORE_WORDS + r" ?[\p{P}\p{S}]+|[\r\n]|" + _SPACES,
    r"\p{N}",
)
_YOUTU = (
    "[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f"
    "\ufe30-\ufe4f]+|[\u3105-\u312f]+|[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    "|".join((_CASED.replace("{after}", _CONTRACTIONS + "?"), r"\p{N}", _CASED_PUNCTUATION, _LINES)),
)
_BLOOM = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"
_WITHOUT_CONTRACTIONS = "|".join((_WORD, r"\p{N}", _PUNCTUATION, _LINES))
_JAIS2 = "|".join(
    (
        _CONTRACTIONS,
        _WORD,
        r"\p{N}{1,3}",
        _PUNCTUATION,
        r"\s*[\r\n]+",
        *(rf"\s{{{count}}}(?!\S)" for count in (512, 256, 128, 64, 32, 16, 8, 4)),
        r"\s{1,2}(?!\S)",
        r"\s{1}",
    )
)
_MINICPM5 = "|".join((_CONTRACTIONS, _WORD, r"\p{N}+", _PUNCTUATION, _LINES))
_BAILING = "|".join(
    (
        r"'(?i:[sdmt]|ll|ve|re)",
        r"[^\r\n\p{L}\p{N}]?+\p{L}+",
        r"\p{N}",
        r" ?[^\s\p{L}\p{N}]++[\r\n]*",
        r"\s*[\r\n]",
        _SPACES,
    )
)
_EXAONE_MOE = "|".join(
    (
        _CONTRACTIONS,
        r"[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+",
        r"\p{N}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]?",
        r"\s*[\r\n]",
        _SPACES,
    )
)
_CHAMELEON = (
    "<sentinel:[0-9]+>",
    "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
    r"([\t\n]|    |  )",
    r"\p{N}",
    r"[\p{P}!-/:-@\[-`{-~]",
    _GPT2,
)
_KIMI = "|".join(
    (
        r"[\p{Han}]+",
        _CASED.replace(r"\p{M}]", r"\p{M}&&[^\p{Han}]]").replace("{after}", _CONTRACTIONS + "?"),
        r"\p{N}{1,3}",
        _PUNCTUATION,
        _LINES,
    )
)
_AYA = (r"\d{1,3}(?=(?:\d{3})*\b)", _GPT4O)
_AYA_LINEAR = (r"(?<!\d)\d{1,3}(?=(?:\d{3})*+\b)|(?<=\d)\G\d{3}", _GPT4O)
"""Digits in threes from the right, if no letter follows. The first of a run of digits are found by looking at
all of it, and others after those: `\\G` is where the match before ended."""

_SUPERBPE = (r"\p{N}+", r"(?=(\d{3})+(?!\d))")
_THREES = r"(?=(?:\d{3})++(?!\d))"
_SUPERBPE_LINEAR = (
    r"\p{N}+",
    rf"(?:(?<!\d){_THREES}|(?<=\A\d|\D\d){_THREES}|(?<=\A\d\d|\D\d\d){_THREES}|\G(?<=\d))\d{{3}}"
    rf"(?:\D++(?:\d{{1,2}}(?!\d))?)*+(?:(?<=\D)\d{{1,2}}{_THREES})?",
)
"""Words begin where a multiple of three digits follows to the end of a run of them: at the first such place
of a run, and then after each three. Numbers that are no digits stay with the digits before them."""

_AFMOE = (
    r"(?<!\p{N})\p{N}{1,3}(?=(?:\p{N}{3})*+(?!\p{N}))|(?<=\p{N})\p{N}{3}",
    "[\u4e00-\u9fff\u3400-\u4dbf\u8c48-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e40-\u0e7f"
    "\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+",
    _SYMBOLS_BEFORE_WORDS + r" ?[\p{P}\p{S}]+[\r\n]*|" + _LINES,
)
"""The expressions of llama.cpp (src/llama-vocab.cpp); the model's own file was not at hand. Numbers are split
off before the others apply, as in the library; llama.cpp leaves the text before a number with it."""

_DEEPSEEK_ASIAN = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
_DEEPSEEK_LETTERS = (
    "A-Za-z\xb5\xc0-\xd6\xd8-\xf6\xf8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376"
    "\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481"
    "\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf"
    "\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d"
    "\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4"
    "\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107"
    "\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f"
    "\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d"
    "\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17"
    "\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb"
    "\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
)


def _named(
    names: str,
    *patterns: str,
    whole_words: bool = False,
    cut: str = BETWEEN_WORDS,
    published: tuple[str, ...] | None = None,
) -> dict[str, PreTokenizer]:
    if any(r"\p{N}" in pattern.split("|") for pattern in patterns):  # each digit is a word
        cut = f"{cut}|{BETWEEN_DIGITS}"
    return dict.fromkeys(names.split(), PreTokenizer(patterns, whole_words, cut, published))


PRE_TOKENIZERS: Mapping[str, PreTokenizer] = MappingProxyType(
    {
        **_named("gpt-2 phi-2 mpt olmo jais exaone4 trillion granite-docling", _GPT2),
        **_named("gigachat a.x-4.0 mellum modern-bert roberta-bpe", _GPT2),
        **_named("jina-v1-en jina-v2-code jina-v2-de jina-v2-es jina-de jina-es", _GPT2),
        **_named("smollm starcoder refact command-r codeshell exaone minerva-7b mellum2", r"\p{N}", _GPT2),
        **_named(
            "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2", _LLAMA3, whole_words=True
        ),
        **_named("glm4 glm5 jina-v5-nano", _LLAMA3, whole_words=True),
        **_named("dbrx smaug-bpe chatglm-bpe", _LLAMA3),
        **_named("qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2", _QWEN2),
        **_named("qwen35", _QWEN35),
        **_named("seed-coder", _SEED),
        **_named("tekken", _TEKKEN, whole_words=True),
        **_named("gpt-4o llama4 kanana2 minimax-m2 talkie", _GPT4O),
        **_named("granite-embed-multi-97m", _GPT4O, whole_words=True),
        **_named("tiny_aya cohere2moe", *_AYA_LINEAR, published=_AYA),
        **_named("youtu", *_YOUTU, whole_words=True),
        **_named("kimi-k2", _KIMI),
        **_named(
            "deepseek-llm",
            r"[\r\n]",
            rf"\s?[{_DEEPSEEK_LETTERS}]+",
            "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
            r"\s+$",
            _DEEPSEEK_ASIAN,
            r"\p{N}+",
        ),
        **_named("deepseek-coder", r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _DEEPSEEK_ASIAN, r"\p{N}"),
        **_named("deepseek-v3 hunyuan-dense joyai-llm hy_v4", *_DEEPSEEK3),
        **_named("spark2_5", *_SPARK),
        **_named("afmoe", *_AFMOE),
        **_named("jais-2", _JAIS2),
        **_named("minicpm5", r"\p{N}{1,3}", _MINICPM5, whole_words=True),
        **_named("ufakzeka", _WITHOUT_CONTRACTIONS),
        **_named("laguna", r"[^\n]+|[\n]+", _QWEN2),
        **_named("bailingmoe bailingmoe2 llada-moe", _BAILING),
        **_named("exaone-moe", _EXAONE_MOE, cut=NOT_BEFORE_SPACES),
        **_named("chameleon", *_CHAMELEON, cut=NOT_BEFORE_COLONS),
        **_named("bloom poro-chat gpt3-finnish", _BLOOM, cut=ONLY_BEFORE_STOPS),
        **_named("viking", _BLOOM, r"\p{N}", cut=ONLY_BEFORE_STOPS),
        **_named("superbpe", *_SUPERBPE_LINEAR, cut=BEFORE_DIGITS, published=_SUPERBPE),
        **_named("falcon", r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, r"[0-9][0-9][0-9]"),
        **_named("default", r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"),
    }
)
"""Pre-tokenisers by name."""

_NOT_OF_BYTES = "gemma4 granite-embed-multi-311m sarvam-moe whitespace"
"""Names that llama.cpp knows of BPE of characters."""


def find_pre_tokenizer(name: str | None) -> PreTokenizer:
    """Returns the pre-tokeniser of that name. Raises `UnsupportedError` for an unknown name or None."""
    if name is not None and name in PRE_TOKENIZERS:
        return PRE_TOKENIZERS[name]
    if name is None:
        what = "the file names no pre-tokeniser"
    elif name in _NOT_OF_BYTES.split():
        what = f"the pre-tokeniser {quote(name)} is one of BPE of characters, not of bytes, and not supported"
    else:
        what = f"unknown pre-tokeniser {quote(name)}"
    raise UnsupportedError(
        f"{what}, so texts cannot be split as in training; known are {', '.join(sorted(PRE_TOKENIZERS))}. "
        "If you know which one the model was trained with, set TokenizerSpec.pre_tokenizer to it"
    )


def of_patterns(patterns: Sequence[str], *, whole_words: bool) -> PreTokenizer:
    """Returns a pre-tokeniser of these expressions, or of those by which a known one replaces them."""
    found = tuple(patterns)
    for known in PRE_TOKENIZERS.values():
        if found == (known.published or known.patterns):
            return replace(known, whole_words=whole_words)
    return PreTokenizer(found, whole_words)


def name_of(pre_tokenizer: PreTokenizer) -> str | None:
    """The name of a pre-tokeniser in GGUF, the first of several; None if it has none."""
    known = (pre_tokenizer.patterns, pre_tokenizer.whole_words)
    return next(
        (name for name, each in PRE_TOKENIZERS.items() if (each.patterns, each.whole_words) == known), None
    )
