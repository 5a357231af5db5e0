"""The ways in which the tokens of a sequence may be computed; the outputs of each token are the same in all.

A schedule is a function of a program and tokens. It returns each output of the program's graph, float32
`[len(tokens), width]`, computed as its name says:

>>> applicable, left_out = schedules_for(program.graph)                 # doctest: +SKIP
>>> expected = whole_prefill(program, tokens)                           # doctest: +SKIP
>>> for name, schedule in applicable.items():                           # doctest: +SKIP
...     for output, rows in schedule(program, tokens).items():
...         np.testing.assert_allclose(rows, expected[output], rtol=0, atol=1e-4, err_msg=name)

A schedule needs at least four tokens, more of them than a page holds, room for 8 more in the context, and
steps of 16 rows or more: `ValueError` says what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import cycle
from types import MappingProxyType

import numpy as np

from zigai_core.contracts.graph import Array, Graph
from zigai_core.contracts.plugins import Program
from zigai_core.testing.schedules.engine_schedules import found_by_prefix, preempted, together
from zigai_core.testing.schedules.scattered import ScatteredRunner, ScatteredSequence, check_program

Rows = Mapping[str, Array]
"""By output, its rows: float32 `[rows, width]`."""

Schedule = Callable[[Program, Sequence[int]], Rows]


def whole_prefill(program: Program, tokens: Sequence[int], types: Sequence[int] = ()) -> Rows:
    """All tokens in one step, or in steps that are as large as the program allows.

    `types` is the type of each token; without any, all are 0.
    """
    return in_chunks(program, tokens, [program.options.batch], types)


def in_chunks(
    program: Program, tokens: Sequence[int], sizes: Sequence[int], types: Sequence[int] = ()
) -> Rows:
    """Steps of `sizes` tokens, over and over. `types`: as for `whole_prefill`."""
    check_program(program, tokens)
    at = ScatteredRunner(program, 1)
    return _advance(at, at.new_sequence(), tokens, sizes, types)


def reversed_outputs(program: Program, tokens: Sequence[int]) -> Rows:
    """Outputs are asked for in the reverse order, without the first row's, and for that in a second step."""
    check_program(program, tokens)
    first, rest = tokens[: program.options.batch], tokens[program.options.batch :]
    at = ScatteredRunner(program, 2)
    sequence = at.new_sequence()
    last = at.step((sequence, first), output_rows=range(len(first) - 1, 0, -1))
    start = at.step((at.new_sequence(), first), output_rows=[0])
    rows = {name: np.concatenate([start[name], last[name][::-1]]) for name in last}
    return _joined([rows, *([_advance(at, sequence, rest, [program.options.batch])] if rest else [])])


def beside_others(program: Program, tokens: Sequence[int]) -> Rows:
    """Chunks beside those of other sequences, which come before and after them in the step."""
    check_program(program, tokens)
    at = ScatteredRunner(program, 3)
    own, before, after = (at.new_sequence() for _ in range(3))
    other = _other(program, tokens)
    if program.graph.whole_sequences:
        rows = at.step((before, other[:3]), (own, tokens), (after, other[3:8]))
        return {name: values[3 : 3 + len(tokens)] for name, values in rows.items()}
    parts: list[Rows] = []
    done = 0
    for count, (first, last) in zip(cycle([5, 1, 8]), cycle([(3, 1), (0, 2), (1, 0)]), strict=False):
        if done >= len(tokens):
            return _joined(parts)
        for sequence, more in ((before, first), (after, last)):
            if sequence.length + more > program.options.context:
                at.forget(sequence)
        own_tokens = tokens[done : done + count]
        steps = [
            (sequence, wanted)
            for sequence, wanted in ((before, other[:first]), (own, own_tokens), (after, other[:last]))
            if len(wanted)
        ]
        rows = at.step(*steps)
        parts.append({name: values[first : first + len(own_tokens)] for name, values in rows.items()})
        done += len(own_tokens)
    raise AssertionError("cycles do not end")


def after_truncation(program: Program, tokens: Sequence[int]) -> Rows:
    """Two thirds of the tokens, then others, which are forgotten again, then the rest."""
    check_program(program, tokens)
    cut = _cut(program, tokens)
    at = ScatteredRunner(program, 1)
    sequence = at.new_sequence()
    first = _advance(at, sequence, tokens[:cut], [program.options.batch])
    _advance(at, sequence, _other(program, tokens[cut:]), [program.options.batch])
    at.truncate(sequence, cut)
    return _joined([first, _advance(at, sequence, tokens[cut:], [7, 1])])


def after_rejected_drafts(program: Program, tokens: Sequence[int]) -> Rows:
    """Steps of up to eight tokens, the last of which are wrong and rejected, as draft tokens are.

    The next step reads the recurrent states after the last token that was right.
    """
    check_program(program, tokens)
    other = _other(program, tokens)
    at = ScatteredRunner(program, 1)
    sequence = at.new_sequence()
    parts: list[Rows] = []
    for right, wrong in zip(cycle([1, 5, 2, 7]), cycle([3, 1, 6, 0]), strict=False):
        done = sequence.length
        if done >= len(tokens):
            return _joined(parts)
        kept = tokens[done : done + right]
        rows = at.step((sequence, [*kept, *other[:wrong]]), checkpoints=True)
        at.truncate(sequence, done + len(kept), at.checkpoint(len(kept) - 1))
        parts.append({name: values[: len(kept)] for name, values in rows.items()})
    raise AssertionError("cycles do not end")


def of_a_fork(program: Program, tokens: Sequence[int], *, origin: bool = False) -> Rows:
    """Two thirds of the tokens, then the rest in a fork, while its origin goes on with others.

    With `origin`, the fork goes on with others and its origin with the rest.
    """
    check_program(program, tokens)
    cut = _cut(program, tokens)
    at = ScatteredRunner(program, 2)
    sequence = at.new_sequence()
    first = _advance(at, sequence, tokens[:cut], [program.options.batch])
    fork = at.fork(sequence)
    ours, theirs = (sequence, fork) if origin else (fork, sequence)
    _advance(at, theirs, _other(program, tokens[cut:]), [4])
    return _joined([first, _advance(at, ours, tokens[cut:], [6, 1])])


def with_copied_prefix(program: Program, tokens: Sequence[int]) -> Rows:
    """Two thirds of the tokens, whose pages and slots are copied one by one; then the rest from the copies.

    Before that, the originals are overwritten.
    """
    check_program(program, tokens)
    cut = _cut(program, tokens)
    at = ScatteredRunner(program, 2)
    sequence = at.new_sequence()
    first = _advance(at, sequence, tokens[:cut], [program.options.batch])
    copy = at.copy(sequence)
    at.forget(sequence)
    _advance(at, sequence, _other(program, tokens), [program.options.batch])
    return _joined([first, _advance(at, copy, tokens[cut:], [6, 1])])


def computed_again(program: Program, tokens: Sequence[int]) -> Rows:
    """Other tokens, then all tokens in the same pages, then the same once more, in other chunks."""
    check_program(program, tokens)
    batch = program.options.batch
    at = ScatteredRunner(program, 1)
    sequence = at.new_sequence()
    for each in (_other(program, tokens), tokens):
        _advance(at, sequence, each, [batch])
        at.forget(sequence)
    return _advance(at, sequence, tokens, [batch if program.graph.whole_sequences else min(batch, 11)])


SCHEDULES: Mapping[str, Schedule] = MappingProxyType(
    {
        "whole prefill": whole_prefill,
        "single steps": partial(in_chunks, sizes=[1]),
        "chunks": partial(in_chunks, sizes=[3, 1, 12, 7]),
        "reversed outputs": reversed_outputs,
        "beside others": beside_others,
        "after truncation": after_truncation,
        "after rejected drafts": after_rejected_drafts,
        "of a fork": of_a_fork,
        "of a fork's origin": partial(of_a_fork, origin=True),
        "with a copied prefix": with_copied_prefix,
        "computed again": computed_again,
        "engine, together": together,
        "engine, preempted": preempted,
        "engine, found by prefix": found_by_prefix,
    }
)
"""All schedules, by name."""

_WHOLE = ("whole prefill", "reversed outputs", "beside others", "computed again", "engine, together")
"""Those in which each sequence is whole in one step."""


def schedules_for(graph: Graph) -> tuple[Mapping[str, Schedule], Mapping[str, str]]:
    """Returns the schedules that apply to a graph, and those that do not, with the reason, both by name."""
    left_out: dict[str, str] = {}
    if graph.whole_sequences:
        reason = "each sequence must be whole in one step, since no state keeps it"
        left_out |= {name: reason for name in SCHEDULES if name not in _WHOLE}
    elif any(group.recurrent for group in graph.groups):
        left_out["after truncation"] = "a recurrent state cannot be taken back to an earlier token"
    return {name: each for name, each in SCHEDULES.items() if name not in left_out}, left_out


def _advance(
    at: ScatteredRunner,
    sequence: ScatteredSequence,
    tokens: Sequence[int],
    sizes: Sequence[int],
    types: Sequence[int] = (),
) -> Rows:
    """Appends tokens in steps of `sizes`, over and over, and returns the rows of each output."""
    parts: list[Rows] = []
    done = 0
    for size in cycle(sizes):
        chunk = tokens[done : done + min(size, at.program.options.batch)]
        parts.append(at.step((sequence, chunk), types=types[done : done + len(chunk)]))
        done += len(chunk)
        if done == len(tokens):
            break
    return _joined(parts)


def _joined(parts: Sequence[Rows]) -> Rows:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _cut(program: Program, tokens: Sequence[int]) -> int:
    """Returns two thirds of the number of tokens, or one less, so that a page is filled in part."""
    cut = 2 * len(tokens) // 3
    return cut - (cut % program.options.page == 0)


def _other(program: Program, tokens: Sequence[int]) -> list[int]:
    """Returns as many tokens, at least 8, each of which differs from the one in its place."""
    limit = program.graph.token_limit
    longer = [*tokens, *tokens, *tokens][: max(8, len(tokens))]
    return [(token + 1 + place % 2) % limit for place, token in enumerate(longer)]
