"""The steps of `TokenizerSpec.normalizers`, on the tokenizers library."""

from __future__ import annotations

from collections.abc import Callable

from tokenizers import Regex, normalizers
from tokenizers.normalizers import Normalizer

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.contracts.errors import FormatError, UnsupportedError, escape, quote
from zigai_tokenizers.charsmap import check_charsmap

_LONGEST_REPLACEMENT = 64
"""Characters of the longest text of a step `Replace`: a longer one could make gigabytes of a line."""

_MOST_STEPS = 64
"""Steps of a normalisation: each reads the whole text."""

_MOST_GROWTH = 1024
"""How much longer all steps together may make a text, as much as a character map alone: steps of `Replace`
one after another multiply, so that five could make gigabytes of one character."""

_PLAIN: dict[str, Callable[[], Normalizer]] = {
    "NFC": normalizers.NFC,
    "NFD": normalizers.NFD,
    "NFKC": normalizers.NFKC,
    "NFKD": normalizers.NFKD,
    "Nmt": normalizers.Nmt,
    "Lowercase": normalizers.Lowercase,
    "StripAccents": normalizers.StripAccents,
}


def normalizer_of(spec: TokenizerSpec) -> Normalizer | None:
    """Returns the steps as one normaliser, None without steps.

    Raises `FormatError` for a character map that is not valid, `UnsupportedError` for an unknown step, and
    for more steps, or a larger growth of texts, than are supported.
    """
    if len(spec.normalizers) > _MOST_STEPS:
        raise UnsupportedError(
            f"a normalisation of {len(spec.normalizers)} steps: at most {_MOST_STEPS} are supported"
        )
    steps = [_step(tuple(step), spec.precompiled_charsmap) for step in spec.normalizers]
    if not steps:
        return None
    growth = 1.0
    for step in spec.normalizers:
        growth *= _growth(tuple(step), spec.precompiled_charsmap)
    if growth > _MOST_GROWTH:
        raise UnsupportedError(
            f"the steps of normalisation {quote(list(map(list, spec.normalizers)))} can make a text "
            f"{growth:.0f} times as long: up to {_MOST_GROWTH} times is supported"
        )
    return steps[0] if len(steps) == 1 else normalizers.Sequence(steps)


def _growth(step: tuple[str, ...], charsmap: bytes | None) -> float:
    """How much longer a valid step of texts from the file can make a text; those of Unicode are bounded."""
    match step:
        case ("Precompiled",):
            return max(1.0, float(check_charsmap(charsmap or b"")))
        case ("Replace", text, by):
            return max(1.0, len(by) / len(text))
    return 1.0


def _step(step: tuple[str, ...], charsmap: bytes | None) -> Normalizer:
    match step:
        case ("Precompiled",):
            if not charsmap:
                raise FormatError("texts are normalised by precompiled_charsmap, which is missing")
            check_charsmap(charsmap)
            try:
                return normalizers.Precompiled(charsmap)
            except Exception as error:  # the library raises no class of its own
                raise FormatError(f"the vocabulary's precompiled_charsmap: {escape(str(error))}") from None
        case ("Replace", text, by):
            if not text or len(by) > _LONGEST_REPLACEMENT:
                raise UnsupportedError(
                    f"the step of normalisation {quote(step)} is not supported: the first text must not be "
                    f"empty, and the second have at most {_LONGEST_REPLACEMENT} characters"
                )
            return normalizers.Replace(text, by)
        case ("Spaces", by) if len(by) <= 1:
            return normalizers.Replace(Regex(" {2,}"), by)
        case ("Strip", "left" | "right" | "left right" as ends):
            return normalizers.Strip(left="left" in ends, right="right" in ends)
        case (name,) if name in _PLAIN:
            return _PLAIN[name]()
    raise UnsupportedError(
        f"the step of normalisation {quote(step)} is not supported; Precompiled, Replace, Spaces, Strip, "
        f"{', '.join(_PLAIN)} are"
    )
