"""Which values of two models, or of a model and an oracle file, can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

import numpy as np

from zigai_cli.failure import InputError
from zigai_cli.measure.oracle import Oracle
from zigai_core.api.trace import Trace
from zigai_core.contracts.descriptor import TokenizerSpec, TokenType
from zigai_core.contracts.errors import escape


def chosen(widths: Mapping[str, int], pattern: str) -> dict[str, int]:
    """The values whose names match a shell's pattern. Raises `InputError` if there is none."""
    found = {name: width for name, width in widths.items() if fnmatchcase(name, pattern)}
    if not found:
        raise InputError(
            f"--values {escape(pattern)}: no value has such a name; some are {', '.join(list(widths)[:6])}"
        )
    return found


def common(first: Trace, other: Trace | Oracle | None, pattern: str) -> dict[str, int]:
    """The values to compare, in A's order. Raises `InputError` unless both have them, of the same widths."""
    own = first.widths
    if isinstance(other, Oracle):
        names = stored_names(first, other)
        wrong = next((token for token in other.tokens if not 0 <= token < first.graph.token_limit), None)
        if wrong is not None:
            raise InputError(f"{other.path}: token {wrong} is not one of {first.descriptor.name}")
        widths = {names[name]: width for name, width in other.widths.items()}
        for name, width in widths.items():
            if own[name] != width:
                raise InputError(
                    f"{other.path}: the value {escape(name)} is {width} wide, but {own[name]} in the model"
                )
        return chosen({name: width for name, width in own.items() if name in widths}, pattern)
    assert other is not None
    _check_same_model(first, other)
    return chosen(own, pattern)


def _check_same_model(first: Trace, second: Trace) -> None:
    a, b = first.descriptor, second.descriptor
    if a.architecture != b.architecture:
        raise InputError(
            f"the files hold different models: A is {escape(a.architecture)}, B is {escape(b.architecture)}"
        )
    if a.tokenizer is not None and b.tokenizer is not None:
        ours, theirs = list(a.tokenizer.tokens), list(b.tokenizer.tokens)
        shared = min(len(ours), len(theirs))
        if not (_only_unused_after(a.tokenizer, shared) and _only_unused_after(b.tokenizer, shared)):
            raise InputError(
                f"the files have different vocabularies: A has {len(ours)} tokens, B {len(theirs)}"
            )
        for token, (one, another) in enumerate(zip(ours[:shared], theirs[:shared], strict=True)):
            if one != another:
                raise InputError(
                    f"the files have different vocabularies: token {token} is {escape(repr(one))} in A, "
                    f"{escape(repr(another))} in B"
                )
    own, other = first.widths, second.widths
    for name in [*own, *other]:
        if own.get(name) != other.get(name):
            raise InputError(
                f"the files hold models of different shapes: the width of the value {escape(name)} is "
                f"{own.get(name, 'missing')} in A, {other.get(name, 'missing')} in B"
            )


def _only_unused_after(spec: TokenizerSpec, count: int) -> bool:
    """True if all tokens after the first `count` are unused: converters to GGUF add them, a row each."""
    rest = len(spec.tokens) - count
    return not rest or (spec.types is not None and bool(np.all(spec.types[count:] == TokenType.UNUSED)))


def stored_names(first: Trace, stored: Oracle) -> dict[str, str]:
    """For each name in an oracle file the name of the value; an output may stand under the output's name."""
    found = {}
    for name in stored.widths:
        output = first.graph.outputs.get(name)
        if name not in first.widths and output is None:
            raise InputError(
                f"{stored.path}: {first.descriptor.name} computes no value named {escape(name)}: "
                "the values are of another model"
            )
        found[name] = name if output is None or name in first.widths else output.name
    return found
