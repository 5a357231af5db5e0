"""Pre-tokenisers of byte-level BPE, by their names in model files (`tokenizer.ggml.pre`).

A pre-tokeniser splits a text into words, which merges never cross. Each pattern splits the words of the
patterns before it; its matches and the texts between them are words. Sources: the models' tokenizer.json
files for patterns (in Oniguruma's syntax), llama.cpp (src/llama-vocab.cpp) for names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from zigai_core.contracts.errors import UnsupportedError, quote
from zigai_tokenizers.chunks import BETWEEN_DIGITS, BETWEEN_WORDS


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
_NOT_HAN = _CASED.replace(r"\p{M}]", r"\p{M}&&[^\p{Han}]]").replace("{after}", _CONTRACTIONS + "?")
_KIMI = "|".join((r"\p{Han}+", _NOT_HAN, r"\p{N}{1,3}", _PUNCTUATION, _LINES))
_DEEPSEEK3 = (
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
    r" ?[\p{P}\p{S}]+[\r\n]*|" + _LINES,
)
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


def _named(names: str, *patterns: str, whole_words: bool = False) -> dict[str, PreTokenizer]:
    single_digits = any(r"\p{N}" in pattern.split("|") for pattern in patterns)
    cut = f"{BETWEEN_WORDS}|{BETWEEN_DIGITS}" if single_digits else BETWEEN_WORDS
    return dict.fromkeys(names.split(), PreTokenizer(patterns, whole_words, cut))


PRE_TOKENIZERS: Mapping[str, PreTokenizer] = MappingProxyType(
    {
        **_named("gpt-2 phi-2 mpt olmo jais exaone4 trillion granite-docling", _GPT2),
        **_named("gigachat a.x-4.0 mellum modern-bert roberta-bpe", _GPT2),
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
        **_named("gpt-4o llama4 kanana2 minimax-m2", _GPT4O),
        **_named("kimi-k2", _KIMI, whole_words=True),
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
        **_named("deepseek-v3 hunyuan-dense joyai-llm", *_DEEPSEEK3),
        **_named("falcon", r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, r"[0-9][0-9][0-9]"),
        **_named("default", r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"),
    }
)
"""Pre-tokenisers by name."""


def find_pre_tokenizer(name: str | None) -> PreTokenizer:
    """Returns the pre-tokeniser of that name. Raises `UnsupportedError` for an unknown name or None."""
    if name is not None and name in PRE_TOKENIZERS:
        return PRE_TOKENIZERS[name]
    what = "the file names no pre-tokeniser" if name is None else f"unknown pre-tokeniser {quote(name)}"
    raise UnsupportedError(
        f"{what}, so texts cannot be split as in training; known are {', '.join(sorted(PRE_TOKENIZERS))}. "
        "If you know which one the model was trained with, set TokenizerSpec.pre_tokenizer to it"
    )


def of_patterns(patterns: Sequence[str], *, whole_words: bool) -> PreTokenizer:
    """Returns a pre-tokeniser of these expressions. Texts are cut as by a known one with the same."""
    found = tuple(patterns)
    cut = next((known.cut for known in PRE_TOKENIZERS.values() if known.patterns == found), None)
    return PreTokenizer(found, whole_words, cut)


def name_of(pre_tokenizer: PreTokenizer) -> str | None:
    """The name of a pre-tokeniser in GGUF, the first of several; None if it has none."""
    known = (pre_tokenizer.patterns, pre_tokenizer.whole_words)
    return next(
        (name for name, each in PRE_TOKENIZERS.items() if (each.patterns, each.whole_words) == known), None
    )
